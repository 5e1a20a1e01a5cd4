"""What becomes of old runs through a Ledger: pinned, pruned, erased."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import monotonic, rest, utcnow
from ledger.core.alphabet import State
from ledger.core.decide import keeping
from ledger.core.decide.operator import bounded_text, carry_out
from ledger.core.lifecycle import FINAL
from ledger.core.model import Change, Facts, Run
from ledger.core.policy import bounded, parse_duration, parse_word
from ledger.core.query import parse_query
from ledger.core.request import judge_tags
from ledger.errors import InvalidInput, NotAllowed
from ledger.service.exporting import open_archive
from ledger.service.part import Part
from ledger.store.erasing import blank, clean, contents, overwrite, tagged
from ledger.store.pruning import BATCH_RUNS_MAX, Buried, Old, Place, bury, census, prunable
from ledger.store.queries import one
from ledger.store.records import Decision

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.part import RunName

AGE_SECONDS_MAX: Final = 100 * 366 * 86_400.0
PAGE: Final = 1_000
FIRST_BATCH: Final = 20
BATCH_SECONDS: Final = {"sqlite": 0.015, "postgresql": 0.03}
"""So long one batch may take; the next one is made as large as fits. On SQLite all others who write
wait for it; on PostgreSQL a sealer does, and shorter ones would be roundtrips for the most part."""
REST_SECONDS: Final = 0.005
RESTS: Final = {"sqlite": 4.0, "postgresql": 1.0}
"""Rest as many times as long as a batch took. On SQLite a writer who waits only looks again now and
then, after growing pauses: it must mostly find the way free."""
SAMPLE: Final = 5
TROUBLED: Final = frozenset({State.failed, State.expired, State.incomplete})
"""The verdicts that `keep_failed` keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune did, or (dry) would do. `kept` counts runs that are old enough and stay, by
    reason; one run may have several."""

    runs: int
    events: int = 0
    payloads: int = 0
    before: datetime
    sample: tuple[int, ...] = ()
    kept: dict[str, int] = field(default_factory=dict)
    archived: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure did, or (dry) would do. `refused` says of each run that was not, why."""

    runs: tuple[int, ...]
    payloads: int
    refused: tuple[tuple[int, str], ...] = ()
    cleaned: bool = False
    note: str = ""


class Retention(Part):
    """The part of a Ledger that lets go of what it holds."""

    _actor: str

    def command(self, run: RunName, command: Callable[[Any], None]) -> Run:
        """Carry out an operator's command."""
        raise NotImplementedError

    def pin(self, run: RunName, *, reason: str | None = None) -> Run:
        """Keep a run from being pruned or erased."""
        return self.command(run, keeping.pin(reason))

    def unpin(self, run: RunName, *, reason: str | None = None) -> Run:
        """Let a run be pruned and erased again."""
        return self.command(run, keeping.unpin(reason))

    def prune(
        self,
        older_than: float | str,
        *,
        states: Iterable[str] | None = None,
        keep_failed: bool = False,
        flagged: bool = False,
        query: str = "",
        archive: str | Path | None = None,
        reason: str | None = None,
        dry_run: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> Pruned:
        """Delete runs that finished so long ago (seconds or "90d"), and leave a tombstone of each.

        `states` are verdicts, by default all; `keep_failed` keeps what failed, expired or came out
        incomplete; `query` narrows further; `flagged` lets go what a person should look at. Never a
        run without a verdict, with unsettled objects or unsent notifications, or pinned. With
        `archive`, runs are on the disk in that file before they are deleted. Goes in small batches,
        each whole, so it may be broken off and called again; `told` hears the count after each.
        Raises InvalidInput, DatabaseError.
        """
        now = utcnow()
        old = self._old(older_than, states, keep_failed, flagged, query, now)
        if dry_run:
            return self._plan(old)
        gone, why = Buried(), bounded_text(reason or "")
        with ExitStack() as stack:
            file = open_archive(self.store, Path(archive), query, now) if archive else None
            kept = stack.enter_context(file) if file else None
            for batch in _batches(self._prunable(old), size := _Size(self.store.dialect)):
                versions: Mapping[int, int | None] = dict.fromkeys(batch)
                versions = kept.archive(self.store, batch) if kept else versions
                gone = _sum(gone, self._bury(old, versions, why, size))
                if told is not None:
                    told(gone.runs)
            if kept:
                kept.finish(self.store)
        return Pruned(
            runs=gone.runs,
            events=gone.events,
            payloads=gone.payloads,
            before=old.before,
            archived=kept.tally.runs if kept else 0,
        )

    def _old(
        self,
        older_than: float | str,
        states: Iterable[str] | None,
        keep_failed: bool,
        flagged: bool,
        query: str,
        now: datetime,
    ) -> Old:
        age = bounded("older_than", parse_duration(older_than), low=0.0, high=AGE_SECONDS_MAX)
        chosen = FINAL if states is None else {parse_word("state", State, s) for s in states}
        if early := sorted(set(chosen) - FINAL):
            raise InvalidInput(f"a run that is {early[0]} is never pruned: it has no verdict")
        kept = frozenset(chosen) - (TROUBLED if keep_failed else frozenset())
        if not kept:
            raise InvalidInput("no state is left to prune")
        terms = parse_query(query, now=now)
        before = now - timedelta(seconds=age)
        return Old(before=before, states=kept, terms=terms, flagged=flagged)

    def _plan(self, old: Old) -> Pruned:
        going, kept = self.store.read(lambda c: census(c, old))
        first = self.store.read(lambda c: prunable(c, old, None, limit=SAMPLE))
        sample = tuple(run for _, run in first)
        return Pruned(
            runs=going.runs,
            events=going.events,
            payloads=going.payloads,
            before=old.before,
            sample=sample,
            kept=kept,
        )

    def _prunable(self, old: Old) -> Iterator[int]:
        """Ids of runs that may go, in the order of their beginnings, a page at a time."""
        after: Place | None = None
        while True:
            page = self.store.read(lambda c, a=after: prunable(c, old, a, limit=PAGE))  # type: ignore[misc]
            yield from (run for _, run in page)
            if len(page) < PAGE:
                return
            after = page[-1]

    def _bury(
        self, old: Old, versions: Mapping[int, int | None], reason: str, size: _Size
    ) -> Buried:
        """One batch, and the rest after it in which others get their turn."""
        ledger, actor = self.store.ledger_id, self._actor

        def work(connection: Connection) -> Buried:
            begun = monotonic()
            made = bury(connection, ledger, old, versions, actor=actor, reason=reason, now=utcnow())
            size.took(len(versions), monotonic() - begun)
            return made

        done = self.writer.run(work).result()
        rest(max(REST_SECONDS, size.rest_seconds))
        return done

    def erase(
        self,
        runs: Sequence[RunName] = (),
        *,
        tag: tuple[str, str] | None = None,
        reason: str | None = None,
        rewrite: bool = False,
        dry_run: bool = False,
    ) -> Erased:
        """Destroy the contents of runs, named or all those with a tag: payload bytes with their
        salts, and what was copied from them. Digests, states, times and counts stay, so `verify`
        still passes. Runs that must not be erased yet are listed in the answer, with the reason.

        `rewrite` also rewrites the database's files, for copies in pages that are not in use any
        more. Raises InvalidInput, NotFound, DatabaseError.
        """
        why = bounded_text(reason or "") or None
        ids = self._named(runs, tag)
        done: list[int] = []
        refused: list[tuple[int, str]] = []
        payloads = 0
        for run_id in ids:
            try:
                payloads += self._erase(run_id, why, dry_run)
                done.append(run_id)
            except NotAllowed as error:
                refused.append((run_id, error.message))
        result = Erased(runs=tuple(done), payloads=payloads, refused=tuple(refused))
        if dry_run or not done:
            return result
        cleaned = clean(self.store.engine, rewrite=rewrite)
        return Erased(
            runs=result.runs,
            payloads=payloads,
            refused=result.refused,
            cleaned=cleaned.done,
            note=cleaned.note,
        )

    def _named(self, runs: Sequence[RunName], tag: tuple[str, str] | None) -> list[int]:
        if bool(runs) == (tag is not None):
            raise InvalidInput("name the runs to erase, or one tag")
        if tag is None:
            return list(dict.fromkeys(self.run_id(run) for run in runs))
        name, value = next(iter(judge_tags(dict([tag])).items()))
        return self.store.read(lambda c: tagged(c, name, value))

    def _erase(self, run_id: int, reason: str | None, dry_run: bool) -> int:
        """How many payloads were, or would be, erased. Raises NotAllowed."""
        if dry_run:
            facts = self.store.read(lambda c: one(c, run_id))
            if refusal := keeping.erase_refusal(facts.run, watched=facts.watched):
                raise refusal
            return self.store.read(lambda c: contents(c, run_id))
        count = self.writer.run(functools.partial(self._destroy, run_id, reason)).result()
        self.writer.poke()
        return count

    def _destroy(self, run_id: int, reason: str | None, connection: Connection) -> int:
        overwrite(connection)
        count = contents(connection, run_id)
        if not count and one(connection, run_id).run.erased_at is not None:
            return 0
        command = keeping.erase(reason, count)

        def decide(facts: Facts) -> Change:
            return carry_out(facts, command, now=utcnow(), actor=self._actor)

        self.store.all_or_none([Decision(run_id=run_id, decide=decide)])(connection)
        blank(connection, run_id)
        return count


class _Size:
    """How many runs the next batch has, by how long the last one took."""

    def __init__(self, dialect: str) -> None:
        self.runs, self.seconds = FIRST_BATCH, 0.0
        self._target, self._rests = BATCH_SECONDS[dialect], RESTS[dialect]

    @property
    def rest_seconds(self) -> float:
        """What others get after a batch."""
        return self.seconds * self._rests

    def took(self, runs: int, seconds: float) -> None:
        """A batch of so many runs took so long."""
        self.seconds = seconds
        fits = int(runs * self._target / max(seconds, 1e-6))
        self.runs = max(1, min(fits, 2 * self.runs, BATCH_RUNS_MAX))


def _batches(ids: Iterator[int], size: _Size) -> Iterator[list[int]]:
    batch: list[int] = []
    for run_id in ids:
        batch.append(run_id)
        if len(batch) >= size.runs:
            yield batch
            batch = []
    if batch:
        yield batch


def _sum(one: Buried, other: Buried) -> Buried:
    return Buried(
        runs=one.runs + other.runs,
        events=one.events + other.events,
        payloads=one.payloads + other.payloads,
    )
