"""What the same runs would have cost under other ways to notice that they are over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Final, TypeAlias

from ledger.core.pacing.density import Density
from ledger.core.pacing.experience import Experience, RunClass
from ledger.core.pacing.policies import BACKOFF, COVERED, Pace
from ledger.core.pacing.rehearsal import looks
from ledger.core.pacing.schedule import Schedule, schedule_of
from ledger.core.record import record

TIGHT_SECONDS: Final = 0.1
SDK_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 2.5
WEBHOOK_SECONDS: Final = 0.6
"""A delivery comes so late where none was measured; second-hand, see docs/cost.md."""
MONTH_SECONDS: Final = 2_629_746
"""A twelfth of the mean year."""
FOLK_RUNS: Final = 50
"""From so many concurrent runs, it is said, webhooks pay."""
RELEARN_RUNS: Final = 200
"""In a replay, what is known is made anew after so many runs, as a life does once a minute."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


@record
class Lasted:
    """One object: its class, its place in the order of runs, and how long it took, in seconds."""

    of: RunClass
    place: tuple[int, int]
    seconds: float


Experienced: TypeAlias = Sequence[tuple[Lasted, Density | None]]
"""Objects, each with what was known of its class when it began."""


@record
class Figures:
    """Calls a run, and seconds from the end of a run to our noticing it."""

    runs: int
    calls: float
    mean: float
    p50: float
    p95: float
    p99: float


def figures(delays: Iterable[tuple[float, float]], *, runs: int, calls: float) -> Figures:
    """From (seconds, weight) each; `calls` are those of all runs. Raises ValueError for none."""
    ordered = sorted((delay, weight) for delay, weight in delays if weight > 0.0)
    whole = math.fsum(weight for _, weight in ordered)
    if not whole or not runs:
        raise ValueError("there is nothing to compare")

    def quantile(q: float) -> float:
        passed = 0.0
        for delay, weight in ordered:
            passed += weight
            if passed >= q * whole * (1.0 - 1e-12):
                return delay
        return ordered[-1][0]

    return Figures(
        runs=runs,
        calls=calls / runs,
        mean=math.fsum(delay * weight for delay, weight in ordered) / whole,
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
    )


def steady(durations: Sequence[float], interval: float) -> Figures:
    """A look each `interval` seconds; the first one after the first of them."""
    made = [max(math.ceil(seconds / interval - 1e-9), 1) for seconds in durations]
    delays = [
        (max(n * interval - seconds, 0.0), 1.0) for n, seconds in zip(made, durations, strict=True)
    ]
    return figures(delays, runs=len(durations), calls=sum(made))


def experienced(objects: Sequence[Lasted]) -> Experienced:
    """Each object with what was known of its class when it began: of those before it, from
    nothing on."""
    experience = Experience()
    found: list[tuple[Lasted, Density | None]] = []
    for number, one in enumerate(objects):
        known = experience.known(one.of, _EPOCH + timedelta(minutes=number // RELEARN_RUNS))
        found.append((one, known.density if known else None))
        experience.ended(one.of, one.place, one.seconds)
    return found


def learned(objects: Experienced, worth: float) -> Figures:
    """The learned policy: each run is paced by what ended before it."""
    calls, delays = 0, []
    for one, pace in paced(objects, worth, BACKOFF):
        ages = looks(pace, one.seconds)
        calls += len(ages)
        delays.append((ages[-1] - one.seconds, 1.0))
    return figures(delays, runs=len(objects), calls=calls)


def webhooks(objects: Experienced, worth: float, *, missed: float, after_seconds: float) -> Figures:
    """Deliveries `after_seconds` late, of which a share is `missed`, with the safety looks beside
    them that the learned policy makes for that share."""
    calls, delays = 0.0, []
    for one, pace in paced(objects, worth * missed, COVERED):
        ages = looks(pace, one.seconds)
        told = one.seconds + after_seconds
        # The read that a delivery asks for, unless a safety look came before it.
        before = sum(1 for age in ages if age < told)
        first = min(told, ages[-1])
        calls += missed * len(ages) + (1.0 - missed) * (before if first < told else before + 1)
        delays.append((first - one.seconds, 1.0 - missed))
        delays.append((ages[-1] - one.seconds, missed))
    return figures(delays, runs=len(objects), calls=calls)


def paced(objects: Experienced, worth: float, otherwise: Pace) -> Iterable[tuple[Lasted, Pace]]:
    """Each object with its pace; the densities live as long as `objects`, so do their ids."""
    made: dict[int, Schedule] = {}
    for one, density in objects:
        if density is None:
            yield one, otherwise
            continue
        if id(density) not in made:
            made[id(density)] = schedule_of(density, worth)
        yield one, made[id(density)]


def monthly_usd(saved_per_second: float, call_price: Decimal, runs: int) -> Decimal:
    """What so many runs at once save in a month, at so many calls a second saved by each."""
    return Decimal(repr(saved_per_second)) * call_price * runs * MONTH_SECONDS


def break_even(saved_per_second: float, call_price: Decimal, monthly: Decimal) -> int | None:
    """From how many runs at once an endpoint pays for itself; None is never, on price alone."""
    each = monthly_usd(saved_per_second, call_price, 1)
    if each <= 0:
        return None
    return max(int((monthly / each).to_integral_value(ROUND_CEILING)), 1)
