"""Until when a result has to be fetched, because upstream may drop it then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ledger.core.alphabet import RemoteState
from ledger.core.model import Facts
from ledger.core.pacing import Look

LAST_SECONDS: Final = 10.0
"""So long before the end of its time a result is fetched whatever politeness says."""
URGENT_SECONDS: Final = 120.0
"""So long before it, it goes before everything else that is due."""
EXPIRING_SHARE: Final = 0.5
"""A fetch that still fails when this share of the retention is left is a person's concern."""


def fetch_by(facts: Facts, look: Look) -> datetime | None:
    """When the newest object may be gone; None where nothing has to be fetched, or nothing goes."""
    current = facts.current
    if current is None or current.state is not RemoteState.confirmed or facts.run.final:
        return None
    if current.readable_until is not None:
        return current.readable_until
    kept = facts.run.policy.result_retention_seconds
    if kept is None or current.observed_at is None:
        return None
    seen = max(current.observed_at, look.seen or current.observed_at)
    return seen + timedelta(seconds=kept)


def in_time(due: datetime, now: datetime, by: datetime | None) -> datetime:
    """`due`, but early enough for a last attempt before `by`, where there still is one."""
    if by is None or due < by or now >= by:
        return due
    last = by - timedelta(seconds=LAST_SECONDS)
    return max(last, now + timedelta(seconds=1))


def last_chance(paused: datetime, now: datetime, by: datetime) -> bool:
    """Whether a pause would outlast the result, and this is the last moment to fetch it."""
    return paused >= by and by - timedelta(seconds=LAST_SECONDS) <= now < by


def expiring(facts: Facts, look: Look, now: datetime) -> bool:
    """Whether so much of the time to fetch the result has passed that somebody should know."""
    by, kept = fetch_by(facts, look), facts.run.policy.result_retention_seconds
    return (
        by is not None and kept is not None and (by - now).total_seconds() < kept * EXPIRING_SHARE
    )
