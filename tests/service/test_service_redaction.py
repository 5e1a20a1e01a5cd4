"""A user's hook sees all that was observed before it is written, and decides nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from redact_hooks import GONE
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger import Ledger, tool
from ledger.core.alphabet import RemoteKind
from ledger.core.outcome import Failed, Found, Harvested, Observed, dump_outcome
from ledger.core.reading import read_object
from ledger.errors import ConfigurationError, Reply
from ledger.service.redacting import Redaction

HOOKS = ("drop", "fail", "leave", "wrong")
OBSERVED = ("body", "last_error", "result")
CASES = [
    ("responses", "sim-ok"),
    ("assistants", "sim-ok"),
    ("responses", "sim-tool-chain"),
    ("assistants", "sim-tools"),
    ("responses", "sim-fail-server_error"),
    ("assistants", "sim-fail-rate_limit_exceeded"),
    ("responses", "sim-incomplete-max_output_tokens"),
    ("responses", "sim-http-400"),
    ("responses", "sim-vanish"),
    ("responses", "sim-empty"),
]


@tool
def lookup(query: str) -> str:
    """The tool that the simulated model asks for."""
    return f"found {query}"


def settled(rig: Rig, provider: str, model: str) -> Any:
    """What became of a run, and what it used: all that a person would compare."""
    run = rig.run(model, provider, tools=[lookup])
    outputs = [output for _, output in rig.received(run)]
    return verdict(run), rig.moves(run), outputs, run.usage, run


def kept(rig: Rig, run: Any) -> list[bytes]:
    """The bytes of all payloads that hold what was observed."""
    bodies = {
        n: bytes(body)
        for n, body in rig.rows("SELECT n, body FROM payload WHERE run_id = :run", run=run.id)
    }
    events = rig.rows("SELECT payloads FROM event WHERE run_id = :run", run=run.id)
    pairs = [p for (p,) in events for p in (json.loads(p) if isinstance(p, str) else p or [])]
    return [bodies[n] for role, n in pairs if role in OBSERVED]


@pytest.mark.sampled(3)
@SQLITE
@pytest.mark.parametrize(("provider", "model"), CASES)
def test_a_hook_changes_no_decision(
    make_rig: MakeRig, provider: str, model: str, database_url: str
) -> None:
    """A hook that leaves nothing: same verdict, states, outputs and usage; not a byte is kept."""
    rig = make_rig(tools=[lookup])
    expected = settled(rig, provider, model)[:4]
    redacted = make_rig(tools=[lookup], redact="redact_hooks:drop")
    *found, run = settled(redacted, provider, model)

    assert list(expected) == found
    assert {GONE} >= set(kept(redacted, run))


@pytest.mark.parametrize("hook", HOOKS[1:])
def test_a_hook_that_fails_loses_no_run_and_leaks_nothing(make_rig: MakeRig, hook: str) -> None:
    """The body is replaced by words that name the kind of failure, and the run goes on."""
    rig = make_rig(redact=f"redact_hooks:{hook}")
    run = rig.run("sim-fail-server_error")
    why = {"fail": "KeyError", "leave": "SystemExit", "wrong": "returned str, not bytes"}[hook]

    assert ("failed", 1, "server_error", "remote", None) == verdict(run)
    bodies = kept(rig, run)
    assert bodies
    assert all(f'"error": "{why}"'.encode() in body for body in bodies)
    assert not any(b"resp_" in body or b"server_error" in body for body in bodies)


def test_every_kind_of_outcome_is_redacted_before_it_is_filed() -> None:
    """What a life files that lost its run is redacted too: only a call's arguments stay."""
    redaction = Redaction(lambda _: GONE)
    body = (
        b'{"object":"response","id":"resp_1","status":"completed","error":{"code":"c","message":'
        b'"CANARY"},"output":[{"type":"function_call","call_id":"call_1","name":"f",'
        b'"arguments":"{\\"q\\":1}"}],"note":"CANARY"}'
    )
    seen = read_object(RemoteKind.response, body)
    failed = Failed(
        n=1, operation="create", error="RequestRefused", message="create: CANARY",
        reply=Reply(status=400, error_code="c", body=b"CANARY"),
    )  # fmt: skip
    for outcome in (
        Observed(n=1, observation=seen),
        Found(n=1, observations=(seen,)),
        Harvested(n=1, body=b'{"messages": [{"role": "assistant", "content": "CANARY"}]}'),
        failed,
    ):
        assert outcome != redaction.outcome(outcome)
        filed = redaction.outcome(outcome)
        text = dump_outcome(filed).decode()
        assert "CANARY" not in text
        assert base64.b64encode(b"CANARY").decode()[:7] not in text
        assert "CANARY" not in repr(filed)
    observed = redaction.outcome(Observed(n=1, observation=seen))
    assert isinstance(observed, Observed)
    assert seen.calls == observed.observation.calls
    assert ("resp_1", "completed", "c") == (
        observed.observation.remote_id,
        observed.observation.status,
        observed.observation.error_code,
    )


@SQLITE
@pytest.mark.parametrize(
    "name",
    ["nowhere:f", "redact_hooks:nothing", "redact_hooks:NOT_CALLABLE", "redact_hooks", ":", "a:"],
)
def test_a_hook_that_is_none_is_named_when_the_ledger_is_opened(
    name: str, database_url: str
) -> None:
    """Not at the first body, when it would be too late."""
    with pytest.raises(ConfigurationError, match="redact"):
        Ledger.open(database_url, redact=name)
