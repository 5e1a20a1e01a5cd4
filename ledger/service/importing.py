"""Imports: an export read back, run by run; what is broken is named, and the rest goes on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ledger.clock import monotonic, rest, utcnow
from ledger.core.decide import keeping
from ledger.core.decide.operator import carry_out
from ledger.core.export_format import END, LINE_BYTES_MAX, MANIFEST, RUN, TOMBSTONE
from ledger.core.model import Change, Facts
from ledger.errors import InvalidInput
from ledger.service.exporting import read_header
from ledger.store.importing import Verdict, judge, place
from ledger.store.parcels import BadRun, Parcel, read_parcel
from ledger.store.stones import Laid, judge_stone, lay, read_stone

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.core.tombstone import Tombstone
    from ledger.store.store import Store
    from ledger.store.writer import ThreadWriter

BATCH_RUNS: Final = 50
BATCH_BYTES: Final = 4 * 1024 * 1024
RUN_BYTES_MAX: Final = 1024 * 1024 * 1024
RUN_LINES_MAX: Final = 500_000
"""A short line takes a hundred times its length in memory."""
REFUSED_MAX: Final = 1_000
REST_SECONDS: Final = 0.005
HEAD_BYTES: Final = 80
"""So far into a line its type is looked for, before it is parsed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A run, or a line, of a file that was not taken."""

    what: str
    why: str


@dataclass(slots=True, kw_only=True)
class Imported:
    """What became of a file's runs, and of the tombstones of those that were pruned. `skipped` were
    here already. `refused` are listed, a thousand at most; `problems` are about the file itself.
    `dry` says that nothing was written."""

    ledger: str
    runs: int = 0
    skipped: int = 0
    tombstones: int = 0
    refusals: int = 0
    refused: list[Refused] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    dry: bool = False

    def refuse(self, what: str, why: str) -> None:
        """Note one."""
        self.refusals += 1
        if len(self.refused) < REFUSED_MAX:
            self.refused.append(Refused(what, why))

    @property
    def whole(self) -> bool:
        """Whether all that the file holds is here now, as it was written."""
        return not self.refusals and not self.problems


class Importer:
    """One import of one file into one ledger."""

    def __init__(
        self, store: Store, writer: ThreadWriter, actor: str, *, take_over: bool, dry_run: bool
    ) -> None:
        self._store, self._writer, self._actor = store, writer, actor
        self._take_over, self._dry = take_over, dry_run
        self._told: Callable[[int], None] | None = None

    def run(self, path: Path, told: Callable[[int], None] | None) -> Imported:
        """Read the file twice: for its hash, which the history of each run will name, then for its
        runs. Raises InvalidInput for a file that is no export, DatabaseError."""
        self._told = told
        with _opened(path) as handle:
            head = read_header(handle.readline(LINE_BYTES_MAX), path)
            done = Imported(ledger=head["ledger"], dry=self._dry)
            handle.seek(0)
            sha256 = _hash(handle, done)
            handle.seek(0)
            handle.readline(LINE_BYTES_MAX)
            self._read(handle, done, sha256)
        return done

    def _read(self, handle: IO[bytes], done: Imported, sha256: str) -> None:
        batch: list[Parcel] = []
        size = 0
        keys: set[str] = set()
        stones: list[Tombstone] = []
        for lines, count in _grouped(handle, done):
            if lines[0]["type"] == TOMBSTONE:
                # A run that was pruned while it was exported comes first: it is more than that.
                self._place(batch, done, sha256)
                batch, size, keys = [], 0, set()
                stones = self._stone(lines[0], stones, done)
                continue
            try:
                parcel = read_parcel(lines)
            except BadRun as error:
                done.refuse(_name(lines), str(error))
                continue
            if parcel.key in keys or len(batch) >= BATCH_RUNS or size + count > BATCH_BYTES:
                self._place(batch, done, sha256)
                batch, size, keys = [], 0, set()
            batch.append(parcel)
            keys.add(parcel.key)
            size += count
        self._place(batch, done, sha256)
        self._lay(stones, done)

    def _stone(
        self, line: dict[str, Any], waiting: list[Tombstone], done: Imported
    ) -> list[Tombstone]:
        """Put one to those that wait, which are written when there are enough."""
        try:
            stone = read_stone(line)
        except BadRun as error:
            done.refuse(_name([line]), str(error))
            return waiting
        if len(waiting) >= BATCH_RUNS or any(one.key == stone.key for one in waiting):
            self._lay(waiting, done)
            waiting = []
        return [*waiting, stone]

    def _lay(self, stones: list[Tombstone], done: Imported) -> None:
        if not stones:
            return
        ledger = self._store.ledger_id
        for said in self._laid(stones, ledger):
            if said.why is not None:
                done.refuse(f"run {said.stone.run_id} (key {said.stone.key!r})", said.why)
            elif said.skipped:
                done.skipped += 1
            else:
                done.tombstones += 1

    def _laid(self, stones: list[Tombstone], ledger: str) -> list[Laid]:
        if not self._dry:
            work = functools.partial(lay, ledger=ledger, stones=stones, now=utcnow())
            return self._writer.run(work).result()

        def read(connection: Connection) -> list[Laid]:
            return [judge_stone(connection, ledger, one) or Laid(one) for one in stones]

        return self._store.read(read)

    def _place(self, batch: list[Parcel], done: Imported, sha256: str) -> None:
        if not batch:
            return
        begun = monotonic()
        for verdict in self._judge(batch) if self._dry else self._write(batch, done, sha256):
            name = f"run {verdict.parcel.run} (key {verdict.parcel.key!r})"
            if verdict.why is not None:
                done.refuse(name, verdict.why)
            elif verdict.skipped:
                done.skipped += 1
            else:
                done.runs += 1
        if self._told is not None:
            self._told(done.runs)
        if not self._dry:
            rest(max(REST_SECONDS, (monotonic() - begun) / 2))

    def _judge(self, batch: list[Parcel]) -> list[Verdict]:
        ledger, take_over = self._store.ledger_id, self._take_over

        def read(connection: Any) -> list[Verdict]:
            found = (judge(connection, ledger, one, take_over=take_over) for one in batch)
            return [v or Verdict(one) for v, one in zip(found, batch, strict=True)]

        return self._store.read(read)

    def _write(self, batch: list[Parcel], done: Imported, sha256: str) -> list[Verdict]:
        def decide(parcel: Parcel) -> Callable[[Facts], Change]:
            command = keeping.imported(done.ledger, parcel.run, sha256)
            return lambda facts: carry_out(facts, command, now=utcnow(), actor=self._actor)

        work = functools.partial(
            place,
            store=self._store,
            parcels=batch,
            decide=decide,
            now=utcnow(),
            take_over=self._take_over,
        )
        placed = self._writer.run(work).result()
        self._writer.poke()
        return placed


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be read: {why}") from None


def _hash(handle: IO[bytes], done: Imported) -> str:
    """The SHA-256 of the lines before the manifest, held against what that says."""
    made, last = hashlib.sha256(), b""
    while text := handle.readline(LINE_BYTES_MAX):
        # However it is spelled: somebody may have passed the file through another program.
        if MANIFEST.encode() in text[:HEAD_BYTES] and _parsed(text).get("type") == MANIFEST:
            last = text
            break
        made.update(text)
    if not last:
        done.problems.append("the file ends without a manifest: it was cut off")
    elif (said := _parsed(last).get("sha256")) != made.hexdigest():
        done.problems.append(
            f"the file was changed: its manifest says {str(said)[:64]}, and its lines make "
            f"{made.hexdigest()}"
        )
    elif handle.readline(LINE_BYTES_MAX):
        done.problems.append("something follows the manifest: it is not read")
    return made.hexdigest()


def _grouped(handle: IO[bytes], done: Imported) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The lines of one run after the other, and how many bytes they are."""
    lines: list[dict[str, Any]] = []
    size, number = 0, 1
    while text := handle.readline(LINE_BYTES_MAX):
        number += 1
        fields = _parsed(text)
        kind = fields.get("type")
        if kind == MANIFEST:
            break
        if kind == RUN and lines:
            done.refuse(_name(lines), "its lines break off")
            lines, size = [], 0
        if not lines and kind == TOMBSTONE:
            yield [fields], len(text)
            continue
        if not lines and kind != RUN:
            done.refuse(f"line {number}", "it belongs to no run")
            continue
        lines.append(fields)
        size += len(text)
        if size > RUN_BYTES_MAX or len(lines) > RUN_LINES_MAX:
            most = f"{RUN_BYTES_MAX} bytes, or {RUN_LINES_MAX} lines"
            done.refuse(_name(lines), f"it is larger than {most}")
            lines, size = [], 0
        elif kind == END:
            yield lines, size
            lines, size = [], 0
    if lines:
        done.refuse(_name(lines), "its lines break off")


def _parsed(text: bytes) -> dict[str, Any]:
    """The object that a line is; empty for one that is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _name(lines: list[dict[str, Any]]) -> str:
    first = lines[0]
    return f"run {str(first.get('run'))[:20]} (key {str(first.get('key'))[:60]!r})"
