"""How late an end was noticed: an interval, and what is known of upstream's side of it.

Upstream's end is known from the object's own time (whole seconds), from a webhook's time (whole
seconds as well), or it lies between the last look that saw the object live and the one that saw it
final. A negative lag is counted as such: clocks differ, and cutting it off would hide that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from ledger.core.alphabet import EventKind
from ledger.core.postmortem.cases import OBJECT_ENDS, Case
from ledger.core.postmortem.material import DeliveryRow, RemoteRow, Span
from ledger.core.postmortem.queries import ended, listing, shown
from ledger.core.statistics import quantile

OBJECT: Final = "object"
WEBHOOK: Final = "webhook"
LOOKS: Final = "looks"
SOURCES: Final = (OBJECT, WEBHOOK, LOOKS)
RESOLUTION_SECONDS: Final = 1.0


class Lag(NamedTuple):
    """How late, in seconds, at least and at most, by what, and how it was noticed."""

    run_id: int
    low: float
    high: float
    source: str
    noticed_by: str
    noticed_at: datetime

    @property
    def middle(self) -> float:
        """The middle of the interval: what medians are made of."""
        return (self.low + self.high) / 2.0


def lag_of(case: Case) -> Lag | None:
    """The lag of a run's verdict; None where upstream did not end anything."""
    attempt = case.closing
    if attempt is None or attempt.ended_at is None:
        return None
    remote, event = case.remote_of(attempt), case.end_of(attempt)
    if event is None or event.kind == EventKind.ended:
        # The ledger's own verdict: what upstream said later is no end that was noticed late.
        return None
    if remote is None or remote.observed_status not in OBJECT_ENDS:
        return None
    # Some results take a further call: what was noticed is the end, not the result.
    noticed = min(remote.observed_at or attempt.ended_at, attempt.ended_at)
    known = (
        _object(remote, noticed)
        or _webhook(case.deliveries, remote, noticed)
        or _looks(remote, noticed)
    )
    if known is None:
        return None
    low, high, source = known
    return Lag(case.run.id, low, high, source, str(event.source), noticed)


def _object(remote: RemoteRow, noticed: datetime) -> tuple[float, float, str] | None:
    if remote.remote_ended_at is None:
        return None
    # A whole second: the end lies within it.
    seconds = (noticed - remote.remote_ended_at).total_seconds()
    return seconds - RESOLUTION_SECONDS, seconds, OBJECT


def _webhook(
    deliveries: Sequence[DeliveryRow], remote: RemoteRow, noticed: datetime
) -> tuple[float, float, str] | None:
    ends = [
        one.created_at
        for one in deliveries
        if one.object_id == remote.remote_id
        and one.created_at is not None
        and one.type.rpartition(".")[2] in OBJECT_ENDS
    ]
    if not ends:
        return None
    seconds = (noticed - min(ends)).total_seconds()
    return seconds - RESOLUTION_SECONDS, seconds + RESOLUTION_SECONDS, WEBHOOK


def _looks(remote: RemoteRow, noticed: datetime) -> tuple[float, float, str] | None:
    live = remote.live_at or remote.sent_at
    if live is None:
        return None
    seconds = (noticed - live).total_seconds()
    return min(seconds, 0.0), seconds, LOOKS


def detection(cases: Iterable[Case], span: Span, query: str = "") -> dict[str, Any]:
    """The lags of all verdicts of the window, by source and by how they were noticed. `query` is
    the report's own."""
    listed = [case for case in cases if span.holds(case.ended_at)]
    found = [(case, lag_of(case)) for case in listed]
    lags = [lag for _, lag in found if lag is not None]
    by_source: dict[str, list[Lag]] = defaultdict(list)
    by_way: dict[str, list[Lag]] = defaultdict(list)
    for lag in lags:
        by_source[lag.source].append(lag)
        by_way[lag.noticed_by].append(lag)
    negative = sorted(lag.run_id for lag in lags if lag.high < 0.0)
    own = Counter(_own(case) for case, lag in found if lag is None)
    return {
        "verdicts": len(listed),
        "query": listing(query, ended(span)),
        "with_lag": len(lags),
        "without": dict(sorted(own.items())),
        "all": _figures(lags),
        "by_source": {source: _figures(by_source[source]) for source in SOURCES},
        "by_way": {way: _figures(by_way[way]) for way in sorted(by_way)},
        "negative": len(negative),
        "negative_runs": negative[:20],
        "negative_query": shown(negative),
        "latest": [_late(lag) for lag in sorted(lags, key=lambda one: (-one.high, one.run_id))[:5]],
    }


def _own(case: Case) -> str:
    """Why a verdict has no lag: what the ledger itself decided by."""
    assert case.closing is not None
    event = case.end_of(case.closing)
    return str(event.source) if event is not None else "unknown"


def _late(lag: Lag) -> dict[str, Any]:
    return {
        "run": lag.run_id,
        "low_seconds": round(lag.low, 3),
        "high_seconds": round(lag.high, 3),
        "source": lag.source,
        "noticed_by": lag.noticed_by,
        "noticed_at": lag.noticed_at.isoformat(),
        "query": shown([lag.run_id]),
    }


def _figures(lags: Sequence[Lag]) -> dict[str, Any]:
    """Medians of the middles; the worst case is the upper end."""
    middles = sorted(lag.middle for lag in lags)
    highs = sorted(lag.high for lag in lags)

    def of(ordered: Sequence[float], q: float) -> float | None:
        found = quantile(ordered, q)
        return None if found is None else round(found, 3)

    return {
        "verdicts": len(lags),
        "p50_seconds": of(middles, 0.5),
        "p95_seconds": of(middles, 0.95),
        "worst_p95_seconds": of(highs, 0.95),
        "worst_seconds": of(highs, 1.0),
    }
