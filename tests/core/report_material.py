"""Makes what a report is made of, by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from support import NOW, later

from ledger.core.alphabet import EventKind, State
from ledger.core.postmortem.cases import Case, cases_of
from ledger.core.postmortem.material import (
    AccountRow,
    AttemptRow,
    CallRow,
    DeliveryRow,
    EventRow,
    LifeRow,
    Material,
    MinuteRow,
    RemoteRow,
    RunRow,
    Span,
)

SPAN = Span(since=NOW, until=later(8 * 3_600))
MORNING = later(10 * 3_600)
ENDS = (State.completed, State.incomplete, State.failed, State.expired, State.cancelled)
_ids = itertools.count(1)


def run(run_id: int | None = None, **fields: Any) -> RunRow:
    given: dict[str, Any] = {
        "id": next(_ids) if run_id is None else run_id,
        "key": "k",
        "provider": "responses",
        "account_id": 1,
        "model": "gpt-a",
        "assistant": None,
        "kind": None,
        "serial_key": None,
        "tags": {},
        "created_at": later(60),
        "deadline_at": later(90_000),
        "calls": 3,
    }
    return RunRow(**given | fields)


def attempt(run_id: int, number: int = 1, **fields: Any) -> AttemptRow:
    given: dict[str, Any] = dict.fromkeys(AttemptRow._fields)
    given |= {"run_id": run_id, "number": number, "cause": "submit", "opened_at": later(60)}
    return AttemptRow(**given | fields)


def remote(run_id: int, n: int = 1, **fields: Any) -> RemoteRow:
    given: dict[str, Any] = dict.fromkeys(RemoteRow._fields)
    given |= {
        "run_id": run_id,
        "n": n,
        "attempt": 1,
        "kind": "response",
        "remote_id": f"resp_{run_id}_{n}",
        "marker": f"L:{run_id}:1:{n}",
        "state": "confirmed",
        "settled": True,
    }
    return RemoteRow(**given | fields)


def event(run_id: int, kind: EventKind, **fields: Any) -> EventRow:
    given: dict[str, Any] = dict.fromkeys(EventRow._fields)
    given |= {"run_id": run_id, "seq": 9, "kind": kind, "source": "poll", "actor": "life:one"}
    given |= {"recorded_at": later(100), "attempt": 1}
    return EventRow(**given | fields)


def delivery(run_id: int, at: datetime, **fields: Any) -> DeliveryRow:
    given: dict[str, Any] = {
        "run_id": run_id,
        "object_id": f"resp_{run_id}_1",
        "type": "response.failed",
        "created_at": at,
        "received_at": at,
        "duplicates": 0,
    }
    return DeliveryRow(**given | fields)


def call(run_id: int, **fields: Any) -> CallRow:
    given: dict[str, Any] = dict.fromkeys(CallRow._fields)
    given |= {"run_id": run_id, "n": 1, "attempt": 1, "tool": "f", "key": "c", "is_error": False}
    given |= {"held": False, "reruns": 0, "requested_at": later(70)}
    return CallRow(**given | fields)


def minute(number: int, refused: int = 0, calls: int = 60, **fields: Any) -> MinuteRow:
    given: dict[str, Any] = dict.fromkeys(MinuteRow._fields)
    given |= {"minute": NOW + timedelta(minutes=number), "account_id": 1, "calls": calls}
    given |= {"refused": refused, "throttled": 0, "throttled_seconds": 0.0}
    return MinuteRow(**given | fields)


def life(name: str = "one", **fields: Any) -> LifeRow:
    given: dict[str, Any] = {
        "id": name,
        "role": "daemon",
        "host": "h",
        "version": "1",
        "started_at": later(-600),
        "heartbeat_at": MORNING,
        "ended_at": None,
        "end": None,
    }
    return LifeRow(**given | fields)


def ended(
    state: State, seconds: float = 100.0, *, run_id: int | None = None, **fields: Any
) -> tuple[RunRow, AttemptRow, RemoteRow, EventRow]:
    """A run whose first attempt ended so, that many seconds into the window."""
    asked = run(run_id, **fields)
    at, bad = later(seconds), state in (State.failed, State.expired)
    code = "server_error" if bad else None
    return (
        asked,
        attempt(asked.id, outcome=state, ended_at=at, error_code=code),
        remote(asked.id, observed_status=str(state), observed_at=at, live_at=later(seconds - 4)),
        event(asked.id, EventKind.observed, to_state=state, recorded_at=at),
    )


def material(*rows: Any, **fields: Any) -> Material:
    """What is read of a window in which these rows are."""
    flat = [row for part in rows for row in ([part] if hasattr(part, "_fields") else part)]

    def of(kind: type[Any]) -> Sequence[Any]:
        return [row for row in flat if type(row) is kind]

    given: dict[str, Any] = {
        "ledger_id": "L",
        "ledger_since": later(-1_000_000),
        "schema": "0001",
        "span": SPAN,
        "as_of": MORNING,
        "query": "",
        "accounts": {1: AccountRow(1, "responses", "default", "https://upstream.test")},
        "runs": of(RunRow),
        "attempts": of(AttemptRow),
        "remotes": of(RemoteRow),
        "calls": of(CallRow),
        "events": of(EventRow),
        "deliveries": of(DeliveryRow),
        "minutes": of(MinuteRow),
        "lives": of(LifeRow) or [life()],
    }
    return Material(**given | fields)


def case(*rows: Any, **fields: Any) -> Case:
    """The only run of a window."""
    (found,) = cases_of(material(*rows, **fields))
    return found
