"""Every way in which the simulated models can behave ends in one right verdict."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from service_rig import KEY, MakeRig, Rig, verdict
from support import SQLITE

from ledger import Run, RunFailed, RunLost, tool

Verdict = tuple[str, int, str | None, str | None, str | None]
SCENARIO = {"durations": {"slow": 1.0, "slow_reply": 0.3, "expire": 0.3}}
"""What the names of the catalogue do, fast enough for a test."""
DONE: Verdict = ("completed", 1, None, None, None)
EMPTY: Verdict = ("completed", 1, None, None, "contradiction")
CANCELLED: Verdict = ("cancelled", 1, None, "remote", None)
LATE: Verdict = ("expired", 1, "deadline", "ledger", None)
LOST: Verdict = ("failed", 1, "remote_deleted", "remote", "remote_missing")


def failed(code: str | None) -> Verdict:
    """An attempt that upstream failed."""
    return ("failed", 1, code, "remote", None)


def cut_short(reason: str) -> Verdict:
    """An attempt that upstream ended early."""
    return ("incomplete", 1, reason, "remote", None)


SUM = "4"
FOUND = 'The tools said: {"found": "What is 2+2?"}'
MORE = '; {"found": "What is 2+2? 2"}'
MOST = '; {"found": "What is 2+2? 3"}'
SAME: dict[str, tuple[Verdict, str | None]] = {
    "sim-ok": (DONE, SUM),
    "sim-slow": (DONE, SUM),
    "sim-instant": (DONE, SUM),
    "sim-slow-reply": (DONE, SUM),
    "sim-tool": (DONE, FOUND),
    "sim-tools": (DONE, FOUND + MORE + MOST),
    "sim-tool-chain": (DONE, FOUND + MORE),
    "sim-stale-action": (DONE, FOUND),
    "sim-repeat-action": (DONE, FOUND + MORE),
    "sim-goes-back": (DONE, SUM),
    "sim-unknown-status": (DONE, SUM),
    "sim-null-fields": (DONE, SUM),
    "sim-cancel-race": (DONE, SUM),
    "sim-empty": (EMPTY, ""),
    "sim-cancelled": (CANCELLED, None),
    "sim-fail-server_error": (failed("server_error"), None),
    "sim-fail-rate_limit_exceeded": (failed("rate_limit_exceeded"), None),
    "sim-null-error": (failed(None), None),
    "sim-unknown-error": (failed("quantum_decoherence"), None),
    "sim-http-400": (failed("invalid_request_error"), None),
    "sim-http-409": (failed("conflict"), None),
    "sim-no-such-model": (failed("model_not_found"), None),
    "sim-incomplete-max_output_tokens": (cut_short("max_output_tokens"), None),
    "sim-incomplete-content_filter": (cut_short("content_filter"), None),
    "sim-vanish": (LOST, None),
}
FAMILIES = ("responses", "assistants")
ENDING: dict[tuple[str, str], tuple[Verdict, str | None]] = {
    **{(family, model): SAME[model] for family in FAMILIES for model in SAME},
    ("assistants", "sim-expire"): (("expired", 2, None, "remote", None), None),
    ("assistants", "sim-expire-once"): (("completed", 2, None, None, None), SUM),
}
"""Behaviours that end by themselves."""
STUCK: dict[tuple[str, str], Verdict] = {
    ("responses", "sim-expire"): LATE,
    **{
        (family, f"sim-stuck-{where}"): LATE
        for family in FAMILIES
        for where in ("queued", "in_progress", "cancelling")
    },
}
"""Behaviours that only a deadline ends."""


def text_of(rig: Rig, run: Run) -> str | None:
    """The final text, or None where there is none to be had."""
    try:
        return rig.ledger.result(run)
    except RunFailed:
        return None


def raw(rig: Rig, path: str) -> bytes:
    """What upstream says now, byte for byte."""
    address = urllib.request.Request(rig.sim.url + path)
    address.add_header("Authorization", f"Bearer {KEY}")
    with urllib.request.urlopen(address) as reply:
        return bytes(reply.read())


@pytest.mark.failure(20)
def test_every_magic_model_ends_in_its_verdict(make_rig: MakeRig) -> None:
    """State, attempts, code, origin, attention and text are the right ones for each behaviour, and
    each tool call was run once and its output taken once."""
    keys: list[str] = []

    @tool
    def lookup(query: str, call: Any) -> dict[str, str]:
        keys.append(call.key)
        return {"found": query}

    rig = make_rig(SCENARIO, speed=3, tools=[lookup])
    runs = {(p, m): rig.submit(m, p, restart="expired=1") for p, m in ENDING}
    late = {(p, m): rig.submit(m, p, deadline=2) for p, m in STUCK}

    rig.finish(*runs.values(), *late.values(), seconds=60)

    found = {name: rig.ledger.get(run) for name, run in runs.items()}
    assert ENDING == {name: (verdict(run), text_of(rig, run)) for name, run in found.items()}
    assert STUCK == {name: verdict(rig.ledger.get(run)) for name, run in late.items()}
    calls = [call for run in runs.values() for call in rig.calls(run)]
    assert sorted(call["key"] for call in calls) == sorted(keys)
    assert {"confirmed"} == {call["state"] for call in calls}
    for name, run in runs.items():
        sent = [(call["call_id"], call["output"]) for call in rig.calls(run)]
        assert sorted(sent) == sorted(rig.received(run)), name


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_last_error_is_kept_byte_for_byte(make_rig: MakeRig, provider: str) -> None:
    """What upstream said of a failure is stored as the bytes of its member, and nothing else."""
    rig = make_rig()
    run = rig.run("sim-unknown-error", provider)
    shown = rig.ledger.show(run)
    remote = shown["remotes"][-1]
    path = (
        f"/responses/{remote['remote_id']}"
        if provider == "responses"
        else f"/threads/{remote['parent_id']}/runs/{remote['remote_id']}"
    )
    member = "error" if provider == "responses" else "last_error"

    kept = shown["attempts_detail"][0]["last_error_bytes"]

    assert f'"{member}": {kept}' in raw(rig, path).decode()
    assert "quantum_decoherence" == shown["attempts_detail"][0]["last_error"]["code"]


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_usage_is_that_of_all_links(make_rig: MakeRig, provider: str) -> None:
    """Tokens of every response of a chain, and of a thread run, are added up."""

    @tool
    def lookup(query: str) -> str:
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tool", provider)
    ids = {remote["remote_id"] for remote in rig.remotes(run)}
    totals = [_total(rig, item) for item in rig.sim.objects() if item["id"] in ids]

    assert run.usage is not None
    assert sum(totals) == run.usage["total_tokens"]


def _total(rig: Rig, item: dict[str, Any]) -> int:
    path = (
        f"/responses/{item['id']}"
        if item["api"] == "responses"
        else f"/threads/{item['parent_id']}/runs/{item['id']}"
    )
    return int(json.loads(raw(rig, path))["usage"]["total_tokens"])


@pytest.mark.problem(18)
@SQLITE
def test_a_lost_object_is_told_from_a_failed_one(rig: Rig) -> None:
    """The result of a run whose object is gone raises RunLost."""
    run = rig.run("sim-vanish")

    with pytest.raises(RunLost, match="remote_deleted"):
        rig.ledger.result(run)


@pytest.mark.failure(20)
@SQLITE
def test_an_unknown_status_is_shown_while_it_lasts(make_rig: MakeRig) -> None:
    """A status that nobody knows is recorded verbatim, flags the run, and the flag goes again."""
    rig = make_rig({"durations": {"in_progress": 0.4}}, speed=1)
    run = rig.submit("sim-unknown-status")

    flagged = rig.until(run, lambda facts: facts.run.needs_attention is not None)
    done = rig.finish(run)[0]

    assert ("unknown_status", "queued") == (flagged.run.needs_attention, flagged.run.state)
    assert "hibernating" in [event["remote_status"] for event in rig.ledger.events(run)]
    assert DONE == verdict(done)


@pytest.mark.problem(17)
@pytest.mark.failure(23)
def test_a_completed_run_without_output_is_doubted(rig: Rig) -> None:
    """Completed with nothing to show is a verdict, a contradiction event and a flag."""
    run = rig.run("sim-empty")

    assert {"verdict": "completed", "upstream": "completed without output"} == rig.event(
        run, "contradiction"
    )["detail"]
    assert "contradiction" == run.needs_attention


@SQLITE
def test_a_cancel_of_our_own_is_no_contradiction(rig: Rig) -> None:
    """A run that expired is called off upstream; that it then is cancelled surprises nobody."""
    run = rig.settle(rig.submit("sim-stuck-in_progress", deadline=2))[0]

    assert LATE == verdict(run)
    assert "cancelled" == rig.remotes(run)[0]["observed_status"]
    assert "contradiction" not in rig.kinds(run)


@SQLITE
def test_the_request_is_sent_as_it_was_given(rig: Rig) -> None:
    """Whatever the caller put into the request is upstream's, with our mark beside it."""
    run = rig.run("sim-ok", metadata={"team": "risk"}, tags={"a": "b"}, instructions="Be brief.")

    (made,) = rig.made(run)
    assert {"team": "risk", "runward": rig.remotes(run)[0]["marker"]} == made["metadata"]
    assert "Be brief." == rig.ledger.show(run)["upstream"]["instructions"]
