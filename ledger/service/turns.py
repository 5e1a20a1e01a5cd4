"""Whose turn it is: what is due waits here, by account, until there is a call for it.

Creates, submits, cancels, looks that a delivery asked for, and results about to be dropped go
before routine looks, which keep a fifth. Within either, the values of one tag take turns, and so do
accounts. What makes no call (a deadline that passed, evidence, tools to run) waits for nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from ledger.core.budget import Budget
from ledger.core.plan.urgency import LAST_SECONDS, fetch_by
from ledger.service.gates import Gate
from ledger.service.lines import VERY_LAST_SECONDS, Item, Line, Planned, Rank, rank_of, think_again

if TYPE_CHECKING:
    from ledger.service.entry import Entry


class Purse(Protocol):
    """Where calls come from."""

    def budget(self, account_id: int) -> Budget:
        """The budget of the account's credential."""
        ...

    def gate(self, account_id: int) -> Gate:
        """The account's gate."""
        ...

    def fair_tag(self, account_id: int) -> str:
        """The tag whose values take turns."""
        ...


class Unlimited:
    """Calls without end, for an agenda on its own."""

    def __init__(self) -> None:
        self._budget, self._gate = Budget(), Gate()

    def budget(self, account_id: int) -> Budget:
        """One for all."""
        del account_id
        return self._budget

    def gate(self, account_id: int) -> Gate:
        """One for all."""
        del account_id
        return self._gate

    def fair_tag(self, account_id: int) -> str:
        """No run has it."""
        del account_id
        return ""


def take_call(purse: Purse, entry: Entry, now: datetime) -> bool:
    """Whether the run may make a call now. If not it has to wait, whatever the call is for."""
    if not entry.token:
        entry.token = purse.budget(entry.facts.run.account_id).take(now.timestamp())
    entry.waits = not entry.token
    return entry.token


class Turns:
    """The lines of all accounts, and who leaves them next."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse
        self._free: deque[Item] = deque()
        self._lines: dict[int, Line] = {}
        self._order: deque[int] = deque()
        self._now = datetime.min
        self.throttled: dict[int, list[float]] = {}
        """By account: how often something that was due had to wait for a call, and for how many
        seconds something did."""

    def clear(self) -> None:
        """Forget who waits."""
        self._free.clear()
        self._lines.clear()
        self._order.clear()

    def offer(self, entry: Entry, now: datetime) -> None:
        """A run is due: let it wait where it belongs."""
        facts = entry.facts
        account, item = facts.run.account_id, (entry.due, facts.run.id)
        by = fetch_by(facts, entry.look)
        rank = entry.stands = rank_of(entry, by, self._purse.gate(account), now)
        if rank == Rank.expiring and by is not None and self._too_late(account, by, now):
            self._force(entry, now)
            rank = Rank.free
        if rank == Rank.free:
            self._free.append(item)
            return
        line = self._lines.get(account)
        if line is None:
            line = self._lines[account] = Line()
            self._order.append(account)
        flow = facts.run.tags.get(self._purse.fair_tag(account), "")
        line.put(rank, item, by, entry.look.failures, flow)
        at = think_again(facts, by, now)
        if at is not None:
            heapq.heappush(line.alarms, (at, item))

    def advance(self, entry: Entry, now: datetime) -> None:
        """A run that was touched while it waits may be more urgent than it was. Its old place is
        stale once it has gone."""
        by = fetch_by(entry.facts, entry.look)
        rank = rank_of(entry, by, self._purse.gate(entry.facts.run.account_id), now)
        if entry.stands is not None and rank < entry.stands:
            self.offer(entry, now)

    def pop(self, now: datetime, planned: Planned) -> Entry | None:
        """The next run to drive, with its call in hand (`entry.token`); None when none may go."""
        self._now = now
        for line in self._lines.values():
            if line.alarms and line.alarms[0][0] <= now:
                self._alarmed(line, now, planned)
        while self._free:
            entry = planned(*self._free.popleft())
            if entry is not None:
                return entry
        for _ in range(len(self._order)):
            account = self._order[0]
            self._order.rotate(-1)
            line = self._lines[account]
            entry = self._served(account, line, now, planned) if len(line) else None
            if entry is not None:
                return entry
        return None

    def next_at(self) -> datetime | None:
        """When the next run may go, as of the last pop: a time not after it means at once."""
        if self._free:
            return self._now
        times = [at for n, line in self._lines.items() if (at := self._opens(n, line)) is not None]
        return min(times, default=None)

    def _force(self, entry: Entry, now: datetime) -> None:
        """Give the run a call that is not there."""
        self._purse.budget(entry.facts.run.account_id).force(now.timestamp())
        entry.token, entry.waits = True, False

    def done(self, entry: Entry, now: datetime) -> None:
        """A run was driven: a call that it did not make is there for others."""
        account = entry.facts.run.account_id
        if entry.token:
            entry.token = False
            self._purse.budget(account).give_back(now.timestamp())
        line = self._lines.get(account)
        if line is not None and line.probe is entry:
            line.probe = None

    def _served(self, account: int, line: Line, now: datetime, planned: Planned) -> Entry | None:
        """The account's next run, if its gate and its budget let one go."""
        gate, budget = self._purse.gate(account), self._purse.budget(account)
        if _probing(line, gate) or gate.closed(now):
            return None
        if budget.wait(now.timestamp()) > 0:
            line.blocked_at = line.blocked_at or now
            # It says that more is wanted.
            budget.take(now.timestamp())
            return None
        entry = line.pop(planned, stopped=gate.stopped is not None)
        line.tidy(planned)
        if line.blocked_at is not None:
            counts = self.throttled.setdefault(account, [0, 0.0])
            counts[0] += 1
            counts[1] += max((now - line.blocked_at).total_seconds(), 0.0)
            line.blocked_at = None
        if entry is not None:
            entry.token, entry.waits = budget.take(now.timestamp()), False
            line.probe = entry if gate.guarded else None
        return entry

    def _alarmed(self, line: Line, now: datetime, planned: Planned) -> None:
        """Whoever has waited for so long that its place may be wrong waits where it belongs now."""
        while line.alarms and line.alarms[0][0] <= now:
            entry = planned(*heapq.heappop(line.alarms)[1])
            if entry is None:
                continue
            if entry.facts.run.cancel_requested_at is not None:
                # Its time may be up, which takes no call.
                self._free.append((entry.due, entry.facts.run.id))
            else:
                self.offer(entry, now)

    def _too_late(self, account: int, by: datetime, now: datetime) -> bool:
        """Whether no call comes in time to fetch a result that goes at `by`. A stopped account
        stays stopped."""
        if not by - timedelta(seconds=LAST_SECONDS) <= now < by:
            return False
        last = by - timedelta(seconds=VERY_LAST_SECONDS)
        late = now >= last or self._call_at(account, now) >= last
        return late and self._purse.gate(account).stopped is None

    def _call_at(self, account: int, now: datetime) -> datetime:
        """When the account's gate and budget let the next call go."""
        wait = self._purse.budget(account).wait(now.timestamp())
        opens = self._purse.gate(account).not_before
        return max(now + timedelta(seconds=wait), opens or now)

    def _opens(self, account: int, line: Line) -> datetime | None:
        alarm = line.alarms[0][0] if line.alarms else None
        if not len(line) or _probing(line, self._purse.gate(account)):
            return alarm if len(line) else None
        at = self._call_at(account, self._now)
        return at if alarm is None else min(at, alarm)


def _probing(line: Line, gate: Gate) -> bool:
    """Whether one run is finding out at this moment if the account works."""
    return gate.guarded and line.probe is not None and line.probe.busy
