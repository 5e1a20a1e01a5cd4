"""Calls that need a person's word: not run before it, flagged in time, and no word is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from service_rig import MakeRig, Rig, StartDaemon, shorten, verdict
from service_tools import FOLDER, GO, traces, wire
from support import SQLITE

from ledger import AsyncLedger, InvalidInput, NotAllowed, Run, tool
from ledger.service.tools import Toolbox

DONE = ("completed", 1, None, None, None)
SHORT = {"durations": {"expires_after": 25.0}}
FAMILIES = pytest.mark.parametrize("provider", ["responses", "assistants"])


class Wire:
    """A tool that needs an approval, and how often it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool(requires_approval=True, name="lookup")
        def lookup(query: str) -> str:
            self.ran.append(query)
            return "wired"

        self.tool = lookup


def asked(rig: Rig, run: Run, attention: str = "approval_needed") -> dict[str, Any]:
    """Drive a run until it waits for a word; its newest call."""
    rig.until(run, lambda facts: facts.run.needs_attention == attention)
    return dict(rig.calls(run)[-1])


@FAMILIES
def test_nothing_runs_before_a_person_says_so(make_rig: MakeRig, provider: str) -> None:
    """The call waits, flagged; approved, it runs once, and the history names who and why."""
    wired = Wire()
    rig = make_rig(tools=[wired.tool])
    run = rig.submit("sim-tool", provider)
    call = asked(rig, run)

    assert ([], "requested", "required") == (wired.ran, call["state"], call["approval"])
    rig.ledger.approve(run, call["call_id"], reason="checked with Bob")
    rig.ledger.approve(run, call["call_id"], reason="checked with Bob")
    with pytest.raises(NotAllowed, match="approved by python already"):
        rig.ledger.deny(run, call["call_id"], reason="changed my mind")
    done = rig.finish(run)[0]

    event, call = rig.event(run, "tool_approved"), rig.calls(run)[0]
    assert (DONE, 1) == (verdict(done), len(wired.ran))
    assert ("operator", "python") == (event["source"], event["actor"])
    assert "checked with Bob" == event["detail"]["reason"] == call["approval_reason"]
    assert ("approved", "python") == (call["approval"], call["approval_actor"])
    assert rig.kinds(run).index("tool_approved") < rig.kinds(run).index("tool_started")


@FAMILIES
def test_a_denial_is_told_to_the_model(make_rig: MakeRig, provider: str) -> None:
    """A denied call never runs; the model hears that a person said no, and why."""
    wired = Wire()
    rig = make_rig(tools=[wired.tool])
    run = rig.submit("sim-tool", provider)
    call = asked(rig, run)
    with pytest.raises(InvalidInput, match="needs a reason"):
        rig.ledger.deny(run, call["call_id"], reason=" ")
    rig.ledger.deny(run, str(call["n"]), reason="over the limit")
    rig.ledger.deny(run, str(call["n"]), reason="over the limit")
    with pytest.raises(NotAllowed, match="denied by python already"):
        rig.ledger.approve(run, call["call_id"])
    done = rig.finish(run)[0]

    (told,) = [output for _, output in rig.received(run)]
    error = {"type": "denied", "message": "a person denied this call: over the limit"}
    assert (DONE, [], {"error": error}) == (verdict(done), wired.ran, json.loads(told))
    assert "over the limit" == rig.event(run, "tool_denied")["detail"]["reason"]


@SQLITE
def test_parallel_calls_wait_for_the_last_word(make_rig: MakeRig) -> None:
    """Approved ones run at once; the outputs go out together when the last has its word."""
    wired = Wire()
    rig = make_rig(tools=[wired.tool])
    run = rig.submit("sim-tools", "assistants")
    asked(rig, run)
    rig.ledger.approve(run, "1")
    rig.ledger.deny(run, "2", reason="no")
    rig.until(run, lambda facts: len(wired.ran) == 1 and facts.run.needs_attention is not None)

    assert ("approval_needed", []) == (rig.ledger.get(run).needs_attention, rig.received(run))
    rig.ledger.approve(run, "3")
    done = rig.finish(run)[0]
    assert (DONE, 2, 3) == (verdict(done), len(wired.ran), len(rig.received(run)))


@SQLITE
def test_a_word_that_nobody_asked_for_is_refused(make_rig: MakeRig) -> None:
    """Only a call that needs an approval can be approved."""

    @tool
    def other(query: str) -> str:
        return query

    rig = make_rig()
    run = rig.submit("sim-tool", "assistants", tools=[other])
    rig.until(run, lambda facts: facts.run.needs_attention is not None)
    with pytest.raises(NotAllowed, match="no call '1' that needs an approval"):
        rig.ledger.approve(run, "1")
    assert "approval_late" not in rig.kinds(run)


@FAMILIES
def test_a_life_without_the_tool_cannot_know_and_one_with_it_asks(
    make_rig: MakeRig, provider: str
) -> None:
    """A call first seen by a life without its tool still needs the word: it does not just run."""
    wired = Wire()
    rig = make_rig()
    run = rig.submit("sim-tool", provider, tools=[wired.tool])
    rig.until(run, lambda facts: facts.run.needs_attention is not None)
    before = rig.calls(run)[0]
    rig.ledger.toolbox = Toolbox([wired.tool])
    rig.ledger.note(run, "a life with the tool is here")
    rig.until(run, lambda facts: any(c.approval is not None for c in facts.calls))

    assert (None, []) == (before["approval"], wired.ran)
    rig.ledger.approve(run, "1")
    assert (DONE, 1) == (verdict(rig.finish(run)[0]), len(wired.ran))


@pytest.mark.failure(13, 27)
def test_a_word_that_is_missing_is_asked_for_again_before_it_lapses(make_rig: MakeRig) -> None:
    """When a quarter of the time is left the run is flagged anew, once."""
    wired = Wire()
    # Long enough that a busy machine does not sleep through the last quarter.
    rig = make_rig({"durations": {"expires_after": 70.0}}, tools=[wired.tool])
    run = rig.submit("sim-tool", "assistants", restart="none")
    expired = rig.finish(run)[0]
    (call,) = rig.calls(run)

    event = rig.event(run, "approval_lapsing")
    assert 0 < event["detail"]["seconds_left"] <= 2.5
    assert ("expired", []) == (expired.state, wired.ran)
    with pytest.raises(NotAllowed, match="too late: run 1 is expired"):
        rig.ledger.approve(run, call["call_id"], reason="sorry, was at lunch")
    late = rig.event(run, "approval_late")
    assert ("operator", "python") == (late["source"], late["actor"])
    assert ("approved", "sorry, was at lunch") == (
        late["detail"]["verdict"],
        late["detail"]["reason"],
    )
    assert "required" == rig.calls(run)[0]["approval"]


@pytest.mark.failure(27)
@pytest.mark.parametrize("policy", ["refuse", "attach"])
def test_a_late_word_counts_for_the_next_attempt_only_by_policy(
    make_rig: MakeRig, policy: str
) -> None:
    """The same call of the next attempt needs a word of its own, unless policy attaches a late
    one to it."""
    wired = Wire()
    rig = make_rig(SHORT, tools=[wired.tool])
    run = rig.submit("sim-tool", "assistants", restart="expired=2", late_approval=policy)
    asked(rig, run)
    facts = rig.until(run, lambda facts: len(facts.calls) == 2)

    assert facts.calls[0].key == facts.calls[1].key
    if policy == "refuse":
        with pytest.raises(NotAllowed, match="attempt 1 ended expired"):
            rig.ledger.approve(run, "1")
        assert ([], "required") == (wired.ran, rig.calls(run)[1]["approval"])
        rig.ledger.approve(run, "2")
    else:
        rig.ledger.approve(run, "1", reason="late, but yes")
    done = rig.finish(run)[0]

    assert ("completed", 2, 1) == (done.state, done.attempts, len(wired.ran))
    assert "approval_late" in rig.kinds(run)
    if policy == "attach":
        detail = rig.event(run, "tool_approved")["detail"]
        assert (2, 1, "attach") == (
            detail["call"],
            detail["attached_from"],
            detail["late_approval"],
        )
        assert 2 == rig.event(run, "approval_late")["detail"]["attached_to"]


def test_an_approval_survives_a_kill(
    make_rig: MakeRig, start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked by one life, approved while none is there, run by the next."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / GO).touch()
    rig = make_rig(tools=[wire])
    run = rig.submit("sim-tool", "assistants")
    daemon = start_daemon("--tools", "service_tools")
    daemon.expect("asked", lambda: rig.ledger.get(run).needs_attention == "approval_needed")
    daemon.kill()
    rig.ledger.approve(run, "1")
    done = rig.finish(run)[0]

    assert (DONE, 1) == (verdict(done), len(traces(tmp_path)))


@SQLITE
def test_reuse_needs_no_second_word(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """A call that was approved and answered before a restart is answered from the record."""
    shorten(monkeypatch, "RESEND_SECONDS", 30)
    wired = Wire()
    rule = {"operation": "runs.submit", "fault": "http-500-before", "times": 1}
    rig = make_rig({**SHORT, "faults": [rule]}, tools=[wired.tool])
    run = rig.submit("sim-tool", "assistants", restart="expired=1", effects="reuse")
    asked(rig, run)
    rig.ledger.approve(run, "1")
    done = rig.finish(run)[0]

    assert ("completed", 2, 1) == (done.state, done.attempts, len(wired.ran))
    assert ["approved", None] == [call["approval"] for call in rig.calls(run)]
    assert 1 == rig.kinds(run).count("tool_approved")


@SQLITE
def test_asyncio_programs_approve_deny_and_rerun_too(make_rig: MakeRig) -> None:
    """The same calls, awaited."""
    wired = Wire()
    rig = make_rig(tools=[wired.tool])
    first, second = rig.submit("sim-tool"), rig.submit("sim-tool")
    asked(rig, first)
    asked(rig, second)

    async def work() -> None:
        ledger = AsyncLedger(rig.ledger)
        await ledger.approve(first, "1", reason="yes")
        await ledger.deny(second, "1", reason="no")
        with pytest.raises(NotAllowed, match="no held call"):
            await ledger.rerun(first, "1")

    asyncio.run(work())
    assert {DONE} == {verdict(run) for run in rig.finish(first, second)}
    assert 1 == len(wired.ran)
