"""Replies are not trusted: what cannot be read, or is about something else, is MalformedReply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_upstream import (
    CANARY,
    Upstream,
    ask,
    intent,
    response,
    response_address,
    run,
    run_address,
    thread_address,
)

from ledger.core.outcome import Observation, Observed, dump_outcome
from ledger.core.request import usable_id
from ledger.errors import Limits, MalformedReply, RequestRefused, UpstreamError
from ledger.providers.assistants import AssistantsProvider
from ledger.providers.exchange import segment

HOSTILE = {
    "empty": b"",
    "blank": b"   ",
    "truncated": b'{"id": "resp_1", "object": "resp',
    "page": b"<!doctype html><title>Sign in</title>",
    "null": b"null",
    "list": b"[]",
    "text": b'"resp_1"',
    "number": b"17",
    "another object": b'{"id": "resp_1", "object": "chat.completion"}',
    "deep": b'{"id": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "not utf-8": b'{"id": "resp_1\xff"}',
    "utf-16": '{"id": "resp_1"}'.encode("utf-16"),
    "huge number": b'{"id": "resp_1", "created_at": ' + b"9" * 5000 + b"}",
    "nothing in it": b"{}",
    "only an error": b'{"error": {"message": "no"}}',
    "id of another type": b'{"id": 17}',
    "id too long": b'{"id": "' + b"x" * 1001 + b'", "status": "queued"}',
    "id with a line break": b'{"id": "a\\nb", "status": "queued"}',
    "id that climbs": b'{"id": "..", "status": "queued"}',
    "id that climbs, escaped": b'{"id": "%2E.", "status": "queued"}',
    "id with half a pair": b'{"id": "a\\ud800", "status": "queued"}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("call", ["create", "observe"])
def test_a_hostile_success(upstream: Upstream, body: bytes, call: str) -> None:
    upstream.say(body, x_request_id="req_1", content_type="application/json")
    given: Any = intent() if call == "create" else response_address()
    with pytest.raises(MalformedReply) as caught:
        ask(upstream, lambda provider: getattr(provider, call)(given))
    assert caught.value.reply.status == 200
    assert caught.value.reply.request_id == "req_1"
    assert caught.value.reply.body == body[: 64 * 1024]


def test_json_served_as_a_web_page(upstream: Upstream) -> None:
    upstream.say(json.dumps(response()).encode(), content_type="text/html; charset=utf-8")
    with pytest.raises(MalformedReply, match="web page"):
        ask(upstream, lambda provider: provider.create(intent()))


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", ""])
def test_json_under_another_name_is_json(upstream: Upstream, kind: str) -> None:
    upstream.say(json.dumps(response()).encode(), content_type=kind)
    assert ask(upstream, lambda provider: provider.create(intent())).remote_id == "resp_1"


def test_a_create_without_an_id(upstream: Upstream) -> None:
    with pytest.raises(MalformedReply, match="no id"):
        ask(upstream.say(response(id=None)), lambda provider: provider.create(intent()))


def test_a_create_that_answers_another_create(upstream: Upstream) -> None:
    upstream.say(response(metadata={"runward": "somebody:else:1:0"}))
    with pytest.raises(MalformedReply, match="marker"):
        ask(upstream, lambda provider: provider.create(intent()))


@pytest.mark.parametrize("metadata", [None, {}, {"team": "risk"}, "x", {"runward": 1}])
def test_a_server_that_drops_metadata_is_believed(upstream: Upstream, metadata: Any) -> None:
    upstream.say(response(metadata=metadata))
    assert ask(upstream, lambda provider: provider.create(intent())).marker is None


def test_a_read_without_an_id_keeps_what_is_known(upstream: Upstream) -> None:
    """Azure answered a read of a queued response so."""
    upstream.say(response(id=None, created_at=None, output=None))
    seen: Observation = ask(upstream, lambda provider: provider.observe(response_address()))
    assert (seen.remote_id, seen.status) == (None, "queued")


def test_a_read_about_another_object(upstream: Upstream) -> None:
    with pytest.raises(MalformedReply, match="another object"):
        ask(
            upstream.say(response(id="resp_2")),
            lambda provider: provider.observe(response_address()),
        )


def test_a_run_on_another_thread(upstream: Upstream) -> None:
    with pytest.raises(MalformedReply, match="another thread"):
        ask(
            upstream.say(run(thread_id="thread_2")),
            lambda provider: provider.observe(run_address()),
            provider=AssistantsProvider,
        )


def test_the_body_is_kept_as_it_was_sent(upstream: Upstream) -> None:
    body = b'{ "id":"resp_1", "x":1.0, "x":2, "status":"queued", "note":"\\u0000\\ud800" }'
    assert ask(upstream.say(body), lambda provider: provider.create(intent())).body == body


def test_secrets_in_a_success_are_blotted_out(upstream: Upstream) -> None:
    upstream.say(response(tools=[{"headers": {"Authorization": f"Bearer {CANARY}"}}]))
    seen = ask(upstream, lambda provider: provider.create(intent()))
    assert CANARY.encode() not in seen.body
    assert b"[redacted]" in seen.body


def test_a_short_key_does_not_destroy_the_body(upstream: Upstream) -> None:
    seen = ask(upstream.say(response()), lambda provider: provider.create(intent()), key="null")
    assert json.loads(seen.body) == response()


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        ("1500", 1.5),
        ("250.5", 0.2505),
        ("0", 0.0),
        ("99999999", 600.0),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_the_hint_when_to_look_again(upstream: Upstream, hint: str, seconds: float | None) -> None:
    upstream.say(response(), openai_poll_after_ms=hint, x_request_id="req_7")
    seen = ask(upstream, lambda provider: provider.observe(response_address()))
    assert (seen.poll_after_seconds, seen.request_id) == (seconds, "req_7")


@pytest.mark.parametrize(
    "object_id", ["a/b", "a?b", "a#b", "%2F", "%2e%2e%2f", "...", "a b", "é", "a;b,c", "x" * 900]
)
def test_an_odd_id_stays_one_segment(upstream: Upstream, object_id: str) -> None:
    upstream.say(response(id=object_id))
    ask(upstream, lambda provider: provider.observe(response_address(object_id)))
    assert upstream.lines == [f"GET /v1/responses/{segment(object_id)}"]
    assert upstream.requests[0].url.path == f"/v1/responses/{object_id}"


@pytest.mark.parametrize("object_id", ["", ".", "..", "%2e", "%2E%2e", "a\x00", "a\n", "\ud800"])
def test_an_id_that_no_path_can_carry_is_not_sent(upstream: Upstream, object_id: str) -> None:
    assert not usable_id(object_id)
    with pytest.raises(RequestRefused):
        ask(
            upstream.say(response()),
            lambda provider: provider.observe(response_address(object_id)),
        )
    with pytest.raises(RequestRefused):
        ask(
            upstream,
            lambda provider: provider.observe(run_address(parent_id=object_id)),
            provider=AssistantsProvider,
        )
    assert upstream.requests == []


def test_a_thread_is_read(upstream: Upstream) -> None:
    upstream.say({"id": "thread_1", "object": "thread", "created_at": 1763600000})
    seen = ask(
        upstream,
        lambda provider: provider.observe(thread_address("thread_1")),
        provider=AssistantsProvider,
    )
    assert (seen.remote_id, seen.status) == ("thread_1", "completed")
    assert upstream.lines == ["GET /v1/threads/thread_1"]


LIMITS = {
    "x_ratelimit_limit_requests": "500",
    "x_ratelimit_remaining_requests": "499",
    "x_ratelimit_reset_requests": "120ms",
}


def test_a_success_says_what_is_left_of_the_limit(upstream: Upstream) -> None:
    """For the budget; it is not kept with the outcome."""
    upstream.say(response(), **LIMITS)
    seen = ask(upstream, lambda provider: provider.observe(response_address()))
    assert Limits(500.0, 499.0, 0.12) == seen.limits
    assert b"limits" not in dump_outcome(Observed(n=1, observation=seen))


@pytest.mark.parametrize(("status", "body"), [(200, b"{}"), (429, b'{"error": {"message": "x"}}')])
def test_a_failure_says_what_is_left_of_the_limit(
    upstream: Upstream, status: int, body: bytes
) -> None:
    """An error, and a reply that cannot be read."""
    upstream.say(body, status=status, **LIMITS)
    with pytest.raises(UpstreamError) as caught:
        ask(upstream, lambda provider: provider.observe(response_address()))
    assert Limits(500.0, 499.0, 0.12) == caught.value.reply.limits
