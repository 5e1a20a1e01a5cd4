"""Incidents as they are proposed now: computed each time, and stored nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.postmortem.incidents import (
    DAYS_BEFORE,
    Incident,
    by_failures,
    by_rules,
    by_waiting,
)
from ledger.core.postmortem.material import Span
from ledger.errors import NotFound
from ledger.service.dates import moment
from ledger.service.postmortem import judge_span
from ledger.store.incidents import around, ended_runs, failed_attempts, late_starts, ledger_since

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger

SINCE: Final = "30d"
LATE_SECONDS: Final = 60.0
WAITING_DAYS: Final = 7
"""Late starts are looked for in the last days alone: each run has to be read for them."""


def incidents(
    ledger: Ledger, *, since: datetime | str = SINCE, until: datetime | str | None = None
) -> list[dict[str, Any]]:
    """The incidents of a time, the newest first; ages count from its end. Raises InvalidInput."""
    now = utcnow()
    end = now if until is None else moment(until, now)
    span = judge_span(moment(since, end), end, now)
    found = ledger.store.read(lambda c: _found(c, span, now))
    ordered = sorted(found, key=lambda one: (one.start, one.id), reverse=True)
    return [one.view(span.until) for one in ordered]


def incident(
    ledger: Ledger,
    name: str,
    *,
    since: datetime | str = SINCE,
    until: datetime | str | None = None,
) -> dict[str, Any]:
    """One incident by its id. Raises NotFound."""
    for one in incidents(ledger, since=since, until=until):
        if one["id"] == name:
            return one
    hint = "runward incidents list; --since and --until name another time"
    raise NotFound(f"there is no incident {name!r} in this time", hint=hint)


def _found(connection: Connection, span: Span, now: datetime) -> list[Incident]:
    began = ledger_since(connection)
    span = Span(since=min(max(span.since, began), span.until), until=span.until)
    past = Span(since=span.since - timedelta(days=DAYS_BEFORE), until=span.until)
    failed, ended = failed_attempts(connection, past), ended_runs(connection, past)
    recent = Span(
        since=max(span.since, span.until - timedelta(days=WAITING_DAYS)), until=span.until
    )
    sent, late = late_starts(connection, recent, LATE_SECONDS)
    return [
        *by_failures(span, failed, ended),
        *by_rules(span, **around(connection, span, now)),
        *by_waiting(sent, late),
    ]
