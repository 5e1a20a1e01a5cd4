"""A run as spans, from the ledger's rows: names, attributes, ids and times. Pure.

The attribute names are those of OpenTelemetry's conventions for generative AI, which are still in
development: VERSION names our choice of them, and is on every span. Contents are on none.

| Attribute | Of | From |
| --- | --- | --- |
| gen_ai.operation.name, gen_ai.provider.name, openai.api.type | run | the provider |
| gen_ai.request.model, gen_ai.conversation.id | run | the request |
| gen_ai.response.id | run, attempt | the newest response or thread run |
| gen_ai.usage.* | run | upstream's count, over all attempts |
| error.type | run, attempt | the error code, or the verdict that is not `completed` |
| runward.* | run, attempt | the ledger: numbers, key, state, cause, tags |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ledger.core.alphabet import RemoteKind, State
from ledger.core.model import Attempt, Facts
from ledger.core.passing_on import Notice

VERSION: Final = "1"
OPERATIONS: Final = {"responses": "chat", "assistants": "invoke_agent"}
ANSWERING: Final = (RemoteKind.response, RemoteKind.thread_run, RemoteKind.agent_turn)
USAGE: Final = {
    "gen_ai.usage.input_tokens": (("input_tokens",), ("prompt_tokens",)),
    "gen_ai.usage.output_tokens": (("output_tokens",), ("completion_tokens",)),
    "gen_ai.usage.cache_read.input_tokens": (("input_tokens_details", "cached_tokens"),),
    "gen_ai.usage.reasoning.output_tokens": (("output_tokens_details", "reasoning_tokens"),),
}
"""Where upstream counts what, by family."""
TAGS_MAX: Final = 16
"""So many tags of a run are put on its span: the conventions' limits are tight."""
Value = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """One span, ready to be exported. `failed` says that its status is an error."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    start: datetime
    end: datetime
    attributes: Mapping[str, Value]
    failed: bool


def spans_of(facts: Facts, verdict: Notice) -> list[SpanRecord]:
    """The span of a run that reached a verdict, and one for each attempt up to it.

    Ids depend on ledger, run and attempt alone: what is exported twice is the same span, and a
    run that is restarted by hand is the same trace again, with a later end.
    """
    place = f"{facts.run.origin_ledger}:{facts.run.origin_run}"
    trace_id, root = _number(f"trace:{place}", 16), _number(f"run:{place}", 8)
    attempts = [a for a in facts.attempts if a.number <= verdict.attempt]
    whole = SpanRecord(
        trace_id=trace_id,
        span_id=root,
        parent_id=None,
        name=_name(facts),
        start=facts.run.created_at,
        end=verdict.at,
        attributes=_given(_run(facts, verdict, len(attempts))),
        failed=verdict.state not in (State.completed, State.cancelled),
    )
    tries = [
        SpanRecord(
            trace_id=trace_id,
            span_id=_number(f"attempt:{place}:{attempt.number}", 8),
            parent_id=root,
            name=f"attempt {attempt.number}",
            start=attempt.opened_at,
            end=attempt.ended_at or verdict.at,
            attributes=_given(_attempt(facts, attempt)),
            failed=attempt.outcome not in (State.completed, State.cancelled),
        )
        for attempt in attempts
    ]
    return [whole, *tries]


def _number(text: str, size: int) -> int:
    """An id that only this text has; zero is no id."""
    digest = hashlib.sha256(f"runward:{text}".encode()).digest()
    return int.from_bytes(digest[:size], "big") or 1


def _name(facts: Facts) -> str:
    operation = OPERATIONS.get(facts.run.provider, facts.run.provider)
    return f"{operation} {facts.run.model}" if facts.run.model else operation


def _run(facts: Facts, verdict: Notice, attempts: int) -> dict[str, Value | None]:
    run = facts.run
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": OPERATIONS.get(run.provider, run.provider),
        "gen_ai.provider.name": "openai",
        "openai.api.type": run.provider,
        "gen_ai.request.model": run.model,
        "gen_ai.conversation.id": run.serial_key,
        "gen_ai.response.id": _remote_id(facts, verdict.attempt),
        "error.type": _error(verdict.state, verdict.error_code),
        "runward.spans.version": VERSION,
        "runward.ledger": run.origin_ledger,
        "runward.run": run.id,
        "runward.key": run.key,
        "runward.state": str(verdict.state),
        "runward.attempts": attempts,
        "runward.kind": run.kind,
    }
    for name, places in USAGE.items():
        found[name] = next((n for place in places if (n := _count(run.usage, place))), None)
    for name, value in list(run.tags.items())[:TAGS_MAX]:
        found[f"runward.tag.{name}"] = str(value)
    return found


def _attempt(facts: Facts, attempt: Attempt) -> dict[str, Value | None]:
    return {
        "runward.spans.version": VERSION,
        "runward.run": facts.run.id,
        "runward.attempt": attempt.number,
        "runward.cause": attempt.cause,
        "runward.outcome": str(attempt.outcome) if attempt.outcome else None,
        "gen_ai.response.id": _remote_id(facts, attempt.number),
        "error.type": _error(attempt.outcome, attempt.error_code),
    }


def _error(state: State | None, code: str | None) -> str | None:
    return None if state in (None, State.completed, State.cancelled) else code or str(state)


def _remote_id(facts: Facts, attempt: int) -> str | None:
    for remote in reversed(facts.remotes):
        if remote.attempt == attempt and remote.kind in ANSWERING and remote.remote_id:
            return remote.remote_id
    return None


def _count(usage: Any, place: tuple[str, ...]) -> int | None:
    for name in place:
        usage = usage.get(name) if isinstance(usage, Mapping) else None
    whole = isinstance(usage, int | float) and not isinstance(usage, bool)
    return int(usage) if whole else None


def _given(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}
