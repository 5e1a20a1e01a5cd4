"""What a life keeps in memory of the runs that it owns: only a cache of the rows."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ledger.clock import boottime
from ledger.core.counting import Spent
from ledger.core.model import Facts
from ledger.core.outcome import Failed, Observed, Outcome
from ledger.core.pacing import Look, after_failure, trouble_is_news
from ledger.core.pacing.next_look import DEFAULT, Choice, Sight, next_look
from ledger.core.plan.urgency import fetch_by, in_time
from ledger.core.record import evolve
from ledger.service.lines import Rank
from ledger.service.turns import Turns, Unlimited

STEP_SECONDS_MIN: Final = 2.0
"""Clocks that are slewed, and passes that are late, differ by less."""


@dataclass(slots=True)
class Entry:
    """One owned run: its facts, what its looks brought, and when it is due."""

    facts: Facts
    look: Look
    due: datetime
    busy: bool = False
    touched: bool = False
    spent: Spent = ()
    """Calls that are not written yet."""
    token: bool = False
    """Whether it has a call in hand."""
    waits: bool = False
    """Whether it was turned back for want of a call."""
    stands: Rank | None = None
    """Where it was last put in line."""


class Agenda:
    """Owned runs by due time. Stale heap items are skipped, never searched for."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.entries: dict[int, Entry] = {}
        self._heap: list[tuple[datetime, int]] = []
        self.turns = turns or Turns(Unlimited())

    def put(self, entry: Entry) -> None:
        """Add a run, or replace what was known of it."""
        self.entries[entry.facts.run.id] = entry
        self.plan(entry)

    def plan(self, entry: Entry) -> None:
        """Put the entry into the heap under its present due time."""
        heapq.heappush(self._heap, (entry.due, entry.facts.run.id))

    def drop(self, entry: Entry) -> None:
        """Forget a run, unless it has come back meanwhile, as another entry."""
        if self.entries.get(entry.facts.run.id) is entry:
            del self.entries[entry.facts.run.id]

    def wake(self, run_id: int, now: datetime) -> None:
        """Look at a run at once."""
        entry = self.entries.get(run_id)
        if entry is None:
            return
        entry.look = replace(entry.look, next_at=min(entry.look.next_at, now))
        if entry.busy:
            entry.touched = True
        elif entry.due > now:
            entry.due = now
            self.plan(entry)

    def touch(self, run_id: int, now: datetime) -> None:
        """Somebody touched a run: look at it at once, and where it waits in line already, let it
        wait where it belongs now."""
        entry = self.entries.get(run_id)
        waits = entry is not None and not entry.busy and entry.due <= now
        self.wake(run_id, now)
        if entry is not None and waits:
            self.turns.advance(entry, now)

    def shift(self, by: timedelta) -> None:
        """The clock that plans were made by was set. Set back, they come earlier; set forward, they
        stay: which were made since is not known, and those would else be hours late. Who is being
        driven may still plan by the time before."""
        back = min(by, timedelta(0))
        for entry in self.entries.values():
            entry.touched = entry.touched or entry.busy
            entry.due += back
            entry.look = replace(entry.look, next_at=entry.look.next_at + back)
        # Those in line too: they were due at another time.
        self.turns.clear()
        self._heap = [(entry.due, run_id) for run_id, entry in self.entries.items()]
        heapq.heapify(self._heap)

    def pop_due(self, now: datetime) -> Entry | None:
        """The next entry that is due, not busy, and may go: its turn has come, and it has a call
        in hand if it needs one."""
        while self._heap and self._heap[0][0] <= now:
            due, run_id = heapq.heappop(self._heap)
            entry = self._planned(due, run_id)
            if entry is not None:
                self.turns.offer(entry, now)
        return self.turns.pop(now, self._planned)

    def next_due(self) -> datetime | None:
        """When the next entry is due, or one that is due may go."""
        while self._heap:
            due, run_id = self._heap[0]
            if self._planned(due, run_id) is not None:
                break
            heapq.heappop(self._heap)
        times = [due for due, _ in self._heap[:1]]
        times += [at for at in (self.turns.next_at(),) if at is not None]
        return min(times, default=None)

    def _planned(self, due: datetime, run_id: int) -> Entry | None:
        """The entry behind a heap item, unless the item is stale or the entry busy."""
        entry = self.entries.get(run_id)
        return entry if entry is not None and entry.due == due and not entry.busy else None


class ClockSteps:
    """Notices when the wall clock is set: it then moves by more than time has passed."""

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None

    def jump(self, now: datetime) -> timedelta | None:
        """By how much the wall clock was set since the last time, if it was."""
        last, self._last = self._last, (now, boottime())
        if last is None:
            return None
        step = now - last[0] - timedelta(seconds=self._last[1] - last[1])
        return step if abs(step.total_seconds()) >= STEP_SECONDS_MIN else None


def look_after(
    look: Look,
    outcome: Outcome,
    facts: Facts,
    *,
    news: bool,
    now: datetime,
    spread: float,
    choice: Choice = DEFAULT,
) -> Look:
    """The look that follows an outcome. `facts` are those after it; `choice` paces."""
    if isinstance(outcome, Failed):
        failures = look.failures + 1
        due = after_failure(
            now,
            failures=failures,
            retry_after_seconds=outcome.reply.retry_after_seconds,
            spread=spread,
        )
        due = in_time(due, now, fetch_by(facts, look))
        troubled = now if trouble_is_news(look, now) else look.trouble_at
        return evolve(look, next_at=due, failures=failures, last=now, trouble_at=troubled)
    counted = (
        evolve(look, count=0, first=None)
        if news
        else evolve(look, count=look.count + 1, first=look.first or now)
    )
    if not isinstance(outcome, Observed):
        due = now if news else after_failure(now, failures=2, retry_after_seconds=None, spread=0.5)
        return evolve(counted, next_at=due, failures=0, last=now)
    seen = evolve(counted, failures=0, last=now, seen=now)
    hint = outcome.observation.poll_after_seconds
    sight = Sight(n=outcome.n, look=seen, choice=choice, hint_seconds=hint, spread=spread)
    return evolve(seen, next_at=next_look(facts, now, sight).at)
