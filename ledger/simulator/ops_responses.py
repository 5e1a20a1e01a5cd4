"""What requests about responses do."""

from __future__ import annotations

from dataclasses import replace

from . import bodies, bodies_responses, checks, jobs
from .jobs import Job
from .refusals import Refusal, not_found
from .talk import last_user_text, text_of
from .timeline import FINAL
from .world import Item, Outcome, Query, World

_FOREGROUND = "Responses can only be cancelled if they were created with background=true."


def create_response(world: World, query: Query) -> Outcome:
    """Start a response; it may go on from another one and answer its calls."""
    _check(query)
    items = input_of(query)
    answers = answers_in(items)
    previous = _previous(world, query)
    _check_answers(previous, items, answers, query.now)
    asker = asker_of(world, query)
    answers = _answers_to(asker, answers)
    before = asker or previous
    job = world.add_job(
        query if query.body.get("background") else _in_foreground(query),
        api="responses",
        parent_id=previous.id if previous else None,
        model=query.body["model"],
        text=last_user_text(items) or (before.text if before else ""),
        tools=checks.tools_in(query.body),
        carries_on=asker,
        heard=[*(asker.heard if asker else ()), *(answer["output"] for answer in answers)],
    )
    if asker is not None:
        asker.rounds[-1].answers.extend({**answer, "by": job.id} for answer in answers)
    detail = {"call_ids": [answer["call_id"] for answer in answers], "outputs": answers}
    return Outcome(_body(job, query.now), job.id, job.parent_id, detail)


def _check(query: Query) -> None:
    checks.metadata_of(query.body)
    checks.refuse_unsupported(query.body, "stream", "conversation")
    checks.required_text(query.body, "model")


def _in_foreground(query: Query) -> Query:
    """A foreground response ends before it is answered; the simulator does not make one wait."""
    return replace(query, behaviour=replace(query.behaviour, waits=()))


def input_of(query: Query) -> list[Item]:
    """The input as a list of items."""
    given = query.body.get("input")
    if given is None or isinstance(given, str):
        return [{"role": "user", "content": given}] if given else []
    return checks.list_of(query.body, "input")


def answers_in(items: list[Item]) -> list[dict[str, str]]:
    """The outputs of function calls among the items of an input."""
    return [
        {"call_id": checks.required_text(item, "call_id"), "output": text_of(item.get("output"))}
        for item in items
        if item.get("type") == "function_call_output"
    ]


def asker_of(world: World, query: Query) -> Job | None:
    """The response whose calls the input answers, linked to it or only by its call ids."""
    answers = answers_in(input_of(query))
    if not answers:
        return None
    call_id = answers[-1]["call_id"]
    previous = world.jobs.get(str(query.body.get("previous_response_id")))
    if previous is not None and previous.rounds and call_id in previous.rounds[-1].call_ids:
        return previous
    return world.jobs.get(world.asked_by.get(call_id, ""))


def _answers_to(asker: Job | None, answers: list[dict[str, str]]) -> list[dict[str, str]]:
    """Only the answers to the latest calls: an input may repeat a whole history."""
    if asker is None:
        return answers
    latest = asker.rounds[-1].call_ids
    return [answer for answer in answers if answer["call_id"] in latest]


def _previous(world: World, query: Query) -> Job | None:
    response_id = query.body.get("previous_response_id")
    if response_id is None:
        return None
    job = world.find_response(str(response_id), query.now)
    problem = "not found" if job is None else "is not final"
    if job is None or job.active(query.now):
        raise Refusal(
            400,
            f"Previous response with id '{response_id}' {problem}.",
            code="previous_response_not_found" if job is None else None,
            param="previous_response_id",
        )
    return job


def _check_answers(
    previous: Job | None, items: list[Item], answers: list[dict[str, str]], now: float
) -> None:
    """All calls must be answered, and only calls that were made can be."""
    asked = [call.id for call in jobs.view(previous, now).calls] if previous else []
    asked += [item.get("call_id", "") for item in items if item.get("type") == "function_call"]
    answered = [answer["call_id"] for answer in answers]
    for call_id in asked:
        if call_id not in answered:
            raise Refusal(400, f"No tool output found for function call {call_id}.", param="input")
    for call_id in answered:
        if call_id not in asked:
            raise Refusal(
                400,
                f"No tool call found for function call output with call_id {call_id}.",
                param="input",
            )


def retrieve_response(world: World, query: Query) -> Outcome:
    """Show a response; one behaviour leaves values out here."""
    job = _response(world, query)
    body = _body(job, query.now)
    if job.behaviour.null_fields and body["status"] == "queued":
        body.update(id=None, created_at=None, output=None)
    return Outcome(body)


def delete_response(world: World, query: Query) -> Outcome:
    """Delete a response."""
    job = _response(world, query)
    job.deleted = True
    return Outcome(bodies.deleted(job.id, "response"), job.id, job.parent_id)


def cancel_response(world: World, query: Query) -> Outcome:
    """Take a cancel; of a final response it changes nothing."""
    job = _response(world, query)
    if not job.settings.get("background"):
        raise Refusal(400, _FOREGROUND)
    status = job.status(query.now)
    if status not in FINAL:
        jobs.cancel(job, world.pace, query.now)
        world.webhooks.expect(job)
    return Outcome(_body(job, query.now), job.id, job.parent_id, {"status_before": status})


def list_input_items(world: World, query: Query) -> Outcome:
    """Show what a response was given."""
    job = _response(world, query)
    items = input_of(replace(query, body=job.settings))
    return Outcome(checks.page(bodies_responses.input_items(job, items), query.options))


def _response(world: World, query: Query) -> Job:
    response_id = query.ids["response_id"]
    job = world.find_response(response_id, query.now)
    if job is None:
        raise not_found("response", response_id)
    return job


def _body(job: Job, now: float) -> Item:
    return bodies_responses.response(job, jobs.view(job, now))
