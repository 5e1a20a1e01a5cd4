"""Runs as a report sees them: each with its verdict as things stood at the end of the window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from ledger.core.alphabet import State
from ledger.core.decide.missing import LOST
from ledger.core.postmortem.material import (
    AttemptRow,
    CallRow,
    DeliveryRow,
    EventRow,
    Material,
    RemoteRow,
    RunRow,
    SeenRow,
    Span,
)

FAILED: Final = frozenset({State.failed, State.expired})
"""The ends that count as failures. `incomplete` and `cancelled` are counted apart."""
LOST_CODES: Final = frozenset({*LOST, "create_unknown"})
"""The codes of runs whose upstream object cannot be found, or whose create has no known fate."""
OBJECT_ENDS: Final = frozenset({"completed", "failed", "incomplete", "expired", "cancelled"})
"""What upstream says of an object that is over."""
_MOMENT: Final = timedelta(microseconds=1)
T = TypeVar("T", RemoteRow, CallRow, EventRow, DeliveryRow, AttemptRow)


class Case:
    """One run with its parts, as they stood at the report's `as_of`."""

    __slots__ = (
        "attempts",
        "calls",
        "closing",
        "deliveries",
        "ended_at",
        "events",
        "remotes",
        "run",
        "state",
    )

    def __init__(
        self,
        run: RunRow,
        attempts: Sequence[AttemptRow],
        remotes: Sequence[RemoteRow],
        calls: Sequence[CallRow],
        events: Sequence[EventRow],
        deliveries: Sequence[DeliveryRow],
        horizon: datetime,
    ) -> None:
        self.run, self.attempts, self.remotes = run, attempts, remotes
        self.calls, self.events, self.deliveries = calls, events, deliveries
        self.closing = closing(attempts, horizon)
        """The attempt that gave the verdict; None for a run that was open at the window's end."""
        self.state = self.closing.outcome if self.closing else None
        self.ended_at = self.closing.ended_at if self.closing else None

    @property
    def failed(self) -> bool:
        """Whether its verdict is a failure."""
        return self.state in FAILED

    @property
    def lost(self) -> bool:
        """Whether its upstream object is not to be found."""
        return self.failed and self.closing is not None and self.closing.error_code in LOST_CODES

    @property
    def seconds(self) -> float:
        """From its creation to its verdict. Only of runs that have one."""
        assert self.ended_at is not None
        return (self.ended_at - self.run.created_at).total_seconds()

    def remote_of(self, attempt: AttemptRow) -> RemoteRow | None:
        """The newest object of an attempt, or the one that its verdict was taken from."""
        for remote in reversed(self.remotes):
            if remote.attempt == attempt.number:
                return remote
        return next((one for one in self.remotes if one.n == attempt.base), None)

    def end_of(self, attempt: AttemptRow) -> EventRow | None:
        """The event that ended an attempt."""
        for event in self.events:
            if event.attempt == attempt.number and event.to_state == attempt.outcome:
                return event
        return None


def closing(attempts: Sequence[AttemptRow], horizon: datetime) -> AttemptRow | None:
    """The newest attempt before the horizon, if it had ended by then."""
    for attempt in reversed(attempts):
        if attempt.opened_at < horizon:
            over = attempt.ended_at is not None and attempt.ended_at < horizon
            return attempt if over else None
    return None


def cases_of(material: Material) -> list[Case]:
    """The runs that were created before the window's end, by number, with what was known by then.

    What came after `as_of` is left out, also where a row says it by now.
    """
    until = material.as_of + _MOMENT
    horizon = min(material.span.until, until)
    attempts = _by_run(_known(one, until) for one in material.attempts if one.opened_at < until)
    last: dict[tuple[int, int], SeenRow] = {}
    for one in material.seen:
        before = last.get((one.run_id, one.remote))
        known = one.request_id or (before.request_id if before else None)
        last[one.run_id, one.remote] = one._replace(request_id=known)
    remotes = _by_run(_seen(one, last, until) for one in material.remotes)
    calls = _by_run(one for one in material.calls if one.requested_at < until)
    events = _by_run(one for one in material.events if one.recorded_at < until)
    deliveries = _by_run(one for one in material.deliveries if one.received_at < until)
    made = (
        Case(
            run,
            attempts[run.id],
            remotes.get(run.id, ()),
            calls.get(run.id, ()),
            events.get(run.id, ()),
            deliveries.get(run.id, ()),
            horizon,
        )
        for run in material.runs
        if run.created_at < horizon and run.id in attempts
    )
    # A run may have ended before the window and been restarted after it: it is not of the window.
    return [case for case in made if _of_window(case, material.span)]


def finished(cases: Iterable[Case], span: Span) -> list[Case]:
    """Those that got their verdict in the window."""
    return [case for case in cases if span.holds(case.ended_at)]


def _of_window(case: Case, span: Span) -> bool:
    return case.ended_at is None or case.ended_at >= span.since


def _known(attempt: AttemptRow, until: datetime) -> AttemptRow:
    """An attempt as it stood: without the end that came later."""
    if attempt.ended_at is None or attempt.ended_at < until:
        return attempt
    return attempt._replace(
        outcome=None,
        ended_at=None,
        error_code=None,
        error_message=None,
        error_origin=None,
        fingerprint=None,
    )


def _seen(remote: RemoteRow, last: Mapping[tuple[int, int], SeenRow], until: datetime) -> RemoteRow:
    """An object as it stood: without what was told of it later."""
    if remote.usage_at is not None and remote.usage_at >= until:
        remote = remote._replace(tokens_in=None, tokens_cached=None, tokens_out=None, usage_at=None)
    if remote.observed_at is None or remote.observed_at < until:
        return remote
    seen = last.get((remote.run_id, remote.n))
    status = seen.remote_status if seen else None
    over = status in OBJECT_ENDS
    return remote._replace(
        remote_id=remote.remote_id if seen else None,
        request_id=seen.request_id if seen else None,
        observed_status=status,
        observed_at=seen.recorded_at if seen else None,
        # What goes with an end is known still where the end was known already.
        live_at=remote.live_at if over else None,
        remote_ended_at=remote.remote_ended_at if over else None,
        readable_until=remote.readable_until if over else None,
        settled=remote.settled and over,
    )


def _by_run(rows: Iterable[T]) -> Mapping[int, list[T]]:
    found: dict[int, list[T]] = {}
    for row in rows:
        if row.run_id in found:
            found[row.run_id].append(row)
        else:
            found[row.run_id] = [row]
    return found
