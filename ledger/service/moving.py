"""What leaves a Ledger and comes into one: exports, bundles, imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.clock import utcnow
from ledger.service.exporting import Exported, Scope, export_lines, export_to
from ledger.service.importing import Imported, Importer

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.service.operations import RunName
    from ledger.store.store import Store
    from ledger.store.writer import ThreadWriter


class Moving:
    """The part of a Ledger that hands runs over and takes them."""

    _actor: str

    @property
    def store(self) -> Store:
        """The database."""
        raise NotImplementedError

    @property
    def writer(self) -> ThreadWriter:
        """The writer of this process."""
        raise NotImplementedError

    def run_id(self, run: RunName) -> int:
        """The number of a run."""
        raise NotImplementedError

    def export(self, query: str = "", *, now: datetime | None = None) -> Iterator[str]:
        """The runs that match, as lines of NDJSON without line ends: header, rows, manifest.

        Read a page at a time: each run is as one moment saw it, and runs submitted after `now` are
        not in it. Raises InvalidInput, DatabaseError.
        """
        scope = Scope.of(self.store, query, now or utcnow())
        return (text.decode() for text in export_lines(self.store, scope))

    def export_to(
        self,
        path: str | Path,
        query: str = "",
        *,
        resume: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> Exported:
        """`export` into a new file, flushed to the disk; or, with `resume`, go on with one that was
        cut off, behind its last whole run. `told` hears the count. Raises InvalidInput."""
        return export_to(self.store, Path(path), query, utcnow(), resume=resume, told=told)

    def import_from(
        self,
        path: str | Path,
        *,
        take_over: bool = False,
        dry_run: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> Imported:
        """Take in the runs of a file that `export_to` wrote: each with its history, under a new
        number, once. Every run's chain is checked before it is written; a broken one is refused and
        named, and the rest goes on. So it may be broken off and called again.

        Runs that still move are taken only with `take_over`, and are driven here from then on: the
        other ledger must not do that any more. Raises InvalidInput for a file that is no export,
        DatabaseError.
        """
        importer = Importer(
            self.store, self.writer, self._actor, take_over=take_over, dry_run=dry_run
        )
        return importer.run(Path(path), told)
