"""What goes out for a background response, and what comes back."""

from __future__ import annotations

import json

import pytest
from scripted_upstream import CANARY, MARKER, Upstream, ask, intent, response, response_address

from ledger.core.intent import Output
from ledger.core.reading import MARKER_KEY
from ledger.errors import MissingCredential, RequestRefused
from ledger.providers.responses import create_body

OUTPUTS = (Output(call_id="call_0", body=b'{"ok": true}'), Output(call_id="call_1", body=b"\xff"))


def test_a_create(upstream: Upstream) -> None:
    seen = ask(upstream.say(response()), lambda provider: provider.create(intent()))
    assert upstream.lines == ["POST /v1/responses"]
    assert upstream.body == {
        "model": "gpt-5.1",
        "input": "Draft the memo",
        "background": True,
        "store": True,
        "metadata": {MARKER_KEY: MARKER},
    }
    headers = upstream.requests[0].headers
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert headers["x-client-request-id"] == MARKER
    assert "idempotency-key" not in headers
    assert headers["x-stainless-retry-count"] == "0"
    assert (seen.remote_id, seen.status, seen.marker) == ("resp_1", "queued", MARKER)


def test_fields_that_nobody_knows_yet_survive(upstream: Upstream) -> None:
    request = {
        "model": "m",
        "input": [{"role": "user", "content": "a\u0000é😀"}],
        "steering": {"new": [1, 2.5, None, True]},
        "stream_options": None,
        "metadata": {"team": "risk"},
    }
    ask(upstream.say(response()), lambda provider: provider.create(intent(request=request)))
    sent = upstream.body
    assert sent.pop("metadata") == {"team": "risk", MARKER_KEY: MARKER}
    assert (sent.pop("background"), sent.pop("store")) == (True, True)
    assert sent == {name: value for name, value in request.items() if name != "metadata"}


def test_the_next_link_of_a_chain(upstream: Upstream) -> None:
    request = {
        "model": "m",
        "input": "first",
        "instructions": "be brief",
        "tools": [{"type": "function", "name": "f"}],
        "previous_response_id": "resp_before",
        "metadata": {"team": "risk"},
    }
    link = intent(request=request, previous_id="resp_0", outputs=OUTPUTS)
    ask(upstream.say(response()), lambda provider: provider.create(link))
    assert upstream.body == {
        **request,
        "input": [
            {"type": "function_call_output", "call_id": "call_0", "output": '{"ok": true}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "\ufffd"},
        ],
        "previous_response_id": "resp_0",
        "background": True,
        "store": True,
        "metadata": {"team": "risk", MARKER_KEY: MARKER},
    }
    assert request["input"] == "first"


def test_the_first_link_follows_what_the_caller_named() -> None:
    request = {"model": "m", "input": "x", "previous_response_id": "resp_before"}
    assert create_body(intent(request=request), set())["previous_response_id"] == "resp_before"


@pytest.mark.parametrize(
    ("choice", "later"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "auto"),
        ({"type": "function", "name": "f"}, "auto"),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"name": "f"}]},
            {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
        ),
    ],
    ids=str,
)
def test_a_forced_call_is_forced_once(choice: object, later: object) -> None:
    """Otherwise every link asks for one more call, and none ends with an answer."""
    request = {"model": "m", "input": "x", "tool_choice": choice}
    link = intent(request=request, previous_id="resp_0", outputs=OUTPUTS)
    assert create_body(intent(request=request), set())["tool_choice"] == choice
    assert create_body(link, set())["tool_choice"] == later
    assert request["tool_choice"] == choice


def test_a_conversation_links_by_itself() -> None:
    """Upstream refuses a conversation together with a previous response."""
    request = {"model": "m", "input": "x", "conversation": "conv_1"}
    body = create_body(intent(request=request, previous_id="resp_0", outputs=OUTPUTS), set())
    assert "previous_response_id" not in body
    assert [item["call_id"] for item in body["input"]] == ["call_0", "call_1"]


def test_secrets_are_put_in_when_sent_and_blotted_out_when_seen(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_KEY", 'plain "secret" value')
    sealed = {"type": "mcp", "headers": {"Authorization": {"$secret": "env:MCP_KEY"}}}
    request = {"model": "m", "input": "x", "tools": [sealed]}
    echo = {"type": "mcp", "headers": {"Authorization": 'plain "secret" value'}}
    upstream.say(response(tools=[echo]))
    seen = ask(upstream, lambda provider: provider.create(intent(request=request)))
    assert upstream.body["tools"] == [echo]
    assert json.loads(seen.body)["tools"][0]["headers"] == {"Authorization": "[redacted]"}
    assert sealed["headers"] == {"Authorization": {"$secret": "env:MCP_KEY"}}


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_sends_nothing(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MCP_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MCP_KEY", value)
    request = {"model": "m", "input": "x", "tools": [{"key": {"$secret": "env:MCP_KEY"}}]}
    with pytest.raises(MissingCredential, match="MCP_KEY"):
        ask(upstream.say(response()), lambda provider: provider.create(intent(request=request)))
    assert upstream.requests == []


def test_a_read(upstream: Upstream) -> None:
    upstream.say(response(status="in_progress"))
    seen = ask(upstream, lambda provider: provider.observe(response_address()))
    assert seen.status == "in_progress"
    assert upstream.lines == ["GET /v1/responses/resp_1"]
    assert "x-client-request-id" not in upstream.requests[0].headers


def test_a_cancel(upstream: Upstream) -> None:
    upstream.say(response(status="cancelled"))
    seen = ask(upstream, lambda provider: provider.cancel(response_address()))
    assert seen.status == "cancelled"
    assert upstream.lines == ["POST /v1/responses/resp_1/cancel"]


def test_the_harvest_is_the_response(upstream: Upstream) -> None:
    body = json.dumps(response(status="completed")).encode()
    assert ask(upstream.say(body), lambda provider: provider.harvest(response_address())) == body


def test_what_the_family_does_not_have(upstream: Upstream) -> None:
    upstream.say(response())
    assert ask(upstream, lambda provider: provider.search(response_address(""))) == ()
    with pytest.raises(RequestRefused):
        ask(upstream, lambda provider: provider.submit(response_address(), OUTPUTS))
    assert upstream.requests == []


def test_each_call_has_its_own_patience(upstream: Upstream) -> None:
    async def both(provider):
        await provider.create(intent())
        await provider.observe(response_address())

    ask(upstream.say(response()), both)
    create, read = (request.extensions["timeout"] for request in upstream.requests)
    assert create == {"connect": 5.0, "pool": 5.0, "read": 60.0, "write": 60.0}
    assert read == {"connect": 5.0, "pool": 5.0, "read": 20.0, "write": 20.0}
