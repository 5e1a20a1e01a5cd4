"""What waits for one account, in the order of its turns."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from ledger.core.alphabet import RemoteState, State
from ledger.core.fair import Ring
from ledger.core.plan.tails import cancel_over_at, ends_at
from ledger.core.plan.urgency import LAST_SECONDS, URGENT_SECONDS
from ledger.service.gates import Gate

if TYPE_CHECKING:
    from ledger.core.model import Facts
    from ledger.service.entry import Entry

ROUTINE_EVERY: Final = 5
"""Of so many calls one is a routine look, however many creates wait."""
VERY_LAST_SECONDS: Final = 2.0
"""So long before a result is dropped its fetch goes out without a call to spare."""
ALARMS_SLACK: Final = 64
Item = tuple[datetime, int]
"""When a run was due, and which; stale once it is due at another time."""
Planned = Callable[[datetime, int], "Entry | None"]


class Rank(IntEnum):
    """What a run that is due waits for, the most urgent first."""

    free = 0
    expiring = 1
    first = 2
    routine = 3
    refused = 4
    """Behind all others while its account is stopped: the fault may lie with this run."""


def rank_of(entry: Entry, by: datetime | None, gate: Gate, now: datetime) -> Rank:
    """What a due run waits for, from its facts alone; its result may be dropped at `by`.

    Tools may have to be run, or a cancel to be given up, which takes no call; not where one was
    wanting (`waits`).
    """
    facts, look = entry.facts, entry.look
    run = facts.run
    if facts.evidence or (now >= run.deadline_at and not run.final):
        return Rank.free
    over_at = cancel_over_at(facts)
    idle = run.state == State.requires_action or (over_at is not None and over_at <= now)
    if idle and not entry.waits:
        return Rank.free
    if by is not None and (by - now).total_seconds() <= URGENT_SECONDS:
        return Rank.expiring
    if gate.stopped is not None and look.failures:
        return Rank.refused
    if run.final:
        tails = (remote for remote in facts.remotes if not remote.settled)
        return Rank.first if any(r.cancel_sent_at is None for r in tails) else Rank.routine
    current = facts.current
    if current is None or current.state != RemoteState.confirmed or current.settled:
        return Rank.first
    urgent = run.cancel_requested_at or run.state == State.requires_action or look.prompted
    return Rank.first if urgent else Rank.routine


@dataclass(slots=True)
class Line:
    """What waits for one account."""

    first: Ring[Item] = field(default_factory=Ring)
    routine: Ring[Item] = field(default_factory=Ring)
    expiring: list[tuple[datetime, Item]] = field(default_factory=list)
    refused: list[tuple[int, Item]] = field(default_factory=list)
    alarms: list[tuple[datetime, Item]] = field(default_factory=list)
    """When the wait of a run has to be thought over again."""
    probe: Entry | None = None
    since_routine: int = 0
    expired_last: bool = False
    blocked_at: datetime | None = None

    def __len__(self) -> int:
        waiting = len(self.first) + len(self.routine)
        return waiting + len(self.expiring) + len(self.refused)

    def put(self, rank: Rank, item: Item, by: datetime | None, failures: int, flow: str) -> None:
        """Let a run wait in its place."""
        if rank == Rank.expiring and by is not None:
            heapq.heappush(self.expiring, (by, item))
        elif rank == Rank.refused:
            heapq.heappush(self.refused, (failures, item))
        else:
            (self.first if rank == Rank.first else self.routine).put(flow, item)

    def tidy(self, planned: Planned) -> None:
        """Throw out, now and then, the alarms of what was served."""
        if len(self.alarms) > 2 * len(self) + ALARMS_SLACK:
            self.alarms = [alarm for alarm in self.alarms if planned(*alarm[1]) is not None]
            heapq.heapify(self.alarms)

    def pop(self, planned: Planned, *, stopped: bool) -> Entry | None:
        """The run whose turn it is; None when none waits. What is stale counts for nothing."""
        if not stopped and self.refused:
            # The account works again: they have waited longest.
            found = _pop_heap(self.refused, planned)
            if found is not None:
                return found
        if self.since_routine >= ROUTINE_EVERY - 1:
            found = self._pop_routine(planned)
            if found is not None:
                return found
        found = self._pop_urgent(planned)
        if found is not None:
            self.since_routine = self.since_routine + 1 if len(self.routine) else 0
            return found
        return self._pop_routine(planned) or _pop_heap(self.refused, planned)

    def _pop_urgent(self, planned: Planned) -> Entry | None:
        """Results in danger and what has an effect, in turns."""
        if not self.expired_last:
            found = _pop_heap(self.expiring, planned)
            if found is not None:
                self.expired_last = True
                return found
        found = _pop_ring(self.first, planned)
        if found is not None:
            self.expired_last = False
            return found
        return _pop_heap(self.expiring, planned)

    def _pop_routine(self, planned: Planned) -> Entry | None:
        found = _pop_ring(self.routine, planned)
        if found is not None:
            self.since_routine = 0
        return found


def think_again(facts: Facts, by: datetime | None, now: datetime) -> datetime | None:
    """When the place of a waiting run may not be right any more."""
    at = None if facts.run.final else ends_at(facts, now)
    if by is not None:
        left = (by - now).total_seconds()
        stage = URGENT_SECONDS
        if left <= URGENT_SECONDS:
            stage = LAST_SECONDS if left > LAST_SECONDS else VERY_LAST_SECONDS
        if left > stage:
            sooner = by - timedelta(seconds=stage)
            at = sooner if at is None else min(at, sooner)
    return at


def _pop_heap(heap: list[tuple[Any, Item]], planned: Planned) -> Entry | None:
    while heap:
        entry = planned(*heapq.heappop(heap)[1])
        if entry is not None:
            return entry
    return None


def _pop_ring(ring: Ring[Item], planned: Planned) -> Entry | None:
    while len(ring):
        flow, item = ring.pop()
        entry = planned(*item)
        if entry is not None:
            return entry
        ring.again(flow)
    return None
