"""Durations of many runs, summed up exactly: nearest rank, no estimate."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.core.record import record

PERCENTILES: Final = (50, 95, 99)
MEASURES: Final = ("queue", "run", "tool", "detection")
_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)


@record
class Measured:
    """One run as it is measured; `ended_at` is when upstream says that the work was over."""

    run_id: int
    group: str | None = None
    state: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ended_at: datetime | None = None

    def seconds(self, tools: float | None) -> dict[str, float | None]:
        """Its durations, each None where it is not known. `tools` is the time in tool calls."""
        ended = self.ended_at
        if ended is not None and (self.finished_at is None or ended > self.finished_at):
            # A tail that ended after the verdict was not what the verdict came from.
            ended = None
        return {
            "queue": _between(self.created_at, self.started_at),
            "run": _between(self.started_at, self.finished_at),
            "tool": tools,
            "detection": _between(ended, self.finished_at),
        }


@dataclass(slots=True)
class Tally:
    """Runs counted and timed together."""

    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    times: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("d") for name in MEASURES}
    )

    def add(self, run: Measured, seconds: Mapping[str, float | None]) -> None:
        """Count one more."""
        self.runs += 1
        self.outcomes[run.state] += 1
        for name, value in seconds.items():
            if value is not None:
                self.times[name].append(value)

    def view(self) -> dict[str, Any]:
        """As plain values; seconds."""
        return {
            "runs": self.runs,
            "outcomes": dict(sorted(self.outcomes.items())),
            **{name: percentiles(values) for name, values in self.times.items()},
        }


def percentiles(values: array[float]) -> dict[str, float | int | None]:
    """How many values, and their percentiles by nearest rank; None of none."""
    ordered = sorted(values)
    found: dict[str, float | int | None] = {"runs": len(ordered)}
    for percent in PERCENTILES:
        rank = -(-percent * len(ordered) // 100)
        found[f"p{percent}"] = round(ordered[rank - 1], 6) if ordered else None
    return found


def bucket_of(moment: datetime, seconds: float) -> datetime:
    """When the bucket begins that a moment falls into: on whole hours and days of UTC, weeks on
    Mondays, since buckets are counted from one."""
    return _MONDAY + timedelta(seconds=(moment - _MONDAY).total_seconds() // seconds * seconds)


def _between(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else (end - begin).total_seconds()
