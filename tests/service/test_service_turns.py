"""Whose turn it is: priorities, fair shares, and a time for everything that waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from support import NOW, accepted, context, later, response, seen

from ledger.core.alphabet import Source
from ledger.core.budget import Budget
from ledger.core.decide import arm, decide
from ledger.core.model import Evidence, Facts
from ledger.core.pacing import Look
from ledger.core.policy import Policy
from ledger.core.steps import Create
from ledger.service.entry import Agenda, Entry
from ledger.service.gates import Gate
from ledger.service.spreading import AT_ONCE, Spreading
from ledger.service.turns import Turns, take_call

KEPT = Policy(result_retention_seconds=600)


class Purse:
    """One credential behind any number of accounts."""

    def __init__(self, limit: float | None = 60.0) -> None:
        self.one = Budget(configured=limit)
        self.gates: dict[int, Gate] = {}

    def budget(self, account_id: int) -> Budget:
        del account_id
        return self.one

    def gate(self, account_id: int) -> Gate:
        return self.gates.setdefault(account_id, Gate())

    def fair_tag(self, account_id: int) -> str:
        del account_id
        return "team"


class Bench:
    """An agenda over a budget, in arithmetic time."""

    def __init__(self, limit: float | None = 60.0) -> None:
        self.purse = Purse(limit)
        self.agenda = Agenda(Turns(self.purse))
        self.now = NOW

    def add(self, facts: Facts, run_id: int, due: datetime = NOW, **fields: Any) -> Entry:
        """A run that is due."""
        run = replace(facts.run, id=run_id, **fields)
        made = Entry(facts=replace(facts, run=run), look=Look(next_at=due), due=due)
        self.agenda.put(made)
        return made

    def pop(self) -> int | None:
        """Who goes now, and makes its call."""
        entry = self.agenda.pop_due(self.now)
        if entry is None:
            return None
        entry.busy, entry.token = True, False
        return entry.facts.run.id

    def served(self, seconds: float, *, again: float | None = None) -> list[tuple[float, int]]:
        """Who goes when. `again` plans each anew after so many seconds; else they are done."""
        found, end = [], self.now + timedelta(seconds=seconds)
        while self.now < end:
            run_id = self.pop()
            if run_id is None:
                due = self.agenda.next_due()
                if due is None:
                    break
                assert due > self.now, "goes round in circles"
                self.now = due
                continue
            found.append(((self.now - NOW).total_seconds(), run_id))
            entry = self.agenda.entries[run_id]
            entry.busy = False
            self.agenda.turns.done(entry, self.now)
            if again is None:
                self.agenda.drop(entry)
            else:
                entry.due = self.now + timedelta(seconds=again)
                self.agenda.plan(entry)
        return found


def watched(policy: Policy | None = None) -> Facts:
    """A run that upstream works on since NOW."""
    facts = arm(accepted(policy=policy or Policy()), Create(1), context()).after
    return decide(facts, seen(response()), context(), source=Source.create).after


NEW, WATCHED, EXPIRING = accepted(), watched(), watched(KEPT)


def test_what_has_an_effect_goes_first_and_looks_keep_a_fifth() -> None:
    """However many creates wait, of five calls one is a routine look."""
    bench = Bench(limit=None)
    for n in range(100):
        bench.add(NEW, n)
        bench.add(WATCHED, 1_000 + n)

    first = [bench.pop() or 0 for _ in range(50)]

    assert 10 == sum(n >= 1_000 for n in first)
    assert first[:4] == [0, 1, 2, 3]


@pytest.mark.problem(20)
def test_the_budget_is_kept_whoever_waits() -> None:
    """300 a minute: no minute has more, and none is wasted."""
    bench = Bench(limit=300)
    for n in range(1_000):
        bench.add(NEW if n % 2 else WATCHED, n)

    times = [at for at, _ in bench.served(120)]

    for start in times:
        assert 300 >= sum(start <= at < start + 60 for at in times)
    assert 560 <= len(times)


def test_equal_demand_gets_equal_shares() -> None:
    """Two tags, one ten times as busy, later equal: neither makes the other wait."""
    bench = Bench(limit=300)
    for n in range(1_100):
        bench.add(NEW, n, tags={"team": "small" if n % 11 == 0 else "big"})
    served = bench.served(30)
    waits = [at for at, n in served if n % 11 == 0]
    assert 100 * 0.7 <= len(waits)

    equal = Bench(limit=300)
    for n in range(400):
        equal.add(NEW, n, tags={"team": "red"} if n < 200 else {"team": "blue"})
    at = equal.served(1_000)
    red = [when for when, n in at if n < 200]
    blue = [when for when, n in at if n >= 200]
    assert 400 == len(red) + len(blue)
    assert sum(red) / sum(blue) == pytest.approx(1.0, abs=0.05)
    half = Counter(n < 200 for _, n in at[:200])
    assert jain(list(half.values())) >= 0.99


def jain(shares: list[int]) -> float:
    """Jain's index: 1 when all got the same."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_accounts_of_one_credential_take_turns() -> None:
    """The accounts of one profile share a budget, and neither starves the other."""
    bench = Bench(limit=60)
    for n in range(200):
        bench.add(NEW, n, account_id=1 if n < 190 else 2)
    served = [n for _, n in bench.served(25)]
    assert 10 == sum(n >= 190 for n in served)


@pytest.mark.problem(20)
def test_a_result_in_danger_goes_before_its_turn() -> None:
    """It waits among the routine looks until two minutes before it may be gone."""
    bench = Bench(limit=60)
    for n in range(1_000):
        bench.add(WATCHED, n)
    bench.add(EXPIRING, 5_000)

    (at,) = [at for at, n in bench.served(700) if n == 5_000]

    assert 480 <= at <= 483


@pytest.mark.problem(20)
def test_the_last_chance_is_used_whatever_the_budget_says() -> None:
    """Retry-After outlasts the result: the fetch goes out ten seconds before. One that does not is
    waited for."""
    bench = Bench(limit=60)
    bench.add(EXPIRING, 1)
    bench.add(WATCHED, 2)
    bench.purse.one.hold(NOW.timestamp() + 595, NOW.timestamp())
    hold = Bench(limit=60)
    hold.add(EXPIRING, 1)
    hold.purse.one.hold(NOW.timestamp() + 600, NOW.timestamp())

    assert [595, 595] == [round(at) for at, _ in bench.served(700)]
    assert [(590.0, 1)] == hold.served(700)


def test_a_verdict_waits_for_no_call() -> None:
    """A deadline ends a run in time, with the budget closed; so do evidence and tools to run."""
    bench = Bench(limit=60)
    bench.purse.one.hold(NOW.timestamp() + 500, NOW.timestamp())
    bench.add(WATCHED, 1, deadline_at=later(30))
    bench.add(WATCHED, 2)
    assert [(30.0, 1)] == bench.served(499)


def test_without_a_call_a_run_goes_back_in_line() -> None:
    """The second call of a drive is there or not; nobody spins, and nothing is lost."""
    bench = Bench(limit=60)
    entry, other = bench.add(NEW, 1), bench.add(NEW, 2)
    bench.agenda.drop(other)
    assert 1 == bench.pop()
    assert not take_call(bench.purse, entry, bench.now)
    assert entry.waits
    entry.busy, entry.due = False, bench.now
    bench.agenda.plan(entry)
    assert None is bench.pop()
    assert 1.0 <= (bench.agenda.next_due() or NOW).timestamp() - NOW.timestamp() <= 1.1
    assert [1] == [n for _, n in bench.served(10)]


def test_a_call_that_was_not_made_is_there_for_the_next() -> None:
    """A run that had only to wait gives its call back."""
    bench = Bench(limit=60)
    bench.add(NEW, 1)
    bench.add(NEW, 2)
    first = bench.agenda.pop_due(NOW)
    assert first is not None
    assert None is bench.agenda.pop_due(NOW)
    bench.agenda.turns.done(first, NOW)
    first.busy = True
    assert 2 == bench.pop()


def test_a_guarded_account_is_probed_by_one() -> None:
    """Half-open: nobody else goes until the probe is back."""
    bench = Bench(limit=None)
    for n in range(5):
        bench.add(NEW, n)
    gate = bench.purse.gate(NEW.run.account_id)
    gate.opened_at, gate.not_before = NOW, later(3)

    assert None is bench.pop()
    assert later(3) == bench.agenda.next_due()
    bench.now = later(3)
    assert 0 == bench.pop()
    assert None is bench.pop()
    probe = bench.agenda.entries[0]
    probe.busy = False
    bench.agenda.turns.done(probe, bench.now)
    gate.worked()
    assert [1, 2, 3, 4] == [bench.pop() for _ in range(4)]


def test_a_clock_that_is_set_loses_nobody_in_line() -> None:
    """Who waited for a call is due again by the new time, and nobody goes twice."""
    bench = Bench(limit=60)
    for n in range(6):
        bench.add(NEW, n)
    assert [0, None] == [bench.pop(), bench.pop()]
    bench.agenda.shift(timedelta(hours=-1))
    bench.now -= timedelta(hours=1)

    served = [n for _, n in bench.served(30)]

    assert [1, 2, 3, 4, 5] == sorted(served)


def test_who_is_touched_in_line_stands_where_it_belongs() -> None:
    """A cancel, or a delivery, for a look that waits far behind: it has the next call, or none."""
    bench = Bench(limit=60)
    for n in range(200):
        bench.add(WATCHED, n)
    assert [0, None] == [bench.pop(), bench.pop()]

    cancelled, told = bench.agenda.entries[150], bench.agenda.entries[160]
    run = replace(cancelled.facts.run, cancel_requested_at=bench.now)
    cancelled.facts = replace(cancelled.facts, run=run)
    delivery = Evidence(id=1, source="webhook", body=b"", digest=b"", received_at=bench.now)
    told.facts = replace(told.facts, evidence=(delivery,))
    for _ in range(2):
        bench.agenda.touch(150, bench.now)
        bench.agenda.touch(160, bench.now)

    assert [160, 150, 1] == [n for _, n in bench.served(3)]
    assert 200 - 4 == len(bench.served(400)), "each once"


def test_throttled_time_is_counted() -> None:
    """How often something waited for a call, and for how long."""
    bench = Bench(limit=60)
    for n in range(4):
        bench.add(NEW, n)
    bench.served(10)
    ((times, seconds),) = bench.agenda.turns.throttled.values()
    assert 3 == times
    assert seconds == pytest.approx(3 * 61 / 57, abs=0.01)


@pytest.mark.problem(20)
def test_fifty_thousand_after_a_restart() -> None:
    """The first minute stays within the budget, what is urgent goes first, and looks keep a
    fifth."""
    bench = Bench(limit=600)
    dying = replace(EXPIRING, run=replace(EXPIRING.run, deadline_at=later(90_000)))
    bench.now = later(500)
    for n in range(50_000):
        facts = NEW if n % 500 == 7 else dying if n % 500 == 9 else WATCHED
        bench.add(facts, n, due=bench.now)

    served = bench.served(60)

    assert 560 <= len(served) <= 600
    kinds = Counter({7: "new", 9: "dying"}.get(n % 500, "routine") for _, n in served)
    assert (100, 100) == (kinds["new"], kinds["dying"])
    last = max(at for at, n in served if n % 500 in (7, 9))
    assert last - 500 <= 200 / (600 / 61) / 0.75
    early = [n for at, n in served if at < last]
    assert 0.15 <= sum(n % 500 not in (7, 9) for n in early) / len(early) <= 0.25


@pytest.mark.problem(20)
def test_first_looks_at_many_runs_are_spread() -> None:
    """Few are looked at at once; of 50,000 no second has much more than a thousand; what is new
    does not wait."""
    few, many = Spreading(), Spreading()
    entries = [Entry(facts=WATCHED, look=Look(next_at=NOW), due=NOW) for _ in range(2)]
    new = Entry(facts=NEW, look=Look(next_at=NOW), due=NOW)

    assert {NOW} == {few.first_look(entries[0], NOW, 0.99) for _ in range(AT_ONCE)}
    assert NOW < few.first_look(entries[1], NOW, 0.99)
    spread = [many.first_look(entries[0], NOW, (n * 0.618) % 1) for n in range(50_000)]
    seconds = Counter(int((at - NOW).total_seconds()) for at in spread)
    assert max(seconds.values()) < 2_000
    assert max(spread) <= later(50)
    assert NOW == many.first_look(new, NOW, 0.99)
