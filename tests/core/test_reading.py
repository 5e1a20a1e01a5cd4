"""Upstream's bytes are not trusted: they are read, or refused as malformed, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import NOW, accepted, context, function_call, response, thread_run

from ledger.core.alphabet import RemoteKind, Source
from ledger.core.decide import arm, decide
from ledger.core.model import Facts
from ledger.core.outcome import CallRequest, Observation, Observed
from ledger.core.plan import next_step
from ledger.core.reading import parse_json, raw_member, read_object, read_time
from ledger.core.steps import Create
from ledger.errors import MalformedReply

KINDS = [kind for kind in RemoteKind if kind != RemoteKind.agent_turn]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 253_402_300_799, 253_402_300_800_000, 1e300]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["completed", "requires_action", "\x00", "\ud800", "function_call", "msg"]),
)
NAMES = st.sampled_from(
    [
        "id", "object", "status", "output", "error", "last_error", "usage", "created_at",
        "expires_at", "completed_at", "metadata", "runward", "required_action",
        "submit_tool_outputs", "tool_calls", "function", "name", "arguments", "call_id", "type",
        "code", "message", "incomplete_details", "reason", "model", "thread_id",
    ]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=12)


def read(kind: RemoteKind, body: bytes) -> Observation | None:
    """The observation, or None for a malformed reply. Anything else fails the test."""
    try:
        return read_object(kind, body)
    except MalformedReply:
        return None


def sent(provider: str, **fields: Any) -> Facts:
    """A run whose create is under way."""
    facts = accepted(provider=provider, **fields)
    step = next_step(facts, context())
    assert isinstance(step, Create)
    return arm(facts, step, context()).after


@given(body=st.binary(max_size=60), kind=st.sampled_from(KINDS))
@example(body=b"", kind=RemoteKind.response)
@example(body=b"null", kind=RemoteKind.response)
@example(body=b"<html>", kind=RemoteKind.thread_run)
@example(body=b"\xff{}", kind=RemoteKind.thread)
@example(body=b"[" * 100_000, kind=RemoteKind.response)
@example(body=b'{"a":' * 100_000, kind=RemoteKind.response)
@example(body=b'{"error":{"x":' + b"[" * 900 + b"]" * 900 + b"}}", kind=RemoteKind.response)
@example(body=b'{"created_at":' + b"9" * 5_000 + b"}", kind=RemoteKind.response)
@example(body=b'\xef\xbb\xbf{"id":"x"}', kind=RemoteKind.response)
@example(body=b'{"error":{}}  trailing', kind=RemoteKind.response)
def test_any_bytes_are_read_or_malformed(body: bytes, kind: RemoteKind) -> None:
    """No bytes get out of read_object as anything but an observation or MalformedReply."""
    read(kind, body)


@given(value=OBJECTS, kind=st.sampled_from(KINDS), ascii_=st.booleans())
@example(value={"output": [{"type": "function_call"}]}, kind=RemoteKind.response, ascii_=True)
@example(value={"usage": {"t": 10**400}}, kind=RemoteKind.response, ascii_=True)
def test_any_json_is_read_or_malformed(value: Any, kind: RemoteKind, ascii_: bool) -> None:
    """Whatever stands where a field is due, the reading is sound: texts, aware times, bytes."""
    body = json.dumps(value, ensure_ascii=ascii_).encode("utf-8", "replace")
    seen = read(kind, body)
    if seen is None:
        return
    assert body == seen.body
    times = (seen.created_at, seen.started_at, seen.ended_at, seen.expires_at)
    assert all(time is None or time.tzinfo == UTC for time in times)
    ids = [call.call_id for call in seen.calls]
    assert len(set(ids)) == len(ids)
    for kept in (seen.last_error, seen.usage):
        assert kept is None or isinstance(json.loads(kept), dict)


@given(first=OBJECTS, second=OBJECTS, provider=st.sampled_from(["responses", "assistants"]))
def test_any_object_can_be_decided_upon(first: Any, second: Any, provider: str) -> None:
    """Two hostile readings in a row never raise, neither in the decision nor in the next step."""
    serial = "thread_1" if provider == "assistants" else None
    facts = sent(provider, serial_key=serial)
    kind = facts.remotes[0].kind
    for value, source in ((first, Source.create), (second, Source.poll)):
        seen = read(kind, json.dumps(value).encode())
        if seen is None:
            continue
        facts = decide(facts, Observed(n=1, observation=seen), context(), source=source).after
        next_step(facts, context())


def test_usage_that_cannot_be_counted_is_left_out() -> None:
    """Numbers without measure do not stop a run that otherwise completed."""
    facts = sent("responses")
    for n, usage in enumerate(({"t": 10**400, "u": 1}, {"t": 1.5, "u": float("inf")}), start=1):
        body = response("queued" if n == 1 else "completed", usage=usage, output=[{"type": "m"}])
        outcome = Observed(n=1, observation=read_object(RemoteKind.response, body))
        facts = decide(facts, outcome, context(), source=Source.create).after
    assert "completed" == facts.run.state
    deep: Any = 1
    for _ in range(800):
        deep = {"a": deep}
    outcome = Observed(
        n=1, observation=read_object(RemoteKind.response, response("failed", usage=deep))
    )
    assert "failed" == decide(sent("responses"), outcome, context()).after.run.state


# The shapes that are meant.


def test_a_response_is_read_whole() -> None:
    """Status, times, calls, usage, error and marker of a response."""
    body = response(
        "failed",
        created_at=1_700_000_000,
        completed_at=1_700_000_001.5,
        output=[function_call("call_0", "pay", '{"a":1}'), {"type": "reasoning"}],
        usage={"total_tokens": 3},
        error={"code": "server_error", "message": "sorry"},
        metadata={"runward": "m", "other": "x"},
        model="gpt-5",
    )
    seen = read_object(RemoteKind.response, body, request_id="req_1")

    assert ("resp_1", "failed", "gpt-5", "m", "req_1") == (
        seen.remote_id, seen.status, seen.model, seen.marker, seen.request_id,
    )  # fmt: skip
    assert datetime.fromtimestamp(1_700_000_001.5, UTC) == seen.ended_at
    assert (CallRequest(call_id="call_0", tool="pay", arguments=b'{"a":1}'),) == seen.calls
    assert ("server_error", "sorry") == (seen.error_code, seen.error_message)
    assert not seen.has_output


def test_a_thread_run_is_read_whole() -> None:
    """Parent, expiry, required calls and last error of a thread run."""
    wanted = [{"id": "call_0", "function": {"name": "pay", "arguments": "{}"}}]
    body = thread_run(
        "requires_action",
        expires_at=1_700_000_600,
        required_action={"submit_tool_outputs": {"tool_calls": wanted}},
        last_error={"code": "rate_limit_exceeded", "message": "slow"},
    )
    seen = read_object(RemoteKind.thread_run, body)

    assert ("run_1", "thread_1", "requires_action") == (seen.remote_id, seen.parent_id, seen.status)
    assert datetime.fromtimestamp(1_700_000_600, UTC) == seen.expires_at
    assert ["call_0"] == [call.call_id for call in seen.calls]
    assert b'{"code": "rate_limit_exceeded", "message": "slow"}' == seen.last_error


def test_an_object_of_another_kind_is_malformed() -> None:
    """A run is not a response, and a list is no object."""
    for body in (thread_run(), b"[]", b'"text"', b"7"):
        with pytest.raises(MalformedReply):
            read_object(RemoteKind.response, body)


def test_the_first_of_two_calls_with_one_id_counts() -> None:
    """Outputs are told apart by the id alone, so a second call of that id has no address."""
    calls = [function_call("call_0", "a"), function_call("call_0", "b"), function_call("call_1")]
    seen = read_object(RemoteKind.response, response("completed", output=calls))

    assert [("call_0", "a"), ("call_1", "f")] == [(c.call_id, c.tool) for c in seen.calls]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1_700_000_000, datetime.fromtimestamp(1_700_000_000, UTC)),
        (1_700_000_000.25, datetime.fromtimestamp(1_700_000_000.25, UTC)),
        (1_700_000_000_000, datetime.fromtimestamp(1_700_000_000, UTC)),
        *((bad, None) for bad in (None, True, "1", 0, -1, float("nan"), float("inf"), 10**400)),
        *((bad, None) for bad in ([], {}, 253_402_300_799_000, 10**18)),
    ],
)
def test_times_as_servers_send_them(value: Any, time: datetime | None) -> None:
    """Seconds or milliseconds since 1970; anything else is no time."""
    assert time == read_time(value)


@pytest.mark.failure(18)
def test_a_far_expiry_can_be_waited_for() -> None:
    """The latest time that is read leaves room for the grace and for every time zone."""
    latest = read_time(253_370_764_799_000)
    assert latest is not None
    assert latest < datetime(9999, 1, 1, tzinfo=UTC)
    facts = sent("assistants", serial_key="thread_1")
    body = thread_run(expires_at=latest.timestamp() * 1000)
    outcome = Observed(n=1, observation=read_object(RemoteKind.thread_run, body))
    after = decide(facts, outcome, context(), source=Source.create).after
    assert latest == after.remotes[0].expires_at
    next_step(after, context(NOW))


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b'{"error":null}', b"null"),
        (b' {"a" : [1,"}"] , "error" : { "x":1.0 , "x":2 } }', b'{ "x":1.0 , "x":2 }'),
        (b'{"error":1,"error":{"b":2}}', b'{"b":2}'),
        (b'{"nested":{"error":1}}', None),
        (b"{}", None),
        (b'{"err\\u006fr":"\\ud800"}', b'"\\ud800"'),
    ],
)
def test_a_member_is_cut_out_verbatim(body: bytes, member: bytes | None) -> None:
    """Spaces, doubled keys and escapes of the original stay; the last of two members counts."""
    assert member == raw_member(body, "error")


@given(value=VALUES)
def test_json_is_parsed_as_python_parses_it(value: Any) -> None:
    """Well-formed JSON comes through, whatever it holds."""
    body = json.dumps(value).encode()
    try:
        parsed = parse_json(body)
    except MalformedReply:
        return
    assert json.dumps(value) == json.dumps(parsed)
