"""Tools run exactly as often as they should, and the model hears of everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from service_rig import MakeRig, Rig, shorten, verdict
from support import SQLITE

from ledger import NotAllowed, ToolCall, tool
from ledger.service.driver import Driver
from ledger.service.entry import Entry
from ledger.store.queries import open_calls

SECRET = "sk-canary-4f9d2c7b1a8e6053"
FAMILIES = pytest.mark.parametrize("provider", ["responses", "assistants"])
DONE = ("completed", 1, None, None, None)


def outputs(rig: Rig, run: Any) -> list[str]:
    """What upstream was told, in order."""
    return [output for _, output in rig.received(run)]


@FAMILIES
def test_sync_and_async_tools_answer(make_rig: MakeRig, provider: str) -> None:
    """A plain function and a coroutine function are both tools, and both know their call."""
    seen: list[ToolCall] = []

    @tool
    def plain(query: str, call: ToolCall) -> dict[str, str]:
        seen.append(call)
        return {"plain": query}

    @tool
    async def awaited(query: str, call: ToolCall) -> str:
        await asyncio.sleep(0)
        seen.append(call)
        return f"awaited {query}"

    rig = make_rig(tools=[plain, awaited])
    runs = [
        rig.submit("sim-tool", provider, metadata={"sim_tool": n}) for n in ("plain", "awaited")
    ]
    rig.finish(*runs)

    assert [['{"plain": "What is 2+2?"}'], ["awaited What is 2+2?"]] == [
        outputs(rig, run) for run in runs
    ]
    assert [DONE, DONE] == [verdict(rig.ledger.get(run)) for run in runs]
    for run in runs:
        (call,) = rig.calls(run)
        assert (run.id, run.key, call["key"], call["call_id"]) in [
            (known.run_id, known.run_key, known.key, known.call_id) for known in seen
        ]


@SQLITE
@FAMILIES
@pytest.mark.parametrize(
    "metadata",
    [{"sim_bad_args": "yes"}, {"sim_args": '{"query": 7}'}, {"sim_args": '{"other": "x"}'}],
)
def test_bad_arguments_are_told_to_the_model(
    make_rig: MakeRig, provider: str, metadata: dict[str, str]
) -> None:
    """Arguments that do not fit the signature become an output that the model sees."""
    ran: list[object] = []

    @tool
    def lookup(query: str) -> str:
        ran.append(query)
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tool", provider, metadata=metadata)

    (told,) = outputs(rig, run)
    assert ([], DONE, [True]) == (ran, verdict(run), [c["is_error"] for c in rig.calls(run)])
    assert "invalid_arguments" == json.loads(told)["error"]["type"]


@SQLITE
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_tool_that_takes_too_long_is_a_timeout(make_rig: MakeRig, kind: str) -> None:
    """After its timeout the model is told, and the run goes on."""
    never = threading.Event()

    @tool(timeout_seconds=0.1, name="lookup")
    def blocking(query: str) -> str:
        never.wait(2)
        return "too late"

    @tool(timeout_seconds=0.1, name="lookup")
    async def waiting(query: str) -> str:
        await asyncio.Event().wait()
        return "never"

    rig = make_rig(tools=[blocking if kind == "sync" else waiting])
    run = rig.run("sim-tool")
    never.set()

    assert DONE == verdict(run)
    assert {"error": {"type": "timeout", "message": "no result after 0.1 s"}} == json.loads(
        outputs(rig, run)[0]
    )


@SQLITE
def test_an_exception_is_told_without_its_secrets(make_rig: MakeRig) -> None:
    """The model sees the kind and the text of an exception; a credential in it is blotted out."""

    @tool
    def lookup(query: str) -> str:
        raise RuntimeError(f"cannot log in with {SECRET}")

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tool")
    (told,) = outputs(rig, run)

    assert DONE == verdict(run)
    assert "RuntimeError" == json.loads(told)["error"]["type"]
    assert "cannot log in with" in told
    assert SECRET not in told
    assert SECRET not in json.dumps(rig.ledger.show(run))


@pytest.mark.failure(13)
@FAMILIES
def test_an_unknown_tool_waits_for_a_person(rig: Rig, provider: str) -> None:
    """A call that nothing here can run stays visible, and its answer by hand is sent."""
    run = rig.submit("sim-tool", provider)

    facts = rig.until(run, lambda facts: facts.run.needs_attention is not None)
    waiting = rig.ledger.store.read(open_calls)
    (call,) = rig.calls(run)
    rig.ledger.answer(run, call["call_id"], "by hand")
    done = rig.finish(run)[0]

    assert ("requires_action", "tool_unhandled") == (facts.run.state, facts.run.needs_attention)
    assert [(run.id, "lookup")] == [(row.run_id, row.tool) for row in waiting]
    assert DONE == verdict(done)
    assert [(call["call_id"], "by hand")] == rig.received(run)
    assert "python" in [event["actor"] for event in rig.ledger.events(run)]


@SQLITE
def test_a_call_is_answered_once(rig: Rig) -> None:
    """A second answer to a call, or one to a call that does not exist, is refused."""
    run = rig.submit("sim-tool", "assistants")
    rig.until(run, lambda facts: facts.run.needs_attention is not None)
    (call,) = rig.calls(run)
    rig.ledger.answer(run, str(call["n"]), "first")

    with pytest.raises(NotAllowed, match="no open call"):
        rig.ledger.answer(run, call["call_id"], "second")
    with pytest.raises(NotAllowed, match="no open call"):
        rig.ledger.answer(run, "call_nobody", "third")
    rig.finish(run)
    assert ["first"] == outputs(rig, run)


@SQLITE
@FAMILIES
def test_parallel_calls_are_sent_together(make_rig: MakeRig, provider: str) -> None:
    """Three calls run at once, and their outputs go out in one request."""
    together = threading.Barrier(3)

    @tool
    def lookup(query: str) -> str:
        together.wait(10)
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tools", provider)
    sends = [e for e in rig.sim.log() if e["accepted"] and e["detail"].get("outputs")]

    assert DONE == verdict(run)
    assert [3] == [len(entry["detail"]["outputs"]) for entry in sends]


@SQLITE
@FAMILIES
def test_rounds_follow_one_another(make_rig: MakeRig, provider: str) -> None:
    """A chain of two rounds asks, answers, asks and answers, each call under a key of its own."""
    ran: list[str] = []

    @tool
    def lookup(query: str) -> str:
        ran.append(query)
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tool-chain", provider)

    assert ["What is 2+2?", "What is 2+2? 2"] == ran == outputs(rig, run)
    assert 2 == len({call["key"] for call in rig.calls(run)})
    assert DONE == verdict(run)


@pytest.mark.problem(10)
def test_requires_action_right_after_submit(make_rig: MakeRig) -> None:
    """A read right after the submit still shows the answered call: it is neither run nor submitted
    again."""
    ran: list[str] = []

    @tool(idempotent=True)
    def lookup(query: str) -> str:
        ran.append(query)
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-stale-action", "assistants")

    submits = [entry for entry in rig.sim.log() if entry["operation"] == "runs.submit"]
    assert ["What is 2+2?"] == ran
    assert [(200, True)] == [(entry["status"], entry["accepted"]) for entry in submits]
    assert ["confirmed"] == [call["state"] for call in rig.calls(run)]
    assert 1 == rig.kinds(run).count("outputs_sending")
    assert DONE == verdict(run)


@SQLITE
@FAMILIES
def test_the_same_call_id_with_other_arguments_is_another_call(
    make_rig: MakeRig, provider: str
) -> None:
    """Servers repeat call ids: a new round with the old id is a new call."""
    ran: list[str] = []

    @tool
    def lookup(query: str) -> str:
        ran.append(query)
        return query

    rig = make_rig(tools=[lookup])
    run = rig.run("sim-repeat-action", provider)
    first, second = rig.calls(run)

    assert ["What is 2+2?", "What is 2+2? 2"] == ran
    assert first["call_id"] == second["call_id"]
    assert first["key"] != second["key"]
    assert DONE == verdict(run)


@pytest.mark.sampled(2)
@pytest.mark.problem(10)
@SQLITE
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "fault",
    [
        *(
            f"http-{status}-{when}"
            for status in (400, 404, 409, 500)
            for when in ("before", "after")
        ),
        "drop-after",
        "html",
        "truncated",
    ],
)
def test_a_submit_in_doubt_is_read_before_it_is_repeated(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Outputs whose submission is unclear, or refused in whatever words, go out again only while
    upstream still asks for them: the read decides, not the reply."""
    shorten(monkeypatch, "RESEND_SECONDS", 0.01)

    @tool(idempotent=False)
    def lookup(query: str) -> str:
        return "once"

    rule = {"operation": "runs.submit", "times": 1, "fault": fault}
    rig = make_rig({"faults": [rule]}, tools=[lookup])
    run = rig.run("sim-tool", "assistants")

    accepted = [e for e in rig.sim.log() if e["operation"] == "runs.submit" and e["accepted"]]
    assert (DONE, 1, ["once"]) == (verdict(run), len(accepted), outputs(rig, run))
    assert "outputs_unclear" in rig.kinds(run)
    sending = [e for e in rig.ledger.events(run) if e["kind"] == "outputs_sending"]
    assert {(1,)} == {tuple(event["detail"]["calls"]) for event in sending}


@SQLITE
def test_secrets_in_a_request_are_named_not_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """{"$secret": "env:NAME"} is resolved when the request is sent, and is all that is stored."""
    monkeypatch.setenv("RIG_TOKEN", SECRET)
    server = {"type": "mcp", "server_label": "x", "authorization": {"$secret": "env:RIG_TOKEN"}}
    run = rig.run("sim-ok", tools=[server])

    assert DONE == verdict(run)
    assert SECRET not in json.dumps(rig.ledger.show(run))


@pytest.mark.problem(7)
@SQLITE
@FAMILIES
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_call_that_was_armed_and_never_made_is_made_later(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, provider: str, idempotent: bool
) -> None:
    """Ownership that cannot be confirmed just before the call costs a second, not a person."""
    seen: list[str] = []

    @tool(idempotent=idempotent)
    def lookup(query: str) -> str:
        seen.append(query)
        return "found"

    confirm, refused = Driver._fresh, []

    async def doubt(self: Driver, entry: Entry, armed: float) -> bool:
        if entry.facts.run.state == "requires_action" and not refused:
            refused.append(entry.facts.run.id)
            return False
        return await confirm(self, entry, armed)

    monkeypatch.setattr(Driver, "_fresh", doubt)
    rig = make_rig(tools=[lookup])
    run = rig.run("sim-tool", provider, metadata={"sim_tool": "lookup"})

    assert (DONE, 1, 1) == (verdict(run), len(refused), len(seen))
    assert (0 if idempotent else 1) == rig.kinds(run).count("tool_not_started")
    assert 2 == rig.kinds(run).count("tool_started")
    assert ["found"] == outputs(rig, run)
