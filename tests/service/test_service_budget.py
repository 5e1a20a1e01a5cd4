"""One budget per credential, over accounts, lives and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from service_rig import MakeRig, verdict
from support import NOW, SQLITE, later

from ledger import Ledger
from ledger.clock import utcnow
from ledger.errors import DatabaseError, MalformedReply, RateLimited, Reply, UpstreamError
from ledger.service.accounts import AccountRecord, Accounts
from ledger.service.limits import limits
from ledger.service.workers import make_reconciler
from ledger.settings import Limits

DONE = ("completed", 1, None, None, None)


def accounts_of(reconciler: Any) -> Any:
    return reconciler.driver._accounts


@SQLITE
def test_the_accounts_of_a_profile_share_one_budget(make_rig: MakeRig) -> None:
    """Responses and assistants are two accounts and one credential."""
    rig = make_rig(limits=Limits(requests_per_minute=6_000))
    runs = [rig.submit("sim-ok", family) for family in ("responses", "assistants")]
    with rig.daemon() as reconciler:
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
        accounts = accounts_of(reconciler)

    assert 2 == len(accounts.records)
    assert accounts.budget(1) is accounts.budget(2)
    assert 6_000 == accounts.budget(1).configured
    assert accounts.budget(1).measured(utcnow().timestamp()) == rig.scalar(
        "SELECT sum(calls) FROM api_usage"
    )


@pytest.mark.problem(20)
def test_lives_divide_the_limit_and_hear_of_a_hold(make_rig: MakeRig) -> None:
    """Two lives have a half each; a 429 that one meets stops the other too, and a third that
    begins only then."""
    rule = {"operation": "responses.create", "times": 1, "fault": "http-429", "retry_after_s": 30}
    rig = make_rig(limits=Limits(requests_per_minute=600))
    rig.submit("sim-slow")
    with rig.daemon() as first, rig.daemon() as second:
        both = [accounts_of(first), accounts_of(second)]
        rig.expect(lambda: [0.5, 0.5] == [accounts.budgets.share for accounts in both])
        rig.expect(lambda: all(1 in accounts.records for accounts in both) or rig.submit() is None)
        rig.sim.replace_faults([rule])
        rig.submit("sim-ok")
        now = utcnow().timestamp()
        rig.expect(lambda: all(a.budget(1).held_until > now + 20 for a in both))
    assert rig.scalar("SELECT held_until FROM account") is not None

    third = make_reconciler(rig.ledger, role="daemon")
    accounts = accounts_of(third)
    accounts.learn(rig.ledger.store)
    assert accounts.budget(1).held_until > utcnow().timestamp() + 15
    (shown,) = limits(rig.ledger)
    assert 1 == shown["refused_1h"]
    assert shown["held_until"] is not None


@SQLITE
def test_a_restart_knows_the_limit(make_rig: MakeRig) -> None:
    """What upstream's headers said to one life, the next one keeps to from its first call."""
    rig = make_rig()
    assert DONE == verdict(rig.run("sim-ok"))

    with Ledger.open(rig.url, poll_seconds=0.05) as again:
        accounts = accounts_of(make_reconciler(again, role="daemon"))
        accounts.learn(again.store)
        assert 10_000 == accounts.budget(1).limit


@pytest.mark.problem(20)
@SQLITE
def test_a_small_budget_is_kept_to_the_end(make_rig: MakeRig) -> None:
    """Ten runs at 600 a minute: about ten calls a second, and every verdict is reached."""
    rig = make_rig({"durations": {"in_progress": 0.1}}, limits=Limits(requests_per_minute=600))
    runs = [rig.submit("sim-ok") for _ in range(30)]
    began = utcnow()
    with rig.daemon(concurrency=16):
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
    calls = rig.scalar("SELECT sum(calls) FROM api_usage")
    took = (utcnow() - began) / timedelta(seconds=1)
    assert 60 <= calls <= 30 + took * 600 / 61
    assert 0 < rig.scalar("SELECT sum(throttled) FROM api_limit")
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}


@pytest.mark.parametrize("kind", [RateLimited, MalformedReply])
def test_a_proxys_429_holds_everybody_too(kind: type[UpstreamError]) -> None:
    """Its body is a web page as like as not; what it asks for is plain all the same."""
    accounts = Accounts({}, opener=None)  # type: ignore[arg-type]
    accounts.records[1] = AccountRecord(
        id=1, provider="responses", base_url="u", project="", profile="p"
    )
    error = kind("slow down", reply=Reply(status=429, retry_after_seconds=30.0))
    accounts.mind(1, error, NOW, Random(1))

    assert accounts.budget(1).held_until >= later(30).timestamp()
    assert 1 == accounts.budgets.minute(1, NOW).refused
    assert {1} == accounts.budgets.news


@SQLITE
def test_a_call_that_could_not_be_made_is_not_spent(make_rig: MakeRig) -> None:
    """What to send could not be read: nothing was sent, and the budget knows."""
    rig = make_rig(limits=Limits(requests_per_minute=6_000))
    failures = [DatabaseError("away")] * 3
    with rig.daemon() as life:
        read = life.driver.read_payloads

        def away(run_id: int, numbers: Sequence[int]) -> Any:
            if failures:
                raise failures.pop()
            return read(run_id, numbers)

        life.driver.read_payloads = away
        run = rig.submit("sim-ok")
        rig.expect(lambda: rig.ledger.get(run).final)
        spent = accounts_of(life).budget(1).measured(utcnow().timestamp())
    assert [] == failures
    assert rig.scalar("SELECT sum(calls) FROM api_usage") == spent


def test_calls_that_belong_to_no_run_are_counted_too() -> None:
    """Looking into a delivery waits for the budget and for the gate, and spends a call."""
    accounts = Accounts({}, opener=None)  # type: ignore[arg-type]
    accounts.records[1] = AccountRecord(
        id=1, provider="responses", base_url="u", project="", profile="p"
    )
    budget, at = accounts.budget(1), NOW.timestamp()
    budget.hold(at + 30, at)
    assert later(30) == accounts.may_call(1, NOW)
    accounts.gate(1).not_before = later(60)
    assert later(60) == accounts.may_call(1, later(30))
    assert 0 == budget.measured(at + 30)
    assert None is accounts.may_call(1, later(60))
    assert 1 == budget.measured(at + 60)
