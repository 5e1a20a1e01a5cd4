"""What a policy would have cost for durations that are known: its calls, and how late it was."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from ledger.core.pacing.policies import Pace
from ledger.core.record import record


@record
class Rehearsed:
    """Calls a run and seconds from a run's end to the look that finds it, over some runs."""

    runs: int
    calls: float
    """A run, on average."""
    mean: float
    p50: float
    p95: float
    p99: float
    p999: float
    most: float


def looks(pace: Pace, until: float) -> list[float]:
    """The ages at which a run is looked at that lasts `until`; the last one finds its end."""
    age = 0.0
    found: list[float] = []
    while age < until or not found:
        age += pace.wait_seconds(age)
        found.append(age)
    return found


def rehearse(durations: Sequence[float], pace: Pace) -> Rehearsed:
    """Play a policy over durations in seconds. Raises ValueError without any."""
    if not durations:
        raise ValueError("there is nothing to rehearse")
    ages = looks(pace, max(durations))
    found = [bisect_left(ages, seconds) for seconds in durations]
    delays = [ages[k] - seconds for k, seconds in zip(found, durations, strict=True)]
    return summed(delays, calls=sum(found) + len(found))


def summed(delays: Sequence[float], *, calls: int) -> Rehearsed:
    """The figures of runs that were found so late, with so many calls in all."""
    ordered = sorted(delays)

    def quantile(q: float) -> float:
        return ordered[min(math.ceil(q * len(ordered)), len(ordered)) - 1]

    return Rehearsed(
        runs=len(ordered),
        calls=calls / len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
        p999=quantile(0.999),
        most=ordered[-1],
    )
