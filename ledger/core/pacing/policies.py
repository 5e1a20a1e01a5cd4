"""How long each policy waits, given the age of a run."""

from __future__ import annotations

from typing import Final, Protocol

from ledger.core.record import record

START_SECONDS: Final = 0.5
FACTOR: Final = 1.5
CAP_SECONDS: Final = 5.0


class Pace(Protocol):
    """A policy at work."""

    def wait_seconds(self, age_seconds: float) -> float:
        """Seconds until the next look at a run of this age: more than 0, and finite."""


@record
class Backoff:
    """Waits that grow by a factor up to a cap, as a function of the age: an interval of
    start + age x (factor - 1) visits the same instants as multiplying each wait by the factor, and
    needs no memory of the last one."""

    start_seconds: float = START_SECONDS
    factor: float = FACTOR
    cap_seconds: float = CAP_SECONDS

    def wait_seconds(self, age_seconds: float) -> float:
        """Seconds until the next look."""
        grown = self.start_seconds + max(age_seconds, 0.0) * (self.factor - 1.0)
        return min(grown, self.cap_seconds)


@record
class Fixed:
    """The same wait each time."""

    seconds: float

    def wait_seconds(self, age_seconds: float) -> float:  # noqa: ARG002
        """Seconds until the next look."""
        return self.seconds


BACKOFF: Final = Backoff()
TAIL: Final = Backoff(cap_seconds=30.0)
"""A run that has its verdict hurries nobody."""
COVERED: Final = Backoff(start_seconds=5.0, factor=2.0, cap_seconds=60.0)
"""Looks beside webhooks, as long as nothing is known of the class: only for deliveries that are
lost, so few, and none too late."""
