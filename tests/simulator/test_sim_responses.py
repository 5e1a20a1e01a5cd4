"""Rules and behaviours of responses."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.responses import Response
from sim_clock import Clock

from ledger.simulator import Simulator


def create(client: openai.OpenAI, model: str, given: Any = "Hello", **options: Any) -> Response:
    options = {"background": True} | options
    return client.responses.create(model=model, input=given, **options)


def outputs(*call_ids: str, output: str = "ok") -> list[dict[str, str]]:
    return [
        {"type": "function_call_output", "call_id": call_id, "output": output}
        for call_id in call_ids
    ]


def calls_of(response: Response) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


def read(client: openai.OpenAI, clock: Clock, response: Response) -> Response:
    clock.advance(1)
    return client.responses.retrieve(response.id)


def test_a_response_completes_with_text_and_usage(client: openai.OpenAI, clock: Clock) -> None:
    response = create(client, "sim-ok", "What is 6 * 7?")
    assert (response.status, response.output) == ("queued", [])
    done = read(client, clock, response)
    assert (done.status, done.output_text) == ("completed", "42")
    assert done.usage is not None


def test_all_calls_must_be_answered(client: openai.OpenAI, clock: Clock, sim: Simulator) -> None:
    asking = read(client, clock, create(client, "sim-tools"))
    ids = [call.call_id for call in calls_of(asking)]
    link = {"previous_response_id": asking.id}
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, "sim-tools", outputs(*ids[:2]), **link)
    problem = f"No tool output found for function call {ids[2]}."
    assert caught.value.body["message"] == problem
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        create(client, "sim-tools", outputs(*ids, "call_x"), **link)
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        create(client, "sim-tools", "never mind", **link)
    done = read(client, clock, create(client, "sim-tools", outputs(*ids), **link))
    assert done.output_text == "The tools said: ok; ok; ok"
    told = {one["id"]: one for one in sim.objects()}
    assert [one["call_id"] for one in told[asking.id]["outputs"]] == ids
    assert {one["by"] for one in told[asking.id]["outputs"]} == {done.id}
    assert [entry["accepted"] for entry in sim.log()] == [True, False, False, False, True]


def test_a_behaviour_is_carried_along_the_chain(client: openai.OpenAI, clock: Clock) -> None:
    first = read(client, clock, create(client, "sim-ok", metadata={"sim": "tool-chain"}))
    (call,) = calls_of(first)
    answer = outputs(call.call_id)
    second = read(client, clock, create(client, "sim-ok", answer, previous_response_id=first.id))
    (call,) = calls_of(second)
    answer = outputs(call.call_id, output="last")
    third = read(client, clock, create(client, "sim-ok", answer, previous_response_id=second.id))
    assert third.output_text == "The tools said: ok; last"


def test_a_history_sent_in_full_goes_on_too(client: openai.OpenAI, clock: Clock) -> None:
    history: list[Any] = [{"role": "user", "content": "Hello"}]
    for _ in range(2):
        response = read(client, clock, create(client, "sim-tool-chain", history))
        (call,) = calls_of(response)
        history += [call.model_dump(exclude_none=True), *outputs(call.call_id)]
    done = read(client, clock, create(client, "sim-tool-chain", history))
    assert done.output_text == "The tools said: ok; ok"


def test_a_repeated_call_has_the_same_id(client: openai.OpenAI, clock: Clock) -> None:
    response = read(client, clock, create(client, "sim-repeat-action"))
    (first,) = calls_of(response)
    answer = outputs(first.call_id)
    again = create(client, "sim-repeat-action", answer, previous_response_id=response.id)
    again = read(client, clock, again)
    (second,) = calls_of(again)
    assert first.call_id == second.call_id
    assert first.arguments != second.arguments
    last = create(client, "sim-repeat-action", answer, previous_response_id=again.id)
    assert read(client, clock, last).output_text == "The tools said: ok; ok"


def test_a_previous_response_must_exist_and_be_final(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, "sim-ok", previous_response_id="resp_x")
    assert caught.value.code == "previous_response_not_found"
    running = create(client, "sim-slow")
    with pytest.raises(openai.BadRequestError, match="is not final"):
        create(client, "sim-ok", previous_response_id=running.id)


def test_a_follow_up_keeps_what_was_said(client: openai.OpenAI, clock: Clock) -> None:
    first = read(client, clock, create(client, "sim-ok", "What is 1+1?"))
    second = create(client, "sim-ok", [], previous_response_id=first.id)
    assert read(client, clock, second).output_text == "2"


def test_a_cancel_is_immediate_and_may_be_repeated(client: openai.OpenAI, clock: Clock) -> None:
    response = create(client, "sim-slow")
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.cancel(response.id).status == "cancelled"
    done = read(client, clock, create(client, "sim-ok"))
    assert client.responses.cancel(done.id).status == "completed"


@pytest.mark.parametrize(
    ("model", "expected"),
    [("sim-cancel-race", "completed"), ("sim-stuck-cancelling", "in_progress")],
)
def test_a_cancel_may_lose(client: openai.OpenAI, clock: Clock, model: str, expected: str) -> None:
    response = create(client, model)
    assert client.responses.cancel(response.id).status == "queued"
    assert read(client, clock, response).status == expected


def test_a_foreground_response_is_answered_when_it_is_done(client: openai.OpenAI) -> None:
    response = create(client, "sim-ok", background=False)
    assert response.output_text == "You said: Hello"
    with pytest.raises(openai.BadRequestError, match="created with background=true"):
        client.responses.cancel(response.id)


def test_input_items_come_back(client: openai.OpenAI) -> None:
    response = create(client, "sim-ok", [{"role": "user", "content": "Hi"}])
    (item,) = client.responses.input_items.list(response.id).data
    assert item.type == "message"
    assert item.content[0].text == "Hi"


def test_a_deleted_response_is_gone_but_told(client: openai.OpenAI, sim: Simulator) -> None:
    response = create(client, "sim-ok")
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match="No response found"):
        client.responses.retrieve(response.id)
    (told,) = sim.objects()
    assert told["gone"]


def test_once_means_the_first_of_equal_inputs(client: openai.OpenAI, clock: Clock) -> None:
    model = "sim-incomplete-content_filter-once"
    ends = [read(client, clock, create(client, model, text)).status for text in "aab"]
    assert ends == ["incomplete", "completed", "incomplete"]


def test_nulls_are_shown_while_it_is_queued(sim: Simulator, connect: Any, clock: Clock) -> None:
    client = connect(sim, _strict_response_validation=False)
    response = create(client, "sim-null-fields")
    hidden = client.responses.retrieve(response.id)
    assert (hidden.id, hidden.created_at, hidden.output) == (None, None, None)
    assert read(client, clock, response).id == response.id


def test_an_empty_answer_is_possible(client: openai.OpenAI, clock: Clock) -> None:
    done = read(client, clock, create(client, "sim-empty"))
    assert (done.status, done.output) == ("completed", [])


def test_what_is_not_simulated_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support 'conversation'"):
        create(client, "sim-ok", conversation="conv_1")
