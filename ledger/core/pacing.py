"""When to look next. Pure: the random number comes in as an argument."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from ledger.core.record import record

START_SECONDS: Final = 0.5
FACTOR: Final = 1.5
CAP_SECONDS: Final = 5.0
TAIL_CAP_SECONDS: Final = 30.0
COVERED_START_SECONDS: Final = 5.0
COVERED_FACTOR: Final = 2.0
COVERED_CAP_SECONDS: Final = 60.0
"""Looks beside webhooks: only for deliveries that are lost, so few, and none too late."""
TOLD_SECONDS: Final = 30.0
"""So long after a delivery that showed nothing new yet, looks are as close as without webhooks."""
TROUBLE_CAP_SECONDS: Final = 60.0
HINT_SECONDS_MIN: Final = 0.05
"""A hint of nothing must not become a loop without a pause."""
HINT_SECONDS_MAX: Final = 600.0
JITTER: Final = 0.1


@record
class Look:
    """What a life remembers of its looks at one run; lost with the life, which costs one look."""

    next_at: datetime
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    failures: int = 0
    trouble_at: datetime | None = None
    seen: datetime | None = None
    """When upstream last showed the object."""
    told: datetime | None = None
    """When a delivery last asked for a look."""

    @property
    def prompted(self) -> bool:
        """Whether a delivery has asked for a look that was not made yet."""
        return self.told is not None and (self.last is None or self.last < self.told)


def trouble_is_news(look: Look, now: datetime) -> bool:
    """Whether a failed look is worth an event: the first of a streak, and once a minute at most."""
    recent = look.trouble_at is not None and now - look.trouble_at < timedelta(seconds=60)
    return look.failures == 0 and not recent


def covered_seconds(age_seconds: float) -> float:
    """Seconds to the next look where webhooks tell of the end: 5 s, x2, cap 60 s. The age is that
    of the object: what comes before its end is nothing to hurry for."""
    wait = COVERED_START_SECONDS + max(age_seconds, 0.0) * (COVERED_FACTOR - 1.0)
    return min(wait, COVERED_CAP_SECONDS)


def interval_seconds(
    age_seconds: float, *, fixed: float | None = None, cap: float = CAP_SECONDS
) -> float:
    """Seconds to the next look, given the age of the last change.

    The backoff 0.5 s, x1.5, cap 5 s as a function of age: an interval of START + age x (FACTOR - 1)
    visits the same instants as multiplying each wait by FACTOR, and needs no memory of the last.
    """
    if fixed is not None:
        return fixed
    return min(START_SECONDS + max(age_seconds, 0.0) * (FACTOR - 1.0), cap)


def next_look(
    now: datetime,
    *,
    changed_at: datetime | None,
    hint_seconds: float | None,
    fixed: float | None,
    tail: bool,
    spread: float,
    covered: bool = False,
) -> datetime:
    """When to look again. A server hint wins; `spread` in [0, 1) is the jitter's random number.

    `covered` says that a delivery will tell of the next change, most likely.
    """
    if hint_seconds is not None and not math.isnan(hint_seconds):
        seconds = min(max(hint_seconds, HINT_SECONDS_MIN), HINT_SECONDS_MAX)
        return now + timedelta(seconds=seconds)
    age = (now - changed_at).total_seconds() if changed_at else 0.0
    if covered and fixed is None:
        seconds = covered_seconds(age)
    else:
        seconds = interval_seconds(age, fixed=fixed, cap=TAIL_CAP_SECONDS if tail else CAP_SECONDS)
    return now + timedelta(seconds=seconds * (1.0 + JITTER * (2.0 * spread - 1.0)))


def after_failure(
    now: datetime, *, failures: int, retry_after_seconds: float | None, spread: float
) -> datetime:
    """When to try again after the `failures`-th failed call in a row."""
    backoff = min(START_SECONDS * FACTOR ** min(failures - 1, 20), TROUBLE_CAP_SECONDS)
    if retry_after_seconds is not None and not math.isnan(retry_after_seconds):
        # The first Retry-After is taken at its word; refused again and again, it was too short.
        wait = min(max(retry_after_seconds, 0.0 if failures <= 1 else backoff), HINT_SECONDS_MAX)
        return now + timedelta(seconds=wait * (1.0 + JITTER * spread))
    return now + timedelta(seconds=backoff * (1.0 + JITTER * (2.0 * spread - 1.0)))
