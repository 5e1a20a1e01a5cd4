"""A cancel is an intent: it converges, and any final state may still win."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, Rig, shorten, verdict
from support import SQLITE

from ledger import NotAllowed
from ledger.clock import wait_until

CANCELLED = ("cancelled", 1, None, None, None)
FAMILIES = pytest.mark.parametrize("provider", ["responses", "assistants"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel is repeated at once, and given up after 0.4 s."""
    shorten(monkeypatch, "CANCEL_SECONDS", 0.4)
    shorten(monkeypatch, "RESEND_SECONDS", 0.02)


@pytest.mark.problem(9)
@SQLITE
@FAMILIES
def test_a_run_that_was_never_sent_is_cancelled_on_the_spot(rig: Rig, provider: str) -> None:
    """Nothing was sent, so nothing is asked upstream, and the reason is kept."""
    run = rig.submit("sim-ok", provider)

    cancelled = rig.ledger.cancel(run, reason="changed my mind")

    assert CANCELLED == verdict(cancelled)
    assert [] == rig.sim.log()
    assert {"reason": "changed my mind"} == rig.event(run, "cancel_requested")["detail"]
    assert 0 == rig.count("watch")


@pytest.mark.failure(15)
@FAMILIES
def test_a_run_in_flight_is_cancelled_upstream(rig: Rig, provider: str) -> None:
    """A cancel in flight reaches upstream once, and upstream's word is the verdict."""
    run = rig.submit("sim-stuck-in_progress", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")

    rig.ledger.cancel(run)
    rig.ledger.cancel(run)
    done = rig.finish(run)[0]

    cancels = [entry for entry in rig.sim.log() if entry["operation"].endswith(".cancel")]
    assert ("cancelled", 1) == (done.state, done.attempts)
    assert 1 == len(cancels)
    assert "cancelled" == rig.remotes(run)[-1]["observed_status"]


@FAMILIES
def test_a_lost_race_is_a_result(make_rig: MakeRig, provider: str) -> None:
    """Upstream accepts the cancel and completes all the same: the result is not thrown away."""
    rig = make_rig()
    run = rig.submit("sim-cancel-race", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")

    rig.ledger.cancel(run)
    done = rig.finish(run)[0]

    assert ("completed", 1, None, None, None) == verdict(done)
    assert "4" == rig.ledger.result(run)
    assert "cancel_sent" in rig.kinds(run)


@pytest.mark.failure(15, 17)
@SQLITE
@pytest.mark.usefixtures("hasty")
@FAMILIES
def test_a_cancel_that_never_ends_is_given_up(rig: Rig, provider: str) -> None:
    """A run stuck in cancelling gets its verdict from the cancel's own deadline, and a flag."""
    run = rig.submit("sim-stuck-cancelling", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")

    rig.ledger.cancel(run)
    done = rig.finish(run)[0]

    assert ("cancelled", 1, "cancel_unconfirmed", "ledger", "cancel_unconfirmed") == verdict(done)
    assert not rig.remotes(run)[-1]["settled"]
    assert 1 == rig.count("watch")


@pytest.mark.failure(15)
@SQLITE
@pytest.mark.usefixtures("impatient")
@FAMILIES
def test_a_cancel_that_always_fails_is_given_up(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Upstream answers each cancel with 500 and shows a run in progress: the run ends all the
    same, and its object is watched on."""
    shorten(monkeypatch, "CANCEL_FAILED_SECONDS", 0.5)
    rig = make_rig({"faults": [{"operation": "*.cancel", "fault": "http-500-before"}]})
    run = rig.submit("sim-stuck-in_progress", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")

    rig.ledger.cancel(run)
    done = rig.finish(run)[0]

    assert ("cancelled", 1, "cancel_unconfirmed", "ledger", "cancel_unconfirmed") == verdict(done)
    assert not rig.remotes(run)[-1]["settled"]


@pytest.mark.problem(9)
@pytest.mark.failure(26)
@SQLITE
@FAMILIES
def test_a_cancel_while_the_create_is_unknown(rig: Rig, provider: str) -> None:
    """A cancel before the upstream id is known is carried out once it is, or the doubt ends."""
    run = rig.submit("sim-http-500-after", provider, settle_seconds=0.5)
    rig.until(run, lambda facts: facts.run.needs_attention == "unknown_create")

    rig.ledger.cancel(run)
    done = rig.settle(run)[0]

    assert "create_authorised" not in rig.kinds(run)[7:]
    assert 1 == len(rig.made(run, "responses.create" if provider == "responses" else "runs.create"))
    if provider == "responses":
        assert ("cancelled", 1, "cancelled", "transport", "unknown_create") == verdict(done)
    else:
        assert done.state in ("cancelled", "completed")
        assert 1 == rig.kinds(run).count("cancel_sent") or done.state == "completed"


@pytest.mark.problem(9)
@pytest.mark.failure(26)
@SQLITE
def test_an_id_that_comes_after_the_cancel_is_cancelled(rig: Rig) -> None:
    """A run that is called off in doubt, and adopted then, is cancelled upstream."""
    run = rig.submit("sim-http-500-after", metadata={"sim": "http-500-after"}, settle_seconds=60)
    rig.until(run, lambda facts: facts.run.needs_attention == "unknown_create")
    rig.ledger.cancel(run)
    (made,) = rig.made(run)

    rig.ledger.adopt(made["object_id"], run=run)
    done = rig.finish(run)[0]

    cancels = [
        entry["object_id"] for entry in rig.sim.log() if entry["operation"].endswith("cancel")
    ]
    assert [made["object_id"]] == cancels
    assert done.state in ("cancelled", "completed")


@SQLITE
def test_a_late_confirmation_takes_the_flag_away(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel is given up, and upstream obeys it after all: nobody has to look."""
    shorten(monkeypatch, "CANCEL_SECONDS", 0.2)
    rig = make_rig({"durations": {"cancelling": 15}})
    run = rig.submit("sim-stuck-in_progress", "assistants")
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    rig.ledger.cancel(run)
    given_up = rig.finish(run)[0]

    done = rig.settle(run)[0]

    unconfirmed = ("cancelled", 1, "cancel_unconfirmed", "ledger")
    assert (*unconfirmed, "cancel_unconfirmed") == verdict(given_up)
    assert (*unconfirmed, None) == verdict(done)


@SQLITE
def test_a_final_run_cannot_be_cancelled(rig: Rig) -> None:
    """A verdict stays."""
    run = rig.run("sim-ok")

    with pytest.raises(NotAllowed, match="is completed already"):
        rig.ledger.cancel(run)


@pytest.mark.sampled(3)
@pytest.mark.failure(15)
@SQLITE
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("provider", ["responses", "assistants"])
@pytest.mark.parametrize("status", [400, 404, 409, 500])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancel_that_is_answered_with_an_error_is_read_again(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, provider: str, status: int, when: str
) -> None:
    """An error on a cancel means to look again: the object says whether it was taken."""
    shorten(monkeypatch, "RESEND_SECONDS", 0.1)
    rule = {"operation": "*.cancel", "times": 1, "fault": f"http-{status}-{when}"}
    rig = make_rig({"faults": [rule]})
    run = rig.submit("sim-stuck-in_progress", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    rig.ledger.cancel(run)
    done = rig.settle(run)[0]

    assert "cancelled" == done.state
    assert ["cancelled"] == [o["status"] for o in rig.sim.objects() if o.get("status")]


@pytest.mark.failure(17)
@SQLITE
def test_a_cancel_while_a_tool_waits(rig: Rig) -> None:
    """A run that waits for a person can be called off."""
    run = rig.submit("sim-tool", "assistants")
    rig.until(run, lambda facts: facts.run.needs_attention is not None)

    rig.ledger.cancel(run)

    assert ("cancelled", 1) == (rig.finish(run)[0].state, rig.ledger.get(run).attempts)


@pytest.mark.problem(16)
@pytest.mark.failure(22)
@SQLITE
@pytest.mark.usefixtures("hasty")
def test_a_verdict_is_frozen_when_upstream_completes_later(make_rig: MakeRig) -> None:
    """Called off and given up, completed all the same: the verdict stays, the contradiction is
    written down and flagged."""
    rig = make_rig({"durations": {"cancelling": 15}})
    run = rig.submit("sim-cancel-race", "assistants")
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    rig.ledger.cancel(run)
    given_up = rig.finish(run)[0]

    done = rig.settle(run)[0]

    assert "cancelled" == given_up.state == done.state
    flags = (given_up.needs_attention, done.needs_attention)
    assert ("cancel_unconfirmed", "contradiction") == flags
    assert {"verdict": "cancelled", "upstream": "completed"} == rig.event(run, "contradiction")[
        "detail"
    ]
    assert "completed" == rig.remotes(run)[-1]["observed_status"]
    assert "cancelled" == rig.ledger.show(run)["attempts_detail"][0]["outcome"]


@pytest.mark.problem(16)
@pytest.mark.failure(22)
@SQLITE
def test_a_recheck_finds_the_contradiction(make_rig: MakeRig) -> None:
    """Upstream cancels a run and completes it later: a recheck shows the contradiction."""
    rig = make_rig({"durations": {"in_progress": 5}})
    run = rig.run("sim-contradict")
    assert "cancelled" == run.state
    _until_completed(rig)

    rig.ledger.recheck(run)
    done = rig.settle(run)[0]

    assert ("cancelled", "contradiction") == (done.state, done.needs_attention)


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_recheck_that_finds_nothing_new_says_so(rig: Rig, provider: str) -> None:
    """One more read, in the history; the verdict stands and nothing is watched any more."""
    run = rig.run("sim-ok", provider)
    before = rig.kinds(run)

    rig.ledger.recheck(run)
    done = rig.settle(run)[0]

    assert ("completed", None) == (done.state, done.needs_attention)
    assert [*before, "noted", "observed"] == rig.kinds(run)
    assert 0 == rig.count("watch")


def _until_completed(rig: Rig) -> None:
    assert wait_until(lambda: rig.sim.objects()[0]["status"] == "completed", seconds=5)


@pytest.mark.failure(15, 17)
@FAMILIES
def test_a_cancel_that_cannot_be_sent_has_a_time_of_its_own(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """A refused credential keeps a cancel from upstream, and the caller from no verdict; the object
    stays watched."""
    shorten(monkeypatch, "CANCEL_SECONDS", 0.3)
    rig = make_rig()
    run = rig.submit("sim-stuck-in_progress", provider)
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    rig.sim.replace_faults([{"operation": "*", "fault": "http-401-before"}])
    rig.ledger.cancel(run)
    ended = rig.until(run, lambda facts: facts.run.final)

    assert ("cancelled", "cancel_unconfirmed") == (ended.run.state, ended.run.error_code)
    assert "cancel_unconfirmed" == ended.run.needs_attention
    assert [False] == [r.settled for r in ended.remotes if r.kind != "thread"]
