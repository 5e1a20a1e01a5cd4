"""Imports: an export read back, run by run; what is broken is named, and the rest goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ledger.clock import monotonic, rest, utcnow
from ledger.core.decide import keeping
from ledger.core.decide.operator import carry_out
from ledger.core.export_format import TOMBSTONE
from ledger.core.model import Change, Facts
from ledger.errors import CheckFailed
from ledger.service.export_reading import Survey, name_of, opened, runs_of, survey
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
REFUSED_MAX: Final = 1_000
REST_SECONDS: Final = 0.005


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
        self,
        store: Store,
        writer: ThreadWriter,
        actor: str,
        *,
        take_over: bool,
        dry_run: bool,
        changed: bool,
    ) -> None:
        self._store, self._writer, self._actor = store, writer, actor
        self._take_over, self._dry, self._changed = take_over, dry_run, changed
        self._told: Callable[[int], None] | None = None

    def run(self, path: Path, told: Callable[[int], None] | None) -> Imported:
        """Read the file twice: to hold it against its manifest, then for its runs. Raises
        InvalidInput for a file that is no export, CheckFailed for one that was changed,
        DatabaseError."""
        self._told = told
        with opened(path) as handle:
            found = survey(handle, path)
            if found.changed and not self._changed:
                raise CheckFailed(
                    f"{path} was changed after it was written: {found.changed}; nothing was taken",
                    hint="look for an intact copy; --changed takes the runs that still prove "
                    "themselves",
                )
            done = Imported(ledger=found.head["ledger"], dry=self._dry, problems=_problems(found))
            handle.seek(0)
            self._read(handle, done, found)
        return done

    def _read(self, handle: IO[bytes], done: Imported, found: Survey) -> None:
        sha256 = found.sha256
        batch: list[Parcel] = []
        size = 0
        keys: set[str] = set()
        stones: list[Tombstone] = []
        for lines, count in runs_of(handle, found, done.refuse):
            if lines[0]["type"] == TOMBSTONE:
                # A run that was pruned while it was exported comes first: it is more than that.
                self._place(batch, done, sha256)
                batch, size, keys = [], 0, set()
                stones = self._stone(lines[0], stones, done)
                continue
            try:
                parcel = read_parcel(lines)
            except BadRun as error:
                done.refuse(name_of(lines), str(error))
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
            done.refuse(name_of([line]), str(error))
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


def _problems(found: Survey) -> list[str]:
    said = []
    if found.cut_off:
        said.append("the file ends without a manifest: it was cut off")
    if found.changed:
        said.append(f"the file was changed: {found.changed}")
    if found.trailing:
        said.append("something follows the manifest: it is not read")
    return said
