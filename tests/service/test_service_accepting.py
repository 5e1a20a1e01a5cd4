"""A contradiction is settled by a person: upstream's word as a new verdict, or ours kept."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger import InvalidInput, NotAllowed, Run

SLOW = {"durations": {"in_progress": 8}}
"""So that the first word is read before the second is there."""


def contradicted(rig: Rig, provider: str) -> Run:
    """A run that was cancelled by upstream's word, and completed later."""
    run = rig.run("sim-contradict", provider)
    assert "cancelled" == run.state
    rig.expect(lambda: "completed" in [item["status"] for item in rig.sim.objects()])
    rig.ledger.recheck(run)
    return rig.settle(run)[0]


@pytest.mark.problem(16)
@pytest.mark.failure(22)
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_contradiction_is_accepted_with_its_result(make_rig: MakeRig, provider: str) -> None:
    """The first attempt stays cancelled; the second is upstream's word, with the text."""
    rig = make_rig(SLOW)
    run = contradicted(rig, provider)
    assert "contradiction" == run.needs_attention
    assert [run.id] == [found.id for found in rig.ledger.runs("attention:true")]
    rig.ledger.accept(run, reason="the work was done")
    done = rig.finish(run)[0]
    first, second = rig.ledger.show(run)["attempts_detail"]

    assert ("completed", 2, None, None, None) == verdict(done)
    assert "4" == rig.ledger.result(run)
    assert [("submit", "cancelled"), ("accepted", "completed")] == [
        (one["cause"], one["outcome"]) for one in (first, second)
    ]
    assert "the work was done" == rig.event(run, "restarted")["detail"]["reason"]
    assert 1 == len(rig.made(run, "responses.create") or rig.made(run, "runs.create"))


@pytest.mark.problem(16)
def test_a_flag_is_resolved_by_name_and_reason(make_rig: MakeRig) -> None:
    """The verdict stays, the flag goes, and the history says who looked and why."""
    rig = make_rig(SLOW)
    run = contradicted(rig, "responses")
    with pytest.raises(InvalidInput, match="give a reason"):
        rig.ledger.resolve(run, reason=" ")
    done = rig.ledger.resolve(run, reason="nobody needs it")

    assert ("cancelled", 1, None) == (done.state, done.attempts, done.needs_attention)
    assert {"why": "contradiction", "reason": "nobody needs it"} == rig.event(run, "resolved")[
        "detail"
    ]
    with pytest.raises(NotAllowed, match="not flagged"):
        rig.ledger.resolve(run, reason="again")


@pytest.mark.problem(18, 30)
def test_another_key_that_sees_nothing_is_no_verdict(make_rig: MakeRig) -> None:
    """Objects that were made with one key and are missing under another are not lost."""
    rig = make_rig()
    run = rig.submit("sim-vanish")
    rig.until(
        run, lambda facts: facts.current is not None and facts.current.observed_at is not None
    )
    rig.execute("UPDATE account SET fingerprint = 'another'")
    facts = rig.until(run, lambda facts: facts.run.needs_attention is not None)

    assert ("blocked: objects_hidden", False) == (facts.run.needs_attention, facts.run.final)
    rig.execute("UPDATE account SET fingerprint = ''")
    assert ("failed", 1, "remote_deleted", "remote", "remote_missing") == verdict(
        rig.finish(run)[0]
    )


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_failed_run_that_nothing_contradicts_is_not_accepted(rig: Rig, provider: str) -> None:
    """The thread that was made for a run is there; that is no word on how the run ended."""
    run = rig.run("sim-fail-server_error", provider)

    with pytest.raises(NotAllowed, match="upstream contradicts nothing"):
        rig.ledger.accept(run, reason="it should have worked")
    assert ("failed", 1, "server_error", "remote", None) == verdict(rig.ledger.get(run))
