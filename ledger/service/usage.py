"""Calls made, counted in memory and rolled up by the hour."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime


def hour_of(now: datetime) -> datetime:
    """The hour that is rolled up."""
    return now.replace(minute=0, second=0, microsecond=0)


def minute_of(now: datetime) -> datetime:
    """The minute that is rolled up."""
    return now.replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made: its operation, `ok` or the error's class, and how long it took."""

    operation: str
    result: str
    seconds: float


class Usage:
    """Counts calls by hour, account, operation and outcome."""

    def __init__(self) -> None:
        self._counts: dict[tuple[datetime, int, str, str], list[float]] = defaultdict(
            lambda: [0, 0.0]
        )

    def count(
        self, now: datetime, account_id: int, operation: str, outcome: str, seconds: float
    ) -> None:
        """Count one call."""
        entry = self._counts[hour_of(now), account_id, operation, outcome]
        entry[0] += 1
        entry[1] += seconds

    def take(self) -> list[tuple[datetime, int, str, str, int, float]]:
        """What was counted since the last time."""
        counts, self._counts = dict(self._counts), defaultdict(lambda: [0, 0.0])
        return [(*key, int(calls), seconds) for key, (calls, seconds) in counts.items()]

    def put_back(self, rows: list[tuple[datetime, int, str, str, int, float]]) -> None:
        """What was taken could not be written: count it again."""
        for hour, account_id, operation, outcome, calls, seconds in rows:
            entry = self._counts[hour, account_id, operation, outcome]
            entry[0] += calls
            entry[1] += seconds
