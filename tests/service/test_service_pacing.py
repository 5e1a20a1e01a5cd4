"""How often upstream is asked: its own hint wins, else the policy."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, verdict
from support import SQLITE

pytestmark = SQLITE
DONE = ("completed", 1, None, None, None)


@pytest.mark.failure(30, 34)
def test_the_hint_of_every_reply_is_obeyed(make_rig: MakeRig) -> None:
    """`openai-poll-after-ms` sets each pause anew, against a policy that would ask far more."""
    rig = make_rig({"poll_after_ms": 300, "durations": {"slow": 12}}, poll_seconds=0.01)
    run = rig.run("sim-slow")

    reads = rig.sim.reads()["responses.retrieve"]
    assert DONE == verdict(run)
    assert 3 <= reads <= 6


def test_without_a_hint_the_policy_paces(make_rig: MakeRig) -> None:
    """A fixed interval of the caller's is kept."""
    rig = make_rig({"durations": {"slow": 10}}, poll_seconds=0.05)
    rig.run("sim-slow")

    assert 8 <= rig.sim.reads()["responses.retrieve"] <= 25


def test_looks_without_news_are_not_written_one_by_one(make_rig: MakeRig) -> None:
    """Many looks that found nothing become one line of history, with their number."""
    rig = make_rig({"durations": {"slow": 10}}, poll_seconds=0.05)
    run = rig.run("sim-slow")

    looked = [
        event["detail"]["count"] for event in rig.ledger.events(run) if event["kind"] == "looked"
    ]
    assert 5 <= max(looked)
    assert len(looked) <= 2


@pytest.mark.problem(20)
@pytest.mark.failure(30)
def test_a_rate_limit_pauses_the_whole_account(make_rig: MakeRig) -> None:
    """After a 429 no call of that account goes out before its time."""
    rule = {"operation": "responses.create", "times": 1, "fault": "http-429", "retry_after_s": 0.6}
    rig = make_rig({"faults": [rule]})
    runs = [rig.submit("sim-ok") for _ in range(4)]
    with rig.daemon(concurrency=1):
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))

    log = rig.sim.log()
    assert [429, 200, 200, 200, 200] == [entry["status"] for entry in log]
    assert 0.6 <= log[1]["at"] - log[0]["at"]
