"""Every reply conforms to the OpenAPI document and to the strict SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest
import sim_conformance
from sim_clock import Clock

from ledger.simulator import Simulator
from ledger.simulator.routes import ROUTES

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:(The Assistants API is )?deprecated:DeprecationWarning"),
    pytest.mark.skipif(
        not sim_conformance.DOCUMENT.exists(),
        reason="no OpenAPI document: set RUNWARD_SHARED to the folder that holds openapi/",
    ),
]

# Left out are the magic models whose very point is a reply that no document allows.
MODELS = [
    "sim-ok",
    "sim-slow",
    "sim-instant",
    "sim-tool",
    "sim-tools",
    "sim-tool-chain",
    "sim-stale-action",
    "sim-repeat-action",
    "sim-fail-server_error",
    "sim-null-error",
    "sim-expire",
    "sim-cancelled",
    "sim-stuck-queued",
    "sim-stuck-in_progress",
    "sim-stuck-cancelling",
    "sim-cancel-race",
    "sim-goes-back",
    "sim-empty",
    "sim-vanish",
    "sim-contradict",
    "sim-ok-once",
]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


class Replies:
    """Judges each reply as the client receives it and remembers what was seen."""

    def __init__(self) -> None:
        self.templates: set[tuple[str, str]] = set()
        self.statuses: set[int] = set()

    def __call__(self, response: httpx2.Response) -> None:
        response.read()
        method, path = response.request.method, response.request.url.path.removeprefix("/v1")
        found = sim_conformance.problems(method, path, response.status_code, response.json())
        assert not found, f"{method} {path} {response.status_code}: {found}\n{response.text}"
        assert response.headers["x-request-id"]
        assert response.headers["date"]
        assert response.headers["x-ratelimit-remaining-requests"]
        self.templates.add((method, sim_conformance.template_of(method, path)))
        self.statuses.add(response.status_code)


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def judged(
    sim: Simulator, connect: Callable[..., openai.OpenAI], replies: Replies
) -> Iterator[openai.OpenAI]:
    with openai.DefaultHttpx2Client(verify=False, event_hooks={"response": [replies]}) as http:
        yield connect(sim, http_client=http)


def walk_run(client: openai.OpenAI, clock: Clock, model: str) -> str:
    """A run from its create to where it stays, with every kind of read on the way."""
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Rain?"}])
    run = client.beta.threads.runs.create(
        thread.id,
        assistant_id="asst_sim",
        model=model,
        metadata={"order": "7"},
        tools=[{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
        additional_messages=[{"role": "user", "content": "In Paris?"}],
    )
    runs = client.beta.threads.runs
    for _ in range(30):
        clock.advance(0.07)
        try:
            run = runs.retrieve(run.id, thread_id=thread.id)
        except openai.NotFoundError:
            break
        runs.steps.list(run.id, thread_id=thread.id)
        if run.required_action is not None:
            calls = run.required_action.submit_tool_outputs.tool_calls
            outputs = [{"tool_call_id": call.id, "output": "dry"} for call in calls]
            try:
                runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs)
            except openai.BadRequestError:
                assert model == "sim-stale-action"
    runs.list(thread.id)
    client.beta.threads.messages.list(thread.id)
    return run.status


def walk_response(client: openai.OpenAI, clock: Clock, model: str) -> str | None:
    """A response, and the responses that answer its calls."""
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
    response = client.responses.create(
        model=model, input="Rain in Paris?", background=True, tools=[tool], store=True
    )
    for _ in range(30):
        clock.advance(0.07)
        try:
            response = client.responses.retrieve(response.id)
        except openai.NotFoundError:
            break
        calls = [item for item in response.output if item.type == "function_call"]
        if calls:
            response = client.responses.create(
                model=model,
                background=True,
                previous_response_id=response.id,
                input=[
                    {"type": "function_call_output", "call_id": call.call_id, "output": "dry"}
                    for call in calls
                ],
            )
            client.responses.input_items.list(response.id)
    return response.status


ENDS = {
    "sim-slow": "in_progress",
    "sim-fail-server_error": "failed",
    "sim-null-error": "failed",
    "sim-cancelled": "cancelled",
    "sim-stuck-queued": "queued",
    "sim-stuck-in_progress": "in_progress",
    "sim-stuck-cancelling": "in_progress",
    "sim-cancel-race": "in_progress",
    "sim-vanish": "in_progress",
}


@pytest.mark.parametrize("model", [*MODELS, "sim-incomplete-max_prompt_tokens"])
def test_a_run_of_each_magic_model_conforms(
    judged: openai.OpenAI, clock: Clock, model: str
) -> None:
    expected = {"sim-expire": "expired", "sim-incomplete-max_prompt_tokens": "incomplete"} | ENDS
    assert walk_run(judged, clock, model) == expected.get(model, "completed")


@pytest.mark.parametrize("model", [*MODELS, "sim-incomplete-max_output_tokens"])
def test_a_response_of_each_magic_model_conforms(
    judged: openai.OpenAI, clock: Clock, model: str
) -> None:
    # A response cannot expire: there, the model hangs.
    expected = {"sim-expire": "in_progress", "sim-incomplete-max_output_tokens": "incomplete"}
    assert walk_response(judged, clock, model) == (expected | ENDS).get(model, "completed")


def test_a_walk_through_every_endpoint_conforms(
    judged: openai.OpenAI, clock: Clock, replies: Replies
) -> None:
    beta, threads = judged.beta, judged.beta.threads
    assistant = beta.assistants.create(model="sim-slow", name="Ada", metadata={"a": "b"})
    assert beta.assistants.retrieve(assistant.id).name == "Ada"
    assert [one.id for one in beta.assistants.list().data] == [assistant.id]
    thread = threads.create(metadata={"c": "d"})
    assert threads.retrieve(thread.id).metadata == {"c": "d"}
    message = threads.messages.create(thread.id, role="user", content="Hello")
    threads.messages.retrieve(message.id, thread_id=thread.id)
    run = threads.runs.create(thread.id, assistant_id=assistant.id)
    assert threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    clock.advance(1)
    assert threads.runs.retrieve(run.id, thread_id=thread.id).status == "cancelled"
    together = threads.create_and_run(
        assistant_id="asst_sim-tools", thread={"messages": [{"role": "user", "content": "Hi"}]}
    )
    clock.advance(1)
    waiting = threads.runs.retrieve(together.id, thread_id=together.thread_id)
    assert waiting.required_action is not None
    calls = waiting.required_action.submit_tool_outputs.tool_calls
    threads.runs.submit_tool_outputs(
        together.id,
        thread_id=together.thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "1"} for call in calls],
    )
    threads.runs.steps.list(together.id, thread_id=together.thread_id)
    threads.runs.list(thread.id)
    threads.messages.list(thread.id)
    assert threads.delete(thread.id).deleted
    assert beta.assistants.delete(assistant.id).deleted
    walk_response(judged, clock, "sim-tool")
    response = judged.responses.create(model="sim-slow", input="Hi", background=True)
    judged.responses.cancel(response.id)
    judged.responses.input_items.list(response.id)
    judged.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        judged.responses.retrieve(response.id)
    # The document is older than the endpoints of webhooks; those are judged by the strict SDK.
    described = {(method, path) for method, path, _ in ROUTES if "/webhook" not in path}
    assert replies.templates == described


REFUSED_KEYS = {"sk-bad-1": 401, "sk-forbidden-1": 403, "sk-broke-1": 429}


@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_a_refused_key_gets_an_error_that_conforms(
    judged: openai.OpenAI, replies: Replies, key: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        judged.with_options(api_key=key).responses.create(model="sim-ok", input="x")
    assert caught.value.status_code == REFUSED_KEYS[key]
    assert replies.statuses == {REFUSED_KEYS[key]}


def test_the_judge_sees_what_is_wrong() -> None:
    """A judge that finds nothing is only worth something if it can find something."""
    body = {"id": "thread_1", "object": "thread", "created_at": "soon", "metadata": {}}
    found = sim_conformance.problems("POST", "/threads", 200, json.loads(json.dumps(body)))
    assert any("tool_resources" in text for text in found)
    assert any("soon" in text for text in found)
