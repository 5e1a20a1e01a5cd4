"""A result that upstream may drop is fetched before anything else, and before politeness."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from support import NOW, accepted, context, failed, later, response, seen

from ledger.core.alphabet import Source
from ledger.core.decide import arm, decide
from ledger.core.model import Facts
from ledger.core.outcome import Failed
from ledger.core.pacing import Look
from ledger.core.plan.urgency import in_time, last_chance
from ledger.core.policy import Policy
from ledger.core.steps import Create, Observe
from ledger.errors import ObjectMissing, RateLimited, Reply, UpstreamError
from ledger.service.accounts import AccountRecord, Accounts
from ledger.service.driver import Driver
from ledger.service.entry import Agenda, Entry, look_after
from ledger.settings import Profile

KEPT = Policy(result_retention_seconds=600)


def running(run_id: int, policy: Policy) -> Facts:
    """A run that upstream was seen to work on at NOW."""
    facts = accepted(policy=policy)
    facts = replace(facts, run=replace(facts.run, id=run_id))
    facts = arm(facts, Create(1), context()).after
    return decide(facts, seen(response()), context(), source=Source.create).after


def agenda(at: datetime) -> Agenda:
    """Three runs due a while ago; upstream may drop the object of the last one."""
    made = Agenda()
    for run_id, policy in ((1, Policy()), (2, Policy()), (3, KEPT)):
        due = at - timedelta(seconds=10 - run_id)
        made.put(Entry(facts=running(run_id, policy), look=Look(next_at=due), due=due))
    return made


def order(made: Agenda, now: datetime) -> list[int]:
    found = []
    while (entry := made.pop_due(now)) is not None:
        entry.busy = True
        found.append(entry.facts.run.id)
    return found


@pytest.mark.problem(20)
def test_the_order_is_that_of_due_times_until_a_result_is_in_danger() -> None:
    """With time enough the oldest goes first; with little, what may be lost."""
    assert [1, 2, 3] == order(agenda(later(100)), later(100))
    assert [3, 1, 2] == order(agenda(later(500)), later(500))


def test_what_was_found_due_and_not_taken_is_still_planned() -> None:
    """The next due time counts entries that were put in order already."""
    made = agenda(later(500))
    assert made.pop_due(later(500)) is not None
    assert later(500) == made.next_due()
    made.wake(1, later(400))
    assert [1, 2] == order(made, later(500))[-2:]


def limited(retry_after: float) -> Failed:
    error = RateLimited("429", reply=Reply(status=429, retry_after_seconds=retry_after))
    return failed(error, "observe")


def test_retry_after_is_kept_only_while_the_result_lasts() -> None:
    """A wait within the time is respected; a longer one ends in time for a last look."""
    facts, now = running(1, KEPT), later(500)
    look = Look(next_at=now)
    short = look_after(look, limited(50), facts, news=False, now=now, spread=0.0)
    long = look_after(look, limited(300), facts, news=False, now=now, spread=0.0)
    kept = look_after(look, limited(300), running(1, Policy()), news=False, now=now, spread=0.0)

    assert (later(550), later(590), later(800)) == (short.next_at, long.next_at, kept.next_at)


def test_the_last_moments_are_used() -> None:
    """Shortly before the end a look goes out each second; after it, politeness is back."""
    by = later(600)

    assert later(596) == in_time(later(700), later(595), by)
    assert later(700) == in_time(later(700), later(601), by)
    assert [False, True, False] == [
        last_chance(later(700), later(seconds), by) for seconds in (500, 595, 601)
    ]
    assert not last_chance(later(597), later(595), by)


def test_profiles_say_how_long_results_are_kept() -> None:
    """Ten minutes for responses unless the profile knows better; threads stay."""
    assert (600.0, None) == tuple(
        Profile().retention_seconds(provider) for provider in ("responses", "assistants")
    )
    assert 60.0 == Profile(result_retention_seconds=60).retention_seconds("assistants")
    assert NOW < later(1)


def test_a_404_is_believed_while_the_account_shows_something() -> None:
    """Three objects missing at once, none seen: that is the credential, until a read succeeds."""
    accounts = Accounts({}, opener=None)  # type: ignore[arg-type]
    account = AccountRecord(id=1, provider="responses", base_url="u", project="", profile="p")
    gone = ObjectMissing("404")

    def sees(run: int, seconds: float = 0.0, error: UpstreamError | None = gone) -> bool:
        return accounts.sees(account, (run, 1), error, later(seconds))

    assert [True, True, True, False] == [sees(1), sees(1), sees(2), sees(3)]
    assert [True, True] == [sees(4, error=None), sees(3)]
    assert [True, False, True] == [sees(5), sees(6, 1), sees(7, 500)]


def test_a_pause_of_the_account_does_not_outlast_a_result() -> None:
    """The driver goes on early enough for a last look, and at once in the last moments; a stopped
    account stays stopped."""
    facts = running(1, KEPT)
    driver: Any = object.__new__(Driver)
    driver._accounts = Accounts({}, opener=None)  # type: ignore[arg-type]
    gate = driver._accounts.gate(facts.run.account_id)
    gate.not_before = later(900)
    entry = Entry(facts=facts, look=Look(next_at=NOW), due=NOW)
    found = [driver._paused(entry, Observe(1), later(seconds)) for seconds in (100, 595)]
    gate.stopped = "AuthenticationRefused"

    assert [later(590), None] == found
    assert later(900) == driver._paused(entry, Observe(1), later(595))
