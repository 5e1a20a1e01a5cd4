"""Commit what was decided about a run, under this life's ownership."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ledger.clock import pause
from ledger.core.model import Change, Facts
from ledger.errors import DatabaseError, NotAllowed
from ledger.service.entry import Entry
from ledger.service.heart import Heart
from ledger.service.telling import tell_change
from ledger.store.records import Decision, Guard, Rejected, Result, Written
from ledger.store.writer import Writer

log = logging.getLogger("runward")
COMMIT_PAUSE_SECONDS_MAX: Final = 5.0


class Overtaken(NotAllowed):
    """The run moved, and the step that was due no longer is."""


def ignore(what: object) -> None:
    """Nobody is told."""
    del what


class Commits:
    """The commits of one life."""

    def __init__(self, writer: Writer, heart: Heart) -> None:
        self._writer, self._heart = writer, heart
        self.on_woken: Callable[[int], None] = ignore

    async def commit(
        self,
        entry: Entry,
        change: Change,
        make: Callable[[Facts], Change],
        *,
        evidence: Callable[[], bytes] | None,
        performed: Callable[..., Change] | None = None,
    ) -> Result:
        """Commit under this life's ownership. What was learned outlives a database that is away."""
        decision = Decision(
            run_id=entry.facts.run.id,
            decide=make,
            change=change,
            guard=Guard(self._heart.life.id, entry.facts.fence),
            evidence=evidence,
            performed=performed,
        )
        result = await self._persist(decision)
        if isinstance(result, Written):
            before, entry.facts = entry.facts, result.facts
            if entry.facts.run.calls != before.run.calls:
                entry.spent = ()
            tell_change(before, entry.facts, self._heart.life.id)
            for run_id in result.woken:
                self.on_woken(run_id)
        elif isinstance(result, Rejected) and not isinstance(result.error, Overtaken):
            log.error(
                "run %s: %s", decision.run_id, result.error, extra={"run_id": decision.run_id}
            )
        return result

    async def _persist(self, decision: Decision) -> Result:
        """Commit, however long the database is away, if something was learned: it may be the only
        copy of an id. What was only intended is given up, and intended again later."""
        attempt = 0
        while True:
            try:
                return await self._writer.commit(decision)
            except DatabaseError as error:
                if decision.evidence is None and decision.performed is None:
                    raise
                what = "run %s: %s; the commit is tried again"
                log.error(what, decision.run_id, error, extra={"run_id": decision.run_id})
            await pause(min(0.1 * 2**attempt, COMMIT_PAUSE_SECONDS_MAX))
            attempt = min(attempt + 1, 20)
