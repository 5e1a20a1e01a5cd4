"""What leaves a Ledger and comes into one: exports, bundles, imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.service.bundle import Bundled, write_bundle
from ledger.service.exporting import Exported, Scope, export_lines, export_to
from ledger.service.importing import Imported, Importer
from ledger.service.part import Part
from ledger.service.taking_in import History, Taken, adopt_lines
from ledger.store.queries import remote_holder

if TYPE_CHECKING:
    from datetime import datetime

    from ledger.core.model import Run
    from ledger.service.judging import Judge
    from ledger.service.part import RunName


class Moving(Part):
    """The part of a Ledger that hands runs over and takes them."""

    _actor: str
    _judge: Judge

    def adopt(self, remote_id: str, **address: Any) -> Run:
        """Start to watch an upstream object made elsewhere."""
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

    def bundle(self, run: RunName, path: str | Path) -> Bundled:
        """One run in a new zip file, with the proof of its history and a program that checks it
        anywhere. Raises NotFound, InvalidInput."""
        return write_bundle(self.store, self.run_id(run), Path(path))

    def import_from(
        self,
        path: str | Path,
        *,
        take_over: bool = False,
        dry_run: bool = False,
        changed: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> Imported:
        """Take in the runs of a file that `export_to` wrote: each with its history, under a new
        number, once. Every run's chain is checked before it is written; a broken one is refused and
        named, and the rest goes on. So it may be broken off and called again.

        Runs that still move are taken only with `take_over`, and are driven here from then on: the
        other ledger must not do that any more. A file that is not as its manifest says is refused
        as a whole; with `changed`, what still proves itself is taken out of it. Raises InvalidInput
        for a file that is no export, CheckFailed for a changed one, DatabaseError.
        """
        importer = Importer(
            self.store,
            self.writer,
            self._actor,
            take_over=take_over,
            dry_run=dry_run,
            changed=changed,
        )
        return importer.run(Path(path), told)

    def adopt_from(self, path: str | Path) -> Iterator[Taken]:
        """Adopt what each line of a file names: `{"response": ID}` or `{"thread": ID, "run": ID}`,
        with a `key` if you like. Each line is judged by itself, and its outcome comes as it is
        known. Raises InvalidInput where the file cannot be read."""

        def holder(remote_id: str, thread: str) -> int | None:
            return self.store.read(lambda c: remote_holder(c, remote_id, thread))

        return adopt_lines(Path(path), self.adopt, holder)

    def import_history(self, path: str | Path, *, dry_run: bool = False) -> Iterator[Taken]:
        """Write down `response` and `thread.run` objects that are over, a line each, as upstream
        printed them: final runs, with the object as what was observed. Upstream is not asked.

        Each line is judged by itself; an object that still moves is refused, and can be adopted.
        Raises InvalidInput where the file cannot be read.
        """
        return History(self.store, self.writer, self._judge).read(Path(path), dry_run=dry_run)
