"""The breaker of an account: open after trouble in a row, one probe, closed by an answer."""

from __future__ import annotations

from datetime import datetime

import pytest
from service_rig import MakeRig, verdict
from support import NOW, SQLITE, later

from ledger.errors import (
    ConnectionFailed,
    ObjectMissing,
    QuotaExhausted,
    RateLimited,
    Reply,
    ReplyTimeout,
    ServerTrouble,
    UpstreamError,
)
from ledger.service.gates import ANSWER_SECONDS, OPENS_AFTER, Gate


def fail(gate: Gate, seconds: float, error: UpstreamError | None = None, took: float = 0) -> None:
    gate.failed(error or ServerTrouble("500"), later(seconds), 0.5, later(seconds - took))


def opened() -> Gate:
    """A gate that opened at NOW."""
    gate = Gate()
    for _ in range(OPENS_AFTER):
        fail(gate, 0)
    return gate


def seconds(at: datetime | None) -> float:
    assert at is not None
    return (at - NOW).total_seconds()


def test_some_failures_are_the_runs_own() -> None:
    """Fewer than five in a row, or with a success between, leave the account open to all."""
    gate = Gate()
    for _ in range(3):
        for _ in range(OPENS_AFTER - 1):
            fail(gate, 0, ConnectionFailed("refused"))
        assert not gate.closed(NOW)
        assert "closed" == gate.state(NOW)
        assert not gate.worked()


@pytest.mark.problem(20)
def test_it_opens_and_lets_one_probe_in() -> None:
    """Half-open: one finds out, the others wait for its answer, which closes it."""
    gate = opened()
    assert ("open", True) == (gate.state(NOW), gate.guarded)
    wait = seconds(gate.not_before)
    assert 2 < wait < 3
    assert gate.not_before == gate.enter(NOW, 0)
    assert "half-open" == gate.state(later(wait))
    assert None is gate.enter(later(wait), 0)
    assert later(wait + ANSWER_SECONDS) == gate.enter(later(wait), 0)
    assert gate.worked()
    assert ("closed", False) == (gate.state(later(wait)), gate.closed(later(wait)))


def test_each_failed_probe_waits_longer_up_to_a_minute() -> None:
    """What was under way when it opened counts for nothing."""
    gate, at, waits = opened(), 0.0, []
    for _ in range(60):
        fail(gate, 1, took=30)
    assert OPENS_AFTER == gate.failures
    for _ in range(12):
        waits.append(round(seconds(gate.not_before) - at, 3))
        at = seconds(gate.not_before)
        assert None is gate.enter(later(at), 0)
        fail(gate, at)
    assert waits == sorted(waits)
    assert pytest.approx(60.0) == waits[-1]


def test_a_retry_after_needs_no_row() -> None:
    """A 503 that says when is obeyed at once."""
    gate = Gate()
    fail(gate, 0, ServerTrouble("503", reply=Reply(status=503, retry_after_seconds=7)))
    assert gate.closed(later(6.9))
    assert "closed" == gate.state(NOW)


def test_an_answer_that_refuses_is_an_answer() -> None:
    """A 404 shows that upstream is there; a timeout shows nothing; a 429 is the budget's."""
    gate = opened()
    gate.enter(later(5), 0)
    fail(gate, 6, ReplyTimeout("late"))
    assert "open" == gate.state(later(6))
    assert 8 < seconds(gate.not_before) < 10
    for error in (ObjectMissing("404"), RateLimited("429")):
        gate = opened()
        fail(gate, 5, error)
        assert ("closed", 0) == (gate.state(later(5)), gate.failures)


def test_no_quota_stops_the_account() -> None:
    """One probe a minute, also when the probe meets other trouble."""
    gate = Gate()
    fail(gate, 0, QuotaExhausted("429"))
    assert ("stopped", True) == (gate.state(NOW), gate.guarded)
    assert 60 == seconds(gate.not_before)
    assert None is gate.enter(later(60), 0)
    assert later(120 + 3) == gate.enter(later(61), 3)
    fail(gate, 70)
    assert 130 == seconds(gate.not_before)
    assert gate.worked()


@pytest.mark.problem(20)
@SQLITE
def test_an_outage_costs_few_calls(make_rig: MakeRig) -> None:
    """Twenty runs while upstream answers nothing but 500: five calls find out, then one at a time;
    when it is back all runs end."""
    rig = make_rig({"durations": {"in_progress": 0.1}})
    runs = [rig.submit("sim-ok") for _ in range(20)]
    rig.sim.replace_faults([{"operation": "*", "fault": "http-500-before"}])
    with rig.daemon(concurrency=1) as reconciler:
        gate = reconciler.driver._accounts.gate(1)
        rig.expect(lambda: gate.opened_at is not None)
        rig.expect(lambda: rig.scalar("SELECT breaker FROM account") == "open")
        refused = len(rig.sim.log())
        rig.sim.replace_faults([])
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
    assert OPENS_AFTER <= refused <= OPENS_AFTER + 1
    done = [verdict(rig.ledger.get(run))[0] for run in runs]
    assert 20 - refused <= done.count("completed")
    assert None is rig.scalar("SELECT breaker FROM account")
