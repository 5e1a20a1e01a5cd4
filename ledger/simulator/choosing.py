"""Which model a request is about, and which behaviour a create gets."""

from __future__ import annotations

from dataclasses import dataclass

from . import checks
from .behaviours import (
    OK,
    Behaviour,
    UnknownBehaviourError,
    behaviour_named,
    is_once,
    magic_name,
)
from .ops_responses import asker_of
from .refusals import Refusal
from .world import Item, Query, World, canonical

CREATES = frozenset({"runs.create", "threads.create_and_run", "responses.create"})


@dataclass(frozen=True, slots=True)
class Choice:
    """The behaviour of a create; ``key`` is to be remembered if it holds only once."""

    behaviour: Behaviour
    key: str | None = None


def model_of(world: World, query: Query) -> str:
    """The model that a request is about; empty if it is about none."""
    job = world.jobs.get(query.ids.get("run_id") or query.ids.get("response_id") or "")
    if job is not None:
        return job.model
    model = query.body.get("model")
    if not model and query.operation in CREATES and "assistant_id" in query.body:
        model = _assistant_model(world, query.body["assistant_id"])
    return model if isinstance(model, str) else ""


def _assistant_model(world: World, assistant_id: object) -> str:
    try:
        return str(world.assistant(str(assistant_id)).data["model"])
    except Refusal:
        return ""


def choose(world: World, query: Query) -> Choice:
    """The behaviour of a create: the one of its chain, else the one that its names ask for."""
    asker = asker_of(world, query) if query.operation == "responses.create" else None
    if asker is not None:
        return Choice(asker.behaviour)
    model = model_of(world, query)
    name = magic_name(model, checks.metadata_of(query.body))
    try:
        behaviour = behaviour_named(name)
    except UnknownBehaviourError as error:
        raise Refusal(400, str(error), code="model_not_found", param="model") from None
    if not is_once(name):
        return Choice(behaviour)
    key = canonical([query.operation, model, name, _subject(query)])
    return Choice(OK) if key in world.done_once else Choice(behaviour, key)


def _subject(query: Query) -> Item:
    """What makes two creates the same: the thread, or what the model is given."""
    if "thread_id" in query.ids:
        return {"thread_id": query.ids["thread_id"]}
    names = ("thread", "assistant_id", "input", "previous_response_id")
    return {name: query.body[name] for name in names if name in query.body}
