"""The numbers of the report on one run: its states over time, attempts, events, calls, siblings."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ledger.core.alphabet import CallState, State
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.postmortem.cases import FAILED, OBJECT_ENDS
from ledger.core.postmortem.hiding import OWN_MODEL
from ledger.core.record import evolve
from ledger.core.statistics import quantile
from ledger.core.timeline import TOOL, timeline

SCHEMA: Final = "runward-postmortem-run/1"
HOUR: Final = timedelta(hours=1)
VALUE_MAX: Final = 80
Hide = Callable[[str | None], str | None]


def run_numbers(
    facts: Facts,
    events: Sequence[Any],
    *,
    as_of: datetime,
    version: str,
    failure: tuple[int, Sequence[int]],
    hour: Sequence[tuple[State, datetime, datetime | None]],
    redact: bool,
) -> dict[str, Any]:
    """The numbers of one run, by what was recorded up to `as_of`. `events` are rows of `event`;
    `failure` is how many runs failed the same way, and some; `hour` the runs of the same hour."""
    told = [event for event in events if event.recorded_at <= as_of]
    hide = _hiding(facts.run.origin_ledger) if redact else _plain
    run = facts.run
    ends = [event for event in told if event.to_state is not None]
    state = ends[-1].to_state if ends else State.queued
    attempts = [one for one in facts.attempts if one.opened_at <= as_of]
    return {
        "schema": SCHEMA,
        "header": {
            "title": f"Report on run {run.id}",
            "as_of": as_of.isoformat(),
            "version": version,
            "status": "draft",
            "redacted": redact,
        },
        "run": {
            "id": run.id,
            "key": hide(run.key),
            "provider": run.provider,
            "model": hide(run.model) if _own(run.model) else run.model,
            "state": str(state),
            "created_at": run.created_at.isoformat(),
            "deadline_at": run.deadline_at.isoformat(),
            "tags": {str(hide(n)): hide(str(value)) for n, value in sorted(run.tags.items())},
        },
        "timeline": _timeline(told, redact, hide),
        "attempts": [_attempt(one, as_of, redact) for one in attempts],
        "remotes": [
            _remote(as_seen(one, told, as_of), hide)
            for one in facts.remotes
            if _known(one, len(attempts), as_of)
        ],
        "tool_calls": [
            _call(as_stood(one, as_of), hide) for one in facts.calls if one.requested_at <= as_of
        ],
        "events": [_event(one, hide) for one in told],
        "siblings": _siblings(facts, failure, hour, as_of),
    }


def _own(model: str | None) -> bool:
    return model is not None and model.startswith(OWN_MODEL)


def _plain(text: str | None) -> str | None:
    return text


def _hiding(salt: str) -> Hide:
    def hide(text: str | None) -> str | None:
        if text is None:
            return None
        whole = f"{salt}|{text}".encode("utf-8", "surrogatepass")
        return f"x{hashlib.sha256(whole).hexdigest()[:10]}"

    return hide


def _timeline(events: Sequence[Any], redact: bool, hide: Hide) -> dict[str, Any]:
    """The same account as `show` gives; of what marks say only tools have a name, and a hash."""
    told = timeline(events).view()
    if redact:
        for mark in told["marks"]:
            mark["text"] = hide(mark["text"]) if mark["kind"] == TOOL and mark["text"] else ""
    return told


def _attempt(one: Any, as_of: datetime, redact: bool) -> dict[str, Any]:
    over = one.ended_at is not None and one.ended_at <= as_of
    until = one.ended_at if over else as_of
    return {
        "number": one.number,
        "cause": one.cause,
        "opened_at": one.opened_at.isoformat(),
        "ended_at": one.ended_at.isoformat() if over else None,
        "seconds": round((until - one.opened_at).total_seconds(), 6),
        "outcome": str(one.outcome) if over else None,
        "code": one.error_code if over else None,
        "message": one.error_message if over and not redact else None,
        "fingerprint": one.fingerprint if over else None,
    }


def _known(remote: Remote, attempts: int, as_of: datetime) -> bool:
    begun = remote.sent_at is None or remote.sent_at <= as_of
    return remote.attempt <= attempts and begun


def as_seen(remote: Remote, told: Sequence[Any], as_of: datetime) -> Remote:
    """An object as it was known then: where its row has gone on, what the events said of it."""
    if remote.usage_at is not None and remote.usage_at > as_of:
        remote = evolve(remote, tokens_in=None, tokens_cached=None, tokens_out=None)
    if remote.observed_at is None or remote.observed_at <= as_of:
        return remote
    seen = [event for event in told if event.remote == remote.n and event.remote_status]
    return evolve(
        remote,
        remote_id=remote.remote_id if seen else None,
        request_id=seen[-1].request_id if seen else None,
        observed_status=seen[-1].remote_status if seen else None,
        observed_at=seen[-1].recorded_at if seen else None,
        # An end that was known already is known still.
        remote_ended_at=remote.remote_ended_at
        if seen and seen[-1].remote_status in OBJECT_ENDS
        else None,
    )


def as_stood(call: ToolCall, as_of: datetime) -> ToolCall:
    """A call as it stood then, by its own times."""
    reached = [
        (CallState.started, call.started_at),
        (CallState.finished, call.finished_at),
        (CallState.submitted, call.submitted_at),
        (CallState.confirmed, call.confirmed_at),
    ]
    if all(at is None or at <= as_of for _, at in reached):
        return call
    over = [state for state, at in reached if at is not None and at <= as_of]
    finished = call.finished_at is not None and call.finished_at <= as_of
    return evolve(
        call,
        state=over[-1] if over else CallState.requested,
        started_at=call.started_at if over else None,
        finished_at=call.finished_at if finished else None,
        is_error=call.is_error and finished,
    )


def _remote(one: Any, hide: Hide) -> dict[str, Any]:
    return {
        "n": one.n,
        "attempt": one.attempt,
        "kind": str(one.kind),
        "upstream_id": hide(one.remote_id),
        "request_id": hide(one.request_id),
        "status": one.observed_status,
        "sent_at": _time(one.sent_at),
        "upstream_ended_at": _time(one.remote_ended_at),
        "noticed_at": _time(one.observed_at),
        "tokens_in": one.tokens_in,
        "tokens_out": one.tokens_out,
    }


def _call(one: Any, hide: Hide) -> dict[str, Any]:
    return {
        "n": one.n,
        "attempt": one.attempt,
        "tool": hide(one.tool),
        "state": str(one.state),
        "is_error": one.is_error,
        "reruns": one.reruns,
        "requested_at": _time(one.requested_at),
        "started_at": _time(one.started_at),
        "finished_at": _time(one.finished_at),
    }


def _event(one: Any, hide: Hide) -> dict[str, Any]:
    sort, colon, name = one.actor.partition(":")
    return {
        "seq": one.seq,
        "at": one.recorded_at.isoformat(),
        "kind": str(one.kind),
        "from": None if one.from_state is None else str(one.from_state),
        "to": None if one.to_state is None else str(one.to_state),
        "source": str(one.source),
        "actor": f"{sort}:{hide(name)}" if colon else hide(one.actor),
        "attempt": one.attempt,
        "upstream_status": one.remote_status,
        "request_id": hide(one.request_id),
        "code": one.error_code,
    }


def changes(
    events: Iterable[Mapping[str, Any]], told: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What changed in upstream's objects: the `diff` of each event that the report tells of, its
    values cut to VALUE_MAX."""
    seqs = {event["seq"] for event in told}
    return [
        {
            "seq": event["seq"],
            "op": one["op"],
            "path": one["path"],
            "value": _short(one["value"]) if "value" in one else None,
        }
        for event in events
        if event["seq"] in seqs
        for one in event["diff"] or ()
    ]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_MAX else f"{text[: VALUE_MAX - 1]}…"


def _siblings(
    facts: Facts,
    failure: tuple[int, Sequence[int]],
    hour: Sequence[tuple[State, datetime, datetime | None]],
    as_of: datetime,
) -> dict[str, Any]:
    """Runs that ended after `as_of` count as open."""
    over = [one for one in hour if one[2] is not None and one[2] <= as_of]
    seconds = sorted(
        (ended - created).total_seconds()
        for state, created, ended in over
        if state == State.completed and ended is not None
    )
    p50 = quantile(seconds, 0.5)
    start = hour_of(facts.run.created_at)
    return {
        "same_failure": failure[0],
        "same_failure_runs": list(failure[1]),
        "hour": start.isoformat(),
        "same_hour": len(hour),
        "same_hour_ended": len(over),
        "same_hour_failed": sum(1 for one in over if one[0] in FAILED),
        "same_hour_by_state": dict(sorted(Counter(str(one[0]) for one in over).items())),
        "same_hour_p50_seconds": None if p50 is None else round(p50, 3),
    }


def hour_of(at: datetime) -> datetime:
    """The hour that a time lies in."""
    return at.replace(minute=0, second=0, microsecond=0)


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def windows(facts: Facts) -> Mapping[str, tuple[datetime, datetime]]:
    """The times that siblings are looked for in: the hour, and a day around it for failures."""
    start = hour_of(facts.run.created_at)
    return {"hour": (start, start + HOUR), "day": (start - 12 * HOUR, start + 13 * HOUR)}
