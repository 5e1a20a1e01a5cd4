"""What a life remembers of its looks at one run, and how failed ones are tried again."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from ledger.core.record import record

HINT_SECONDS_MAX: Final = 600.0
TROUBLE_START_SECONDS: Final = 0.5
TROUBLE_FACTOR: Final = 1.5
TROUBLE_CAP_SECONDS: Final = 60.0
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


def after_failure(
    now: datetime, *, failures: int, retry_after_seconds: float | None, spread: float
) -> datetime:
    """When to try again after the `failures`-th failed call in a row; `spread` in [0, 1)."""
    backoff = trouble_seconds(failures)
    if retry_after_seconds is not None and not math.isnan(retry_after_seconds):
        # The first Retry-After is taken at its word; refused again and again, it was too short.
        wait = min(max(retry_after_seconds, 0.0 if failures <= 1 else backoff), HINT_SECONDS_MAX)
        return now + timedelta(seconds=wait * (1.0 + JITTER * spread))
    return now + timedelta(seconds=backoff * jittered(spread))


def trouble_seconds(failures: int) -> float:
    """The wait after so many failures in a row, as long as nobody says how long."""
    return min(TROUBLE_START_SECONDS * TROUBLE_FACTOR ** min(failures - 1, 20), TROUBLE_CAP_SECONDS)


def jittered(spread: float) -> float:
    """A factor of about one that keeps runs apart which began together."""
    return 1.0 + JITTER * (2.0 * spread - 1.0)
