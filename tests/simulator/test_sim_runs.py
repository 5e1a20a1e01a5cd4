"""Rules and behaviours of threads and runs."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.beta.threads import Run
from sim_clock import Clock

from ledger.simulator import Simulator

pytestmark = pytest.mark.filterwarnings(
    r"ignore:(The Assistants API is )?deprecated:DeprecationWarning"
)


def start(client: openai.OpenAI, model: str, text: str = "Hello", **options: Any) -> Run:
    return client.beta.threads.create_and_run(
        assistant_id=f"asst_{model}",
        thread={"messages": [{"role": "user", "content": text}]},
        **options,
    )


def read(client: openai.OpenAI, run: Run) -> Run:
    return client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)


def calls_of(run: Run) -> list[tuple[str, str, str]]:
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [(call.id, call.function.name, call.function.arguments) for call in calls]


def submit(client: openai.OpenAI, run: Run, **outputs: str) -> Run:
    return client.beta.threads.runs.submit_tool_outputs(
        run.id,
        thread_id=run.thread_id,
        tool_outputs=[{"tool_call_id": key, "output": text} for key, text in outputs.items()],
    )


def texts(client: openai.OpenAI, run: Run) -> list[str]:
    messages = client.beta.threads.messages.list(run.thread_id, order="asc", run_id=run.id)
    return [part.text.value for m in messages for part in m.content if part.type == "text"]


def statuses(client: openai.OpenAI, clock: Clock, run: Run, seconds: float = 2) -> list[str]:
    """The statuses that reads see, without repeats."""
    seen: list[str] = [run.status]
    for _ in range(round(seconds / 0.02)):
        clock.advance(0.02)
        status = read(client, run).status
        seen += [status] if status != seen[-1] else []
    return seen


def test_a_run_answers_on_its_thread(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-ok", "What is 2+2?")
    assert statuses(client, clock, run) == ["queued", "in_progress", "completed"]
    assert texts(client, run) == ["4"]
    done = read(client, run)
    assert done.usage is not None
    assert done.started_at is not None
    assert done.completed_at is not None
    assert done.expires_at is None


def test_a_thread_takes_one_run_at_a_time(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-ok")
    threads = client.beta.threads
    with pytest.raises(openai.BadRequestError) as caught:
        threads.runs.create(run.thread_id, assistant_id="asst_sim-ok")
    assert caught.value.body["message"] == (
        f"Thread {run.thread_id} already has an active run {run.id}."
    )
    with pytest.raises(openai.BadRequestError, match="Can't add messages to thread_"):
        threads.messages.create(run.thread_id, role="user", content="more")
    clock.advance(1)
    threads.messages.create(run.thread_id, role="user", content="more")
    again = threads.runs.create(run.thread_id, assistant_id="asst_sim-ok")
    clock.advance(1)
    assert texts(client, again) == ["You said: more"]


def test_a_submit_must_cover_exactly_the_calls_that_wait(
    client: openai.OpenAI, clock: Clock, sim: Simulator
) -> None:
    run = start(client, "sim-tools")
    with pytest.raises(openai.BadRequestError, match='status "queued" do not accept'):
        submit(client, run, call_1="x")
    clock.advance(1)
    first, second, third = (call[0] for call in calls_of(read(client, run)))
    for wrong in ({first: "1"}, {first: "1", second: "2", "call_x": "3"}):
        with pytest.raises(openai.BadRequestError, match="Expected tool outputs"):
            submit(client, run, **wrong)
    assert submit(client, run, **{third: "3", first: "1", second: "2"}).status == "queued"
    with pytest.raises(openai.BadRequestError, match="do not accept tool outputs"):
        submit(client, run, **{third: "3", first: "1", second: "2"})
    clock.advance(1)
    assert texts(client, run) == ["The tools said: 3; 1; 2"]
    submits = [entry for entry in sim.log() if entry["operation"] == "runs.submit"]
    assert [entry["accepted"] for entry in submits] == [False, False, False, True, False]
    assert submits[3]["detail"]["call_ids"] == [third, first, second]
    (told,) = sim.objects()
    assert [call["call_id"] for call in told["calls"]] == [first, second, third]
    assert {one["call_id"]: one["output"] for one in told["outputs"]}[second] == "2"


def test_a_chain_asks_twice(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-tool-chain")
    asked = []
    for _ in range(2):
        clock.advance(1)
        asked += calls_of(read(client, run))
        submit(client, run, **{asked[-1][0]: "ok"})
    clock.advance(1)
    assert read(client, run).status == "completed"
    assert len({call_id for call_id, _, _ in asked}) == 2


def test_a_repeated_action_has_the_same_id_and_other_arguments(
    client: openai.OpenAI, clock: Clock
) -> None:
    run = start(client, "sim-repeat-action")
    clock.advance(1)
    (first,) = calls_of(read(client, run))
    submit(client, run, **{first[0]: "ok"})
    clock.advance(1)
    (second,) = calls_of(read(client, run))
    assert first[0] == second[0]
    assert first[2] != second[2]
    submit(client, run, **{first[0]: "ok"})
    clock.advance(1)
    assert read(client, run).status == "completed"


def test_a_stale_action_is_shown_three_times_more(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-stale-action")
    clock.advance(1)
    (call,) = calls_of(read(client, run))
    assert submit(client, run, **{call[0]: "ok"}).status == "queued"
    clock.advance(1)
    assert [calls_of(read(client, run)) for _ in range(3)] == [[call]] * 3
    assert read(client, run).status == "completed"


def test_a_cancel_ends_a_run_once(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-slow")
    runs = client.beta.threads.runs
    assert runs.cancel(run.id, thread_id=run.thread_id).status == "cancelling"
    assert runs.cancel(run.id, thread_id=run.thread_id).status == "cancelling"
    clock.advance(0.1)
    assert read(client, run).cancelled_at is not None
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        runs.cancel(run.id, thread_id=run.thread_id)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("sim-cancel-race", "completed"), ("sim-stuck-cancelling", "cancelling")],
)
def test_a_cancel_may_lose(client: openai.OpenAI, clock: Clock, model: str, expected: str) -> None:
    run = start(client, model)
    client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    clock.advance(10_000)
    assert read(client, run).status == expected


def test_an_action_that_nobody_answers_expires(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-tool")
    clock.advance(1)
    assert read(client, run).expires_at == int(clock.now) - 1 + 600
    clock.advance(599)
    assert read(client, run).status == "expired"


def test_an_early_expiry_says_so(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-expire")
    assert run.expires_at == int(clock.now) + 1
    assert statuses(client, clock, run) == ["queued", "in_progress", "expired"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sim-goes-back", ["queued", "in_progress", "queued", "in_progress", "completed"]),
        ("sim-contradict", ["queued", "in_progress", "cancelled", "completed"]),
        ("sim-cancelled", ["queued", "in_progress", "cancelled"]),
        ("sim-instant", ["completed"]),
        ("sim-stuck-in_progress", ["queued", "in_progress"]),
        ("sim-stuck-queued", ["queued"]),
    ],
)
def test_a_run_passes_the_statuses_of_its_model(
    client: openai.OpenAI, clock: Clock, model: str, expected: list[str]
) -> None:
    assert statuses(client, clock, start(client, model)) == expected


def test_a_stuck_run_does_not_even_expire(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-stuck-in_progress")
    clock.advance(10_000)
    assert read(client, run).status == "in_progress"


def test_what_no_document_allows_is_sent_all_the_same(
    sim: Simulator, connect: Any, clock: Clock
) -> None:
    client = connect(sim, _strict_response_validation=False)
    hibernating = start(client, "sim-unknown-status")
    assert statuses(client, clock, hibernating) == ["queued", "hibernating", "completed"]
    failing = start(client, "sim-unknown-error")
    nulls = start(client, "sim-null-fields")
    assert client.beta.threads.runs.list(nulls.thread_id).data[0].id == nulls.id
    assert read(client, nulls).id is None
    clock.advance(2)
    assert read(client, failing).last_error.code == "quantum_decoherence"
    assert read(client, nulls).id == nulls.id


def test_a_failure_carries_its_code_or_null(client: openai.OpenAI, clock: Clock) -> None:
    coded, bare = start(client, "sim-fail-invalid_prompt"), start(client, "sim-null-error")
    clock.advance(1)
    error = read(client, coded).last_error
    assert error is not None
    assert error.code == "invalid_prompt"
    assert read(client, bare).status == "failed"
    assert read(client, bare).last_error is None


def test_a_run_that_vanishes_was_never_there(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-vanish")
    read(client, run)
    clock.advance(0.3)
    with pytest.raises(openai.NotFoundError, match="No run found with id"):
        read(client, run)
    assert client.beta.threads.runs.list(run.thread_id).data == []


def test_once_means_the_first_run_of_a_thread(client: openai.OpenAI, clock: Clock) -> None:
    first = start(client, "sim-fail-server_error-once")
    clock.advance(1)
    assert read(client, first).status == "failed"
    runs = client.beta.threads.runs
    name = "asst_sim-fail-server_error-once"
    ends = []
    for _ in range(3):
        run = runs.create(first.thread_id, assistant_id=name)
        clock.advance(1)
        ends.append(read(client, run).status)
    assert ends == ["failed", "completed", "completed"]


def test_metadata_chooses_before_the_model(client: openai.OpenAI, clock: Clock) -> None:
    run = start(client, "sim-ok", metadata={"sim": "fail-rate_limit_exceeded"})
    clock.advance(1)
    error = read(client, run).last_error
    assert error is not None
    assert error.code == "rate_limit_exceeded"


def test_tools_of_the_assistant_are_called(client: openai.OpenAI, clock: Clock) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    parameters["required"] = ["city"]
    assistant = client.beta.assistants.create(
        model="sim-tools",
        tools=[{"type": "function", "function": {"name": "rain", "parameters": parameters}}],
    )
    thread = client.beta.threads.create()
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    clock.advance(1)
    asked = [(name, arguments) for _, name, arguments in calls_of(read(client, run))]
    cities = ("Paris", "Paris 2", "Paris 3")
    assert asked == [("rain", f'{{"city": "{city}"}}') for city in cities]


@pytest.mark.parametrize(
    ("metadata", "name", "arguments"),
    [
        ({"sim_tool": "nobody"}, "nobody", '{"query": "Hello"}'),
        ({"sim_args": '{"n": 1}'}, "lookup", '{"n": 1}'),
        ({"sim_bad_args": "1"}, "lookup", '{"query": "unfinish'),
    ],
)
def test_metadata_shapes_the_call(
    client: openai.OpenAI, clock: Clock, metadata: dict[str, str], name: str, arguments: str
) -> None:
    run = start(client, "sim-tool", metadata=metadata)
    clock.advance(1)
    ((_, asked_name, asked_arguments),) = calls_of(read(client, run))
    assert (asked_name, asked_arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({str(n): "x" for n in range(17)}, "at most 16"),
        ({"k" * 65: "x"}, "at most 64"),
        ({"k": "x" * 513}, "at most 512"),
    ],
)
def test_metadata_has_bounds(
    client: openai.OpenAI, sim: Simulator, metadata: dict[str, str], problem: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=problem):
        start(client, "sim-ok", metadata=metadata)
    assert sim.objects() == []


def test_runs_are_listed_in_pages(client: openai.OpenAI, clock: Clock) -> None:
    thread = client.beta.threads.create()
    made = []
    for _ in range(5):
        made.append(client.beta.threads.runs.create(thread.id, assistant_id="asst_sim-instant").id)
        clock.advance(1)
    runs = client.beta.threads.runs
    page = runs.list(thread.id, limit=2)
    assert ([run.id for run in page.data], page.has_more) == (made[:2:-1], True)
    assert [run.id for run in runs.list(thread.id, limit=2, order="asc")] == made
    assert [run.id for run in runs.list(thread.id, order="asc", after=made[3])] == made[4:]
    assert [run.id for run in runs.list(thread.id, order="asc", before=made[1])] == made[:1]
    with pytest.raises(openai.BadRequestError, match="limit"):
        runs.list(thread.id, limit=101)


def test_unknown_ids_are_not_found(client: openai.OpenAI) -> None:
    runs = client.beta.threads.runs
    with pytest.raises(openai.NotFoundError) as caught:
        runs.create("thread_x", assistant_id="asst_sim-ok")
    assert caught.value.body == {
        "message": "No thread found with id 'thread_x'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    thread = client.beta.threads.create()
    with pytest.raises(openai.NotFoundError, match="No assistant found"):
        runs.create(thread.id, assistant_id="asst_x")
    with pytest.raises(openai.NotFoundError, match="No run found"):
        runs.retrieve("run_x", thread_id=thread.id)
    with pytest.raises(openai.BadRequestError, match="'sim-nonsense' does not exist"):
        runs.create(thread.id, assistant_id="asst_sim-nonsense")
