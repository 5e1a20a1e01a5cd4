"""What requests about assistants, threads and messages do."""

from __future__ import annotations

from . import bodies, checks
from .refusals import Refusal, not_found
from .world import Item, Outcome, Query, Record, Thread, World


def create_assistant(world: World, query: Query) -> Outcome:
    """Make an assistant."""
    checks.metadata_of(query.body)
    checks.required_text(query.body, "model")
    checks.tools_in(query.body)
    record = Record(id=world.ids.make("asst"), created=query.now, data=dict(query.body))
    world.assistants[record.id] = record
    return Outcome(bodies.assistant(record), record.id)


def retrieve_assistant(world: World, query: Query) -> Outcome:
    """Show an assistant."""
    return Outcome(bodies.assistant(world.assistant(query.ids["assistant_id"])))


def list_assistants(world: World, query: Query) -> Outcome:
    """Show the assistants that were made."""
    kept = [record for record in world.assistants.values() if not record.deleted]
    return Outcome(checks.page([bodies.assistant(record) for record in kept], query.options))


def delete_assistant(world: World, query: Query) -> Outcome:
    """Delete an assistant."""
    record = world.assistant(query.ids["assistant_id"])
    record.deleted = True
    return Outcome(bodies.deleted(record.id, "assistant.deleted"), record.id)


def create_thread(world: World, query: Query) -> Outcome:
    """Make a thread, perhaps with first messages."""
    thread = thread_from(world, dict(query.body), query.now)
    return Outcome(
        bodies.thread(thread.record),
        thread.record.id,
        detail={"message_ids": [record.id for record in thread.messages]},
    )


def thread_from(world: World, body: Item, now: float) -> Thread:
    """A new thread with the messages that the request brings; nothing if one is refused."""
    checks.metadata_of(body)
    messages = messages_in(body, "messages")
    thread = world.add_thread(body, now)
    for message in messages:
        world.add_message(thread, message, now)
    return thread


def messages_in(body: Item, name: str) -> list[Item]:
    """The messages that a request brings, checked."""
    messages = checks.list_of(body, name)
    for message in messages:
        _check_message(message)
    return messages


def _check_message(message: Item) -> None:
    checks.metadata_of(message)
    if message.get("role") not in ("user", "assistant"):
        raise Refusal(400, "Invalid 'role': expected 'user' or 'assistant'.", param="role")
    if not isinstance(message.get("content"), str):
        checks.list_of(message, "content")


def retrieve_thread(world: World, query: Query) -> Outcome:
    """Show a thread."""
    return Outcome(bodies.thread(_thread(world, query).record))


def delete_thread(world: World, query: Query) -> Outcome:
    """Delete a thread; its messages and runs are gone with it."""
    record = _thread(world, query).record
    record.deleted = True
    return Outcome(bodies.deleted(record.id, "thread.deleted"), record.id)


def create_message(world: World, query: Query) -> Outcome:
    """Add a message, unless a run has the thread."""
    thread = _thread(world, query)
    message = dict(query.body)
    _check_message(message)
    refuse_if_locked(world, thread, query.now)
    record = world.add_message(thread, message, query.now)
    thread_id = thread.record.id
    return Outcome(bodies.message(thread_id, record), record.id, thread_id)


def refuse_if_locked(world: World, thread: Thread, now: float) -> None:
    """A thread with an active run takes no messages."""
    if run := world.active_run(thread, now):
        raise Refusal(
            400, f"Can't add messages to {thread.record.id} while a run {run.id} is active."
        )


def list_messages(world: World, query: Query) -> Outcome:
    """Show the messages of a thread, perhaps those of one run only."""
    thread = _thread(world, query)
    shown = [bodies.message(thread.record.id, record) for record in thread.messages]
    if run_id := query.options.get("run_id"):
        shown = [message for message in shown if message["run_id"] == run_id]
    return Outcome(checks.page(shown, query.options))


def retrieve_message(world: World, query: Query) -> Outcome:
    """Show one message."""
    thread = _thread(world, query)
    message_id = query.ids["message_id"]
    for record in thread.messages:
        if record.id == message_id:
            return Outcome(bodies.message(thread.record.id, record))
    raise not_found("message", message_id)


def _thread(world: World, query: Query) -> Thread:
    return world.thread(query.ids["thread_id"], query.now)
