"""Another attempt: by policy or by a person, on the same thread, with effects accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger import NotAllowed, Run, tool
from ledger.clock import wait_until


def test_an_expired_run_is_restarted_on_its_thread(rig: Rig) -> None:
    """The next attempt runs on the same thread, says why it began, and sends no message twice."""
    run = rig.run("sim-expire-once", "assistants")
    shown = rig.ledger.show(run)
    thread, first, second = shown["remotes"]

    assert ("completed", 2, None, None, None) == verdict(run)
    assert [("submit", "expired"), ("policy", "completed")] == [
        (attempt["cause"], attempt["outcome"]) for attempt in shown["attempts_detail"]
    ]
    assert first["parent_id"] == second["parent_id"] == thread["remote_id"]
    assert {"cause": "policy", "after": "expired"}.items() <= rig.event(run, "restarted")[
        "detail"
    ].items()
    assert ["expired", "queued", "in_progress", "completed"] == rig.moves(run)[-4:]
    assert [1] * 2 == [
        len(entry["detail"]["message_ids"]) for entry in rig.made(run, "runs.create")
    ]


def test_restarts_end_at_the_count_of_the_policy(rig: Rig) -> None:
    """A run that always expires is tried once and restarted as often as allowed."""
    run = rig.run("sim-expire", "assistants", restart="expired=2")

    assert ("expired", 3, None, "remote", None) == verdict(run)
    assert 3 == len(rig.made(run, "runs.create"))
    assert [("submit", "expired"), ("policy", "expired"), ("policy", "expired")] == [
        (attempt["cause"], attempt["outcome"])
        for attempt in rig.ledger.show(run)["attempts_detail"]
    ]


def test_a_delay_outlives_the_life_that_wrote_it(rig: Rig) -> None:
    """The next attempt is not sent before its time, whoever sends it."""
    run = rig.submit("sim-expire-once", "assistants", restart="expired=1", restart_delay="600ms")
    held = rig.until(run, lambda facts: facts.run.attempts == 2)
    waits = rig.ledger.show(run)["next"]
    done = rig.finish(run)[0]
    (sent,) = [
        event["recorded_at"]
        for event in rig.ledger.events(run)
        if event["kind"] == "create_sending" and event["attempt"] == 2
    ]

    assert ("completed", 2, None, None, None) == verdict(done)
    assert held.attempt.not_before is not None
    assert held.attempt.not_before.isoformat() <= sent
    assert "life" == waits["waiting_for"]


@SQLITE
def test_no_policy_means_one_attempt(rig: Rig) -> None:
    """`restart=none` takes the first end for the verdict."""
    assert ("expired", 1, None, "remote", None) == verdict(
        rig.run("sim-expire", "assistants", restart="none")
    )


@SQLITE
@pytest.mark.parametrize(("code", "attempts"), [("server_error", 3), ("rate_limit_exceeded", 1)])
def test_failures_are_restarted_only_for_named_codes(
    make_rig: MakeRig, code: str, attempts: int
) -> None:
    """A failed attempt is tried again if the policy names its code; each keeps its last_error."""
    rig = make_rig()
    run = rig.run(f"sim-fail-{code}", restart="failed:server_error=2")
    kept = [item["last_error"]["code"] for item in rig.ledger.show(run)["attempts_detail"]]

    assert ("failed", attempts, code, "remote", None) == verdict(run)
    assert [code] * attempts == kept


class Charge:
    """A tool with an effect, which takes until upstream's run has expired under it."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.keys: list[str] = []
        self.rig: Rig

        @tool(idempotent=False)
        def charge(query: str, call: Any) -> str:
            self.attempts.append(call.attempt)
            self.keys.append(call.key)
            if call.attempt == 1:
                assert wait_until(self.expired, seconds=10)
            return f"charged by {call.attempt}"

        self.tool = charge

    def expired(self) -> bool:
        """Whether upstream has given up."""
        return "expired" in [item["status"] for item in self.rig.sim.objects()]

    def run(self, make_rig: MakeRig, effects: str) -> tuple[Rig, Run]:
        """Drive one such run to its verdict."""
        self.rig = make_rig({"durations": {"expires_after": 10}}, tools=[self.tool])
        policy = {"restart": "expired=1", "effects": effects}
        return self.rig, self.rig.run("sim-tool", "assistants", **policy)


@pytest.mark.problem(11)
@pytest.mark.failure(13, 21)
def test_a_restart_that_would_repeat_an_effect_is_held(make_rig: MakeRig) -> None:
    """An attempt in which a tool with an effect has started is not restarted by itself; the
    output that came too late stays in the record."""
    charge = Charge()
    rig, run = charge.run(make_rig, "hold")

    assert ("expired", 1, None, "remote", "restart_has_effects") == verdict(run)
    assert [1] == charge.attempts
    assert "expired=1" == rig.event(run, "held")["detail"]["rule"]
    assert ["charged by 1"] == [call["output"] for call in rig.calls(run)]
    assert [] == rig.received(run)
    with pytest.raises(NotAllowed, match="started tools with effects"):
        rig.ledger.restart(run)


def test_reuse_answers_from_the_record(make_rig: MakeRig) -> None:
    """With `effects=reuse` the next attempt's call gets the recorded output, and nothing runs."""
    charge = Charge()
    rig, run = charge.run(make_rig, "reuse")
    first, second = rig.calls(run)

    assert ("completed", 2, None, None, None) == verdict(run)
    assert [1] == charge.attempts
    assert "The tools said: charged by 1" == rig.ledger.result(run)
    assert (first["key"], first["output"]) == (second["key"], second["output"])
    assert second["started_at"] is None


def test_a_plan_says_what_a_restart_would_do_and_does_nothing(make_rig: MakeRig) -> None:
    """Allowed or not, what was spent, each effect with what would become of it, the deadline."""
    charge = Charge()
    rig, run = charge.run(make_rig, "hold")
    before = rig.ledger.show(run)
    held, reused = rig.ledger.plan_restart(run), rig.ledger.plan_restart(run, effects="reuse")
    (call,) = held.calls

    assert (False, True) == (held.allowed, reused.allowed)
    assert "started tools with effects" in str(held.refusal)
    assert ("charge", charge.keys[0], 1, True) == (
        call.tool, call.key, call.attempt, call.outcome_known
    )  # fmt: skip
    assert {
        "hold": "forbids the restart",
        "reuse": "answered from the record if asked for again",
        "rerun": "run again under the same key if asked for again",
    } == call.consequences
    assert held.deadline_at > run.deadline_at
    assert before == rig.ledger.show(run)


@SQLITE
def test_a_plan_names_the_link_that_a_chain_continues_from(make_rig: MakeRig) -> None:
    """A chain is restarted at its last answered link; its tokens are counted."""
    refusal = {"operation": "responses.create", "after": 1, "times": 1, "fault": "http-400"}

    @tool(idempotent=True)
    def lookup(query: str) -> str:
        return "found"

    rig = make_rig({"faults": [refusal]}, tools=[lookup])
    run = rig.run("sim-tool", restart="none")
    plan = rig.ledger.plan_restart(run)

    assert run.usage is not None
    assert (True, rig.remotes(run)[0]["remote_id"], run.usage["total_tokens"], ()) == (
        plan.allowed, plan.continues_id, plan.tokens, plan.calls
    )  # fmt: skip


@SQLITE
def test_a_plan_for_what_completed_is_a_refusal(rig: Rig) -> None:
    """Asking is not an error, doing would be."""
    plan = rig.ledger.plan_restart(rig.run())

    assert (False, "completed") == (plan.allowed, str(plan.state))
    assert "cannot be restarted" in str(plan.refusal)


@SQLITE
def test_rerun_runs_the_effect_again_under_its_key(make_rig: MakeRig) -> None:
    """With `effects=rerun` the tool runs again, with the same key to be recognised by."""
    charge = Charge()
    rig, run = charge.run(make_rig, "rerun")

    assert ("completed", 2, None, None, None) == verdict(run)
    assert [1, 2] == charge.attempts
    assert 1 == len(set(charge.keys))
    assert "The tools said: charged by 2" == rig.ledger.result(run)


@SQLITE
def test_a_person_may_allow_what_the_policy_holds(make_rig: MakeRig) -> None:
    """A held run is restarted by a person who says what becomes of the effects, on the record."""
    charge = Charge()
    rig, run = charge.run(make_rig, "hold")

    rig.ledger.restart(run, effects="reuse", reason="the receipt is out")
    done = rig.finish(run)[0]

    assert ("completed", 2, None, None, None) == verdict(done)
    assert [1] == charge.attempts
    assert {"cause": "operator", "effects": "reuse", "reason": "the receipt is out"}.items() <= (
        rig.event(run, "restarted")["detail"].items()
    )


def test_a_chain_continues_from_its_last_completed_link(make_rig: MakeRig) -> None:
    """A response that fails after a tool was answered is restarted at the answer, not before."""
    ran: list[str] = []

    @tool(idempotent=True)
    def lookup(query: str) -> str:
        ran.append(query)
        return "found"

    refusal = {"operation": "responses.create", "after": 1, "times": 1, "fault": "http-400"}
    rig = make_rig({"faults": [refusal]}, tools=[lookup])
    run = rig.run("sim-tool", restart="failed:invalid_request_error=1")
    link, refused, again = rig.remotes(run)

    assert ("completed", 2, None, None, None) == verdict(run)
    assert (["What is 2+2?"], "The tools said: found") == (ran, rig.ledger.result(run))
    assert ["confirmed", "absent", "confirmed"] == [r["state"] for r in (link, refused, again)]
    assert [None, link["remote_id"]] == [made["parent_id"] for made in rig.made(run)]


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_person_restarts_what_failed(make_rig: MakeRig, provider: str) -> None:
    """A failed run is tried again on request; the first attempt keeps its end and its error."""
    rig = make_rig()
    run = rig.run("sim-fail-server_error-once", provider)
    assert ("failed", 1, "server_error", "remote", None) == verdict(run)

    rig.ledger.restart(run)
    done = rig.finish(run)[0]

    first, second = rig.ledger.show(run)["attempts_detail"]
    assert ("completed", 2, None, None, None) == verdict(done)
    assert ("failed", "server_error") == (first["outcome"], first["last_error"]["code"])
    assert ("operator", "completed", None) == (
        second["cause"], second["outcome"], second["last_error"]
    )  # fmt: skip


@SQLITE
def test_what_completed_cannot_be_restarted(rig: Rig) -> None:
    """A completed run is done for good."""
    run = rig.run("sim-ok")

    with pytest.raises(NotAllowed, match="is completed and cannot be restarted"):
        rig.ledger.restart(run)


@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_new_create_waits_for_the_old_object(make_rig: MakeRig, provider: str) -> None:
    """The next attempt is sent only after what the old one left upstream has ended."""
    rig = make_rig()
    run = rig.run("sim-stuck-in_progress-once", provider, deadline=1.5)
    assert "expired" == run.state

    rig.ledger.restart(run)
    done = rig.finish(run)[0]

    events = list(rig.ledger.events(run))
    ended = [e["seq"] for e in events if e["remote_status"] == "cancelled" and e["attempt"] == 1]
    sent = [e["seq"] for e in events if e["kind"] == "create_sending" and e["attempt"] == 2]
    assert "completed" == done.state
    assert max(ended) < min(sent)
