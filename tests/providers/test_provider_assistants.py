"""Threads and their runs: what goes out, and what the odd answers mean."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from scripted_upstream import (
    MARKER,
    Upstream,
    ask,
    intent,
    run,
    run_address,
    thread_address,
)

from ledger.core.intent import Output
from ledger.core.reading import MARKER_KEY
from ledger.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    MalformedReply,
    ObjectMissing,
    RateLimited,
    RequestRefused,
    ServiceGone,
    ThreadBusy,
    UpstreamError,
)
from ledger.providers.assistants import AssistantsProvider

MESSAGES = [{"role": "user", "content": "Draft the memo"}]
NEW = {"assistant_id": "asst_1", "messages": MESSAGES, "metadata": {"team": "risk"}}
GIVEN = {**NEW, "thread_id": "thread_1", "model": "gpt-5.1", "something_new": [1]}
NEW_RUN = run_address("")


def talk(upstream: Upstream, call: Any) -> Any:
    return ask(upstream, call, provider=AssistantsProvider)


def create(upstream: Upstream, request: dict[str, Any] = GIVEN, **changed: Any) -> Any:
    wanted = intent(NEW_RUN, request=request, **changed)
    return talk(upstream, lambda provider: provider.create(wanted))


def create_error(upstream: Upstream) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        create(upstream)
    return caught.value


def listing(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": more}


def test_a_thread_takes_the_messages(upstream: Upstream) -> None:
    upstream.say({"id": "thread_1", "object": "thread", "metadata": {MARKER_KEY: MARKER}})
    wanted = intent(thread_address(), request=NEW)
    seen = talk(upstream, lambda provider: provider.create(wanted))
    assert upstream.lines == ["POST /v1/threads"]
    assert upstream.body == {"messages": MESSAGES, "metadata": {MARKER_KEY: MARKER}}
    headers = upstream.requests[0].headers
    assert headers["openai-beta"] == "assistants=v2"
    assert headers["x-client-request-id"] == MARKER
    assert (seen.remote_id, seen.marker) == ("thread_1", MARKER)


def test_a_thread_of_a_restart_takes_none(upstream: Upstream) -> None:
    wanted = intent(thread_address(), request=NEW, with_messages=False)
    talk(upstream.say({"id": "thread_1"}), lambda provider: provider.create(wanted))
    assert upstream.body == {"metadata": {MARKER_KEY: MARKER}}


def test_a_run_on_the_callers_thread_carries_the_messages(upstream: Upstream) -> None:
    seen = create(upstream.say(run()))
    assert upstream.lines == ["POST /v1/threads/thread_1/runs"]
    assert upstream.body == {
        "assistant_id": "asst_1",
        "model": "gpt-5.1",
        "something_new": [1],
        "additional_messages": MESSAGES,
        "metadata": {"team": "risk", MARKER_KEY: MARKER},
    }
    assert (seen.remote_id, seen.parent_id) == ("run_1", "thread_1")


def test_a_restart_never_sends_messages_again(upstream: Upstream) -> None:
    create(upstream.say(run()), with_messages=False)
    assert "additional_messages" not in upstream.body
    assert "messages" not in upstream.body


def test_a_run_on_our_own_thread_carries_none(upstream: Upstream) -> None:
    create(upstream.say(run()), NEW)
    assert upstream.body == {
        "assistant_id": "asst_1",
        "metadata": {"team": "risk", MARKER_KEY: MARKER},
    }


def test_a_read_a_cancel_and_a_submit(upstream: Upstream) -> None:
    async def three(provider: AssistantsProvider) -> None:
        await provider.observe(run_address())
        await provider.cancel(run_address())
        await provider.submit(run_address(), [Output(call_id="call_1", body=b"42")])

    talk(upstream.say(run()), three)
    assert upstream.lines == [
        "GET /v1/threads/thread_1/runs/run_1",
        "POST /v1/threads/thread_1/runs/run_1/cancel",
        "POST /v1/threads/thread_1/runs/run_1/submit_tool_outputs",
    ]
    assert upstream.body == {"tool_outputs": [{"tool_call_id": "call_1", "output": "42"}]}


def test_a_search_reads_every_page_and_compares_markers(upstream: Upstream) -> None:
    others = [{"runward": "x"}, {}, None, "odd", {"runward": MARKER + "1"}]
    first = [run(id=f"run_{n}", metadata=other) for n, other in enumerate(others)]
    upstream.say(listing(*first, more=True)).say(listing(run(id="run_a"), run(id="run_b")))
    found = talk(upstream, lambda provider: provider.search(NEW_RUN))
    assert [each.remote_id for each in found] == ["run_a", "run_b"]
    assert upstream.lines == [
        "GET /v1/threads/thread_1/runs?order=desc&limit=100",
        "GET /v1/threads/thread_1/runs?order=desc&after=run_4&limit=100",
    ]


def test_a_search_ends(upstream: Upstream) -> None:
    upstream.say(listing(run(metadata={}), more=True))
    assert talk(upstream, lambda provider: provider.search(NEW_RUN)) == ()
    assert len(upstream.requests) == 5


def test_threads_cannot_be_searched(upstream: Upstream) -> None:
    assert talk(upstream, lambda provider: provider.search(thread_address())) == ()
    assert upstream.requests == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"data": None},
        {"data": [17]},
        {"data": {"id": "run_1"}},
        {"data": [{"id": None}], "has_more": True},
        {"data": [{"metadata": {MARKER_KEY: MARKER}, "object": "thread"}]},
        {"data": [run(id=None)]},
        {"data": [run(id="..")]},
        {"data": [run(thread_id="thread_2")]},
    ],
)
def test_a_list_that_cannot_be_read_is_no_proof(upstream: Upstream, body: object) -> None:
    with pytest.raises(MalformedReply):
        talk(upstream.say(body), lambda provider: provider.search(NEW_RUN))


def test_the_harvest_is_every_message_of_the_run(upstream: Upstream) -> None:
    ours = [{"id": "msg_1", "run_id": "run_1", "content": ["é"]}, {"id": "msg_2", "run_id": None}]
    foreign = {"id": "msg_0", "run_id": "run_0"}
    upstream.say(listing(foreign, ours[0], more=True)).say(listing(ours[1]))
    body = talk(upstream, lambda provider: provider.harvest(run_address()))
    assert json.loads(body) == {"messages": ours}
    assert upstream.lines == [
        "GET /v1/threads/thread_1/messages?run_id=run_1&order=asc&limit=100",
        "GET /v1/threads/thread_1/messages?run_id=run_1&order=asc&after=msg_1&limit=100",
    ]


def test_400_while_a_run_holds_the_thread(upstream: Upstream) -> None:
    upstream.refuse(400, "Thread thread_1 already has an active run run_0.")
    upstream.say(listing(run(status="completed"), run(status="in_progress")))
    error = create_error(upstream)
    assert type(error) is ThreadBusy
    assert error.reply.status == 400
    assert upstream.lines[1] == "GET /v1/threads/thread_1/runs?order=desc&limit=100"


def test_400_while_a_run_held_the_thread_that_ended_meanwhile(upstream: Upstream) -> None:
    upstream.refuse(400, "Thread thread_1 already has an active run run_0.")
    upstream.say(listing(run(status="completed") | {"id": "run_0"}))
    assert type(create_error(upstream)) is ThreadBusy


def test_400_on_a_free_thread(upstream: Upstream) -> None:
    upstream.refuse(400, "bad tools").say(listing(run(status="expired"), run(status=None)))
    assert type(create_error(upstream)) is RequestRefused


def test_other_refusals_are_not_asked_about(upstream: Upstream) -> None:
    assert type(create_error(upstream.refuse(422, "bad tools"))) is RequestRefused
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [400, 404])
def test_a_question_without_an_answer_leaves_the_create_for_later(
    upstream: Upstream, status: int
) -> None:
    error = create_error(upstream.refuse(status, "first").refuse(503))
    assert type(error) is ConnectionFailed
    assert "first" in error.message
    assert error.reply.status == status


@pytest.mark.parametrize(
    ("probe", "kind"),
    [
        (401, AuthenticationRefused),
        (429, RateLimited),
        (405, RequestRefused),
    ],
)
def test_a_question_that_is_refused(
    upstream: Upstream, probe: int, kind: type[UpstreamError]
) -> None:
    assert type(create_error(upstream.refuse(400, "first").refuse(probe))) is kind


def test_a_connection_that_fails_on_the_question(upstream: Upstream) -> None:
    upstream.refuse(404).fail(httpx2.ConnectError("refused"))
    assert type(create_error(upstream)) is ConnectionFailed


def test_404_while_the_service_lives(upstream: Upstream) -> None:
    upstream.refuse(404, "No thread found").say(listing())
    assert type(create_error(upstream)) is ObjectMissing
    assert upstream.lines[1] == "GET /v1/assistants?limit=1"


@pytest.mark.parametrize("body", [b'{"error": {"message": "gone"}}', b"<h1>404</h1>"])
@pytest.mark.parametrize("call", ["create", "observe", "cancel", "search", "harvest", "submit"])
def test_404_everywhere_means_that_the_service_is_gone(
    upstream: Upstream, body: bytes, call: str
) -> None:
    def make(provider: AssistantsProvider) -> Any:
        if call == "create":
            return provider.create(intent(NEW_RUN, request=GIVEN))
        if call == "submit":
            return provider.submit(run_address(), [])
        return getattr(provider, call)(run_address())

    with pytest.raises(ServiceGone, match="2026-08-26"):
        talk(upstream.say(body, 404), make)


def test_a_404_page_from_a_living_service_proves_nothing(upstream: Upstream) -> None:
    upstream.say(b"<h1>404</h1>", 404).say(listing())
    assert type(create_error(upstream)) is MalformedReply
    unanswered = Upstream().say(b"<h1>404</h1>", 404).refuse(503)
    assert type(create_error(unanswered)) is MalformedReply
