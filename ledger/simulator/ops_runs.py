"""What requests about runs do."""

from __future__ import annotations

from dataclasses import replace

from . import bodies, bodies_steps, checks, jobs, ops_threads
from .jobs import Job
from .refusals import Refusal
from .talk import last_user_text
from .timeline import FINAL
from .world import Item, Outcome, Query, Thread, World


def create_run(world: World, query: Query) -> Outcome:
    """Start a run on a thread, unless another one has it."""
    thread = world.thread(query.ids["thread_id"], query.now)
    _check(world, query)
    added = ops_threads.messages_in(dict(query.body), "additional_messages")
    if active := world.active_run(thread, query.now):
        raise Refusal(400, f"Thread {thread.record.id} already has an active run {active.id}.")
    for message in added:
        world.add_message(thread, message, query.now)
    return _start(world, query, thread, {})


def create_thread_and_run(world: World, query: Query) -> Outcome:
    """Make a thread and start a run on it in one request."""
    _check(world, query)
    body = query.body.get("thread") or {}
    if not isinstance(body, dict):
        raise Refusal(400, "Invalid 'thread': expected an object.", param="thread")
    thread = ops_threads.thread_from(world, body, query.now)
    return _start(world, query, thread, {"thread_created": thread.record.id})


def _check(world: World, query: Query) -> None:
    checks.metadata_of(query.body)
    checks.tools_in(query.body)
    if query.body.get("model") is not None:
        checks.required_text(query.body, "model")
    checks.refuse_unsupported(query.body, "stream")
    world.assistant(checks.required_text(query.body, "assistant_id"))


def _start(world: World, query: Query, thread: Thread, detail: Item) -> Outcome:
    assistant = world.assistant(query.body["assistant_id"]).data
    messages = [record.data for record in thread.messages]
    settings = {"instructions": assistant.get("instructions"), **query.body}
    job = world.add_job(
        replace(query, body=settings),
        api="runs",
        parent_id=thread.record.id,
        model=query.body.get("model") or assistant["model"],
        text=last_user_text(messages) or "",
        tools=query.body.get("tools") or assistant.get("tools") or [],
    )
    thread.run_ids.append(job.id)
    detail = {**detail, "message_ids": [record.id for record in thread.messages]}
    return Outcome(_body(job, query.now), job.id, job.parent_id, detail)


def list_runs(world: World, query: Query) -> Outcome:
    """Show the runs of a thread."""
    thread = world.thread(query.ids["thread_id"], query.now)
    shown = [job for job in world.runs_of(thread) if not job.gone(query.now)]
    return Outcome(checks.page([_body(job, query.now) for job in shown], query.options))


def retrieve_run(world: World, query: Query) -> Outcome:
    """Show a run; some behaviours show old or missing values here."""
    job = world.run(query)
    body = _body(job, query.now)
    jobs.note_read(job)
    if job.behaviour.null_fields and body["status"] == "queued":
        body.update(id=None, created_at=None)
    return Outcome(body)


def list_steps(world: World, query: Query) -> Outcome:
    """Show the steps of a run."""
    return Outcome(checks.page(bodies_steps.steps(world.run(query), query.now), query.options))


def cancel_run(world: World, query: Query) -> Outcome:
    """Take a cancel of a run that is not final."""
    job = world.run(query)
    status = job.status(query.now)
    if status in FINAL:
        raise Refusal(400, f"Cannot cancel run with status '{status}'.")
    if status != "cancelling":
        jobs.cancel(job, world.pace, query.now)
    return Outcome(_body(job, query.now), job.id, job.parent_id, {"status_before": status})


def submit(world: World, query: Query) -> Outcome:
    """Take the outputs of all calls that a run waits for, and let it go on."""
    job = world.run(query)
    checks.refuse_unsupported(query.body, "stream")
    outputs = _outputs(query)
    status = job.status(query.now)
    if status != "requires_action":
        raise Refusal(400, f'Runs in status "{status}" do not accept tool outputs.')
    pending = job.rounds[-1]
    given = [output["call_id"] for output in outputs]
    if sorted(given) != sorted(pending.call_ids):
        raise Refusal(400, f"Expected tool outputs for call_ids {pending.call_ids}, got {given}")
    pending.answers.extend(outputs)
    job.heard.extend(output["output"] for output in outputs)
    jobs.resume(job, world.pace, world.next_calls(job, job), query.now)
    body = _body(job, query.now)
    job.stale_reads = job.behaviour.stale_reads
    return Outcome(body, job.id, job.parent_id, {"call_ids": given, "outputs": outputs})


def _outputs(query: Query) -> list[dict[str, str]]:
    return [
        {
            "call_id": checks.required_text(item, "tool_call_id"),
            "output": str(item.get("output") or ""),
        }
        for item in checks.list_of(query.body, "tool_outputs")
    ]


def _body(job: Job, now: float) -> Item:
    return bodies.run(job, jobs.view(job, now), now)
