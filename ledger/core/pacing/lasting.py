"""How long an upstream object took, from what two clocks said of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from ledger.core.alphabet import State
from ledger.core.pacing.looks import JITTER
from ledger.core.pacing.schedule import WAIT_SECONDS_MAX

ENDS: Final = frozenset(
    {State.completed, State.failed, State.incomplete, State.expired, State.requires_action}
)
"""Ends that upstream came to by itself: a cancelled object says nothing of its class."""
APART_SECONDS_MAX: Final = WAIT_SECONDS_MAX * (1.0 + JITTER)
WHOLE_SECONDS: Final = 1.0
"""Upstream's times are whole seconds (OpenAI's `created_at`, `completed_at`)."""


class Timed(Protocol):
    """What is read of one object's time: a record of the core, or a row of the database."""

    @property
    def observed_status(self) -> str | None:
        """Upstream's word."""

    @property
    def round(self) -> int:
        """How often it asked for tools, beyond the first time."""

    @property
    def sent_at(self) -> datetime | None:
        """Our create."""

    @property
    def live_at(self) -> datetime | None:
        """The last look that saw it live."""

    @property
    def observed_at(self) -> datetime | None:
        """The look that saw it as it is."""

    @property
    def remote_created_at(self) -> datetime | None:
        """Upstream's own time of its beginning."""

    @property
    def remote_ended_at(self) -> datetime | None:
        """And of its end."""


def lasted(seen: Timed) -> float | None:
    """Seconds from its create to its end, as well as that is known; None where it is not.

    Our looks bracket the end, and so do upstream's own times: the middle of what both allow. To
    take the look that found it for the end would teach the policy its own delays.
    """
    bounds = _bounds(seen)
    return None if bounds is None else (bounds[0] + bounds[1]) / 2.0


def taught(seen: Timed) -> float | None:
    """What `lasted` says, where it says something of the class.

    Looks that lie further apart than any policy lets them tell of an outage of ours: as durations,
    they would have the next runs looked at as late, and those teach the same.
    """
    bounds = _bounds(seen)
    if bounds is None or bounds[1] - bounds[0] > APART_SECONDS_MAX:
        return None
    return (bounds[0] + bounds[1]) / 2.0


def _bounds(seen: Timed) -> tuple[float, float] | None:
    """The least and the most that it can have taken."""
    if seen.observed_status not in ENDS or seen.round:
        return None
    ours, theirs = _ours(seen), _theirs(seen)
    if ours and theirs:
        both = max(ours[0], theirs[0]), min(ours[1], theirs[1])
        bounds = both if both[0] <= both[1] else ours
    else:
        bounds = ours or theirs or (-1.0, -1.0)
    return bounds if bounds[1] >= 0.0 else None


def _ours(seen: Timed) -> tuple[float, float] | None:
    if seen.sent_at is None or seen.observed_at is None:
        return None
    last = max(seen.live_at or seen.sent_at, seen.sent_at)
    high = (seen.observed_at - seen.sent_at).total_seconds()
    return min((last - seen.sent_at).total_seconds(), high), high


def _theirs(seen: Timed) -> tuple[float, float] | None:
    if seen.remote_created_at is None or seen.remote_ended_at is None:
        return None
    seconds = (seen.remote_ended_at - seen.remote_created_at).total_seconds()
    return max(seconds - WHOLE_SECONDS, 0.0), seconds + WHOLE_SECONDS
