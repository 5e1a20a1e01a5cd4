"""Exports: lines as they come, and files that can be continued after an interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from ledger.core.export_format import (
    END,
    HEADER_BYTES_MAX,
    LINE_BYTES_MAX,
    MANIFEST,
    TOMBSTONE,
    Tally,
    header,
    kind_of,
)
from ledger.core.query import parse_query
from ledger.errors import InvalidInput
from ledger.service.export_header import read_header
from ledger.service.export_path import hold, sync_folder
from ledger.store.exporting import groups, last_run, matching_ids, page, tombstone_lines
from ledger.store.schema import HEAD
from ledger.store.seals import newest_seal

if TYPE_CHECKING:
    from ledger.store.store import Store

PAGE: Final = 100
"""Runs that one transaction reads: a long one would hold back checkpoints and vacuums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What a file holds now. `added` are the runs that this call wrote."""

    path: str
    runs: int
    added: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which runs an export is about, as its header says."""

    query: str
    as_of: datetime
    through: int

    @classmethod
    def of(cls, store: Store, query: str, now: datetime) -> Scope:
        """All runs that there are now and that match. Raises InvalidInput."""
        parse_query(query, now=now)
        return cls(query=query, as_of=now, through=store.read(last_run))

    def header(self, store: Store, *, archive: bool = False) -> bytes:
        """The first line."""
        as_of = self.as_of.isoformat()
        return header(store.ledger_id, HEAD, self.query, as_of, self.through, archive=archive)


def export_lines(store: Store, scope: Scope) -> Iterator[bytes]:
    """A whole export, a line at a time."""
    tally = Tally()
    first = scope.header(store)
    tally.add(first)
    yield first
    for lines in export_runs(store, scope, after=0):
        for text in lines:
            tally.add(text)
            yield text
    for _, text in export_tombstones(store, scope, after=0):
        tally.add(text)
        yield text
    yield manifest(store, tally)


def export_runs(store: Store, scope: Scope, *, after: int) -> Iterator[Iterator[bytes]]:
    """The lines of each run above that number."""
    terms = parse_query(scope.query, now=scope.as_of)
    while True:
        with page(store) as connection:
            ids = matching_ids(connection, terms, after=after, through=scope.through, limit=PAGE)
            for group in groups(connection, ids):
                yield group.lines
        if len(ids) < PAGE:
            return
        after = ids[-1]


def export_tombstones(store: Store, scope: Scope, *, after: int) -> Iterator[tuple[int, bytes]]:
    """The lines of tombstones above that number, with their runs; none where a query narrows."""
    while not scope.query:
        with page(store) as connection:
            found = tombstone_lines(connection, after=after, through=scope.through, limit=PAGE)
        yield from found
        if len(found) < PAGE:
            return
        after = found[-1][0]


def manifest(store: Store, tally: Tally) -> bytes:
    """The last line."""
    seal = store.read(newest_seal)
    if seal is None:
        return tally.manifest(None)
    at = seal.sealed_at.isoformat()
    return tally.manifest({"number": seal.number, "hash": seal.hash.hex(), "sealed_at": at})


class ExportFile:
    """An export on disk. What is whole in it stays, whatever happens: a run that was cut off is
    taken out again when the file is opened to be continued."""

    def __init__(self, path: Path, handle: IO[bytes], tally: Tally, head: dict[str, Any]) -> None:
        self.path, self.tally, self.head = path, tally, head
        self._handle = handle
        self.runs: dict[int, int] = {}
        """The number of events of each run that is in it, by number."""
        self.last_tombstone = 0

    @classmethod
    def create(cls, path: Path, first: bytes) -> Self:
        """A new file with its header. Raises InvalidInput."""
        try:
            handle = path.open("x+b")
        except FileExistsError:
            raise InvalidInput(
                f"{path} is there already", hint=f"name another file, or --resume {path}"
            ) from None
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from None
        hold(path, handle)
        made = cls(path, handle, Tally(), json.loads(first))
        made.write([first])
        made.sync()
        sync_folder(path)
        return made

    @classmethod
    def reopen(cls, path: Path, ledger: str) -> Self:
        """A file that was cut off. Raises InvalidInput for one that is finished, or no export of
        this ledger."""
        try:
            handle = path.open("r+b")
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from None
        try:
            hold(path, handle)
            made = cls(path, handle, Tally(), read_header(handle.readline(HEADER_BYTES_MAX), path))
            if made.head["ledger"] != ledger:
                raise InvalidInput(f"{path} is an export of ledger {made.head['ledger']}")
            made._scan()
        except BaseException:
            handle.close()
            raise
        return made

    def _scan(self) -> None:
        """Count what is whole, and cut off what is not."""
        end = self._handle.tell()
        self._handle.seek(0)
        self.tally.add(self._handle.readline().rstrip(b"\n"))
        waiting: list[bytes] = []
        while text := self._handle.readline(LINE_BYTES_MAX):
            kind = kind_of(text)
            if not text.endswith(b"\n"):
                break
            if kind == MANIFEST:
                raise InvalidInput(f"{self.path} is finished: there is nothing to continue")
            if kind == TOMBSTONE and not waiting:
                self._tombstone(text.rstrip(b"\n"))
                end = self._handle.tell()
                continue
            waiting.append(text.rstrip(b"\n"))
            if kind == END:
                self._whole(waiting)
                waiting, end = [], self._handle.tell()
        self._handle.seek(end)
        self._handle.truncate()

    def _tombstone(self, text: bytes) -> None:
        try:
            self.last_tombstone = int(json.loads(text)["run"])
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(f"{self.path} was changed: it cannot be continued") from None
        self.tally.add(text)

    def _whole(self, lines: list[bytes]) -> None:
        try:
            last = json.loads(lines[-1])
            self.runs[last["run"]] = last["events"]
            for text in lines:
                self.tally.add(text)
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(f"{self.path} was changed: it cannot be continued") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):
            self._handle.close()

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines. Raises InvalidInput where the file cannot be written."""
        try:
            for text in lines:
                if len(text) >= LINE_BYTES_MAX:
                    raise InvalidInput(
                        f"{self.path} would get a line of {len(text)} bytes: an import takes no "
                        f"more than {LINE_BYTES_MAX}"
                    )
                self.tally.add(text)
                self._handle.write(text + b"\n")
        except OSError as error:
            raise _unusable(self.path, error) from None

    def archive(self, store: Store, ids: Sequence[int]) -> dict[int, int]:
        """Put runs on the disk that are about to be deleted, unless they are there; returns the
        version at which each of them was seen."""
        versions = {}
        with page(store) as connection:
            for group in groups(connection, ids):
                if self.runs.get(group.run) != group.events:
                    self.write(group.lines)
                    self.runs[group.run] = group.events
                versions[group.run] = group.version
        self.sync()
        return versions

    def sync(self) -> None:
        """Return when what was written is on the disk."""
        try:
            self._handle.flush()
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise _unusable(self.path, error) from None

    def finish(self, store: Store) -> None:
        """Write the manifest: nothing follows it."""
        last = manifest(store, self.tally)
        try:
            self._handle.write(last + b"\n")
        except OSError as error:
            raise _unusable(self.path, error) from None
        self.sync()


def export_to(
    store: Store,
    path: Path,
    query: str,
    now: datetime,
    *,
    resume: bool,
    told: Callable[[int], None] | None = None,
) -> Exported:
    """Write an export into a file, or go on with one that was cut off. Raises InvalidInput."""
    if resume:
        with ExportFile.reopen(path, store.ledger_id) as file:
            return _fill(store, file, _continued(file, query), told)
    scope = Scope.of(store, query, now)
    with ExportFile.create(path, scope.header(store)) as file:
        return _fill(store, file, scope, told)


def _fill(
    store: Store, file: ExportFile, scope: Scope, told: Callable[[int], None] | None
) -> Exported:
    before = len(file.runs)
    for lines in export_runs(store, scope, after=max(file.runs, default=0)):
        file.write(lines)
        if told is not None:
            told(file.tally.runs)
    file.write(text for _, text in export_tombstones(store, scope, after=file.last_tombstone))
    file.finish(store)
    runs = file.tally.runs
    return Exported(path=str(file.path), runs=runs, added=runs - before, sha256=file.tally.sha256())


def open_archive(store: Store, path: Path, query: str, now: datetime) -> ExportFile:
    """A file for what is pruned: a new one, or one that an interrupted prune has left. Raises
    InvalidInput."""
    if not path.exists():
        first = Scope.of(store, query, now).header(store, archive=True)
        return ExportFile.create(path, first)
    file = ExportFile.reopen(path, store.ledger_id)
    if not file.head["archive"]:
        file.close()
        raise InvalidInput(f"{path} is an export that was cut off, and no archive")
    return file


def _continued(file: ExportFile, query: str) -> Scope:
    head = file.head
    if query and query != head["query"]:
        raise InvalidInput(f"{file.path} was begun with the query {head['query']!r}")
    if head["archive"]:
        raise InvalidInput(
            f"{file.path} is an archive: prune goes on with it", hint="runward prune"
        )
    try:
        as_of = datetime.fromisoformat(head["as_of"])
    except ValueError:
        raise InvalidInput(f"{file.path} was changed: it cannot be continued") from None
    return Scope(query=head["query"], as_of=as_of, through=head["through"])


def _unusable(path: Path, error: OSError | ValueError) -> InvalidInput:
    why = getattr(error, "strerror", None) or str(error)
    return InvalidInput(f"{path} cannot be used: {why}")
