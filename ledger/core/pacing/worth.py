"""What a second of delay is worth in calls: given, or found for a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.core.pacing.density import Density
from ledger.core.pacing.policies import Pace
from ledger.core.pacing.schedule import WORTH_MAX, WORTH_MIN, schedule_of
from ledger.core.record import record

WORTH: Final = 10.0
"""With this the learned policy is about as prompt on a mix of short and long runs as the backoff,
for about half of the calls (`python -m benchmarks.polling`)."""
ROUNDS: Final = 6
LOOKS_MAX: Final = 5_000
REST: Final = 1e-4


@record
class Aim:
    """What a profile wants: a price, or one of two targets that a price is found for."""

    worth: float = WORTH
    notice_within_seconds: float | None = None
    """From a run's end to our noticing it, on average."""
    calls_per_minute: float | None = None
    """Looks at all runs of the profile together, on average."""

    @property
    def targeted(self) -> bool:
        """Whether the price has to be found."""
        return self.notice_within_seconds is not None or self.calls_per_minute is not None


@record
class Share:
    """A class's part in a profile's runs."""

    density: Density
    runs_per_minute: float


def worth_of(aim: Aim, mix: Sequence[Share]) -> float:
    """Calls that a second of delay is worth. Without runs to find it by, the usual price.

    Calls grow with the root of the price and delays fall with it, nearly: so each round corrects
    the price by the square of what is amiss.
    """
    target = aim.notice_within_seconds or aim.calls_per_minute
    mix = [share for share in mix if share.runs_per_minute > 0.0]
    if target is None or not mix:
        return aim.worth
    worth = aim.worth
    for _ in range(ROUNDS):
        calls, delay = _outcome(mix, worth)
        amiss = delay / target if aim.notice_within_seconds else target / max(calls, 1e-9)
        worth = min(max(worth * min(max(amiss**2, 0.01), 100.0), WORTH_MIN), WORTH_MAX)
    return worth


def _outcome(mix: Sequence[Share], worth: float) -> tuple[float, float]:
    """Calls a minute, and seconds of delay a run on average."""
    found = [(share, *expected(share.density, schedule_of(share.density, worth))) for share in mix]
    rate = sum(share.runs_per_minute for share, _, _ in found)
    calls = sum(share.runs_per_minute * calls for share, calls, _ in found)
    delay = sum(share.runs_per_minute * delay for share, _, delay in found)
    return calls, delay / rate


def expected(density: Density, pace: Pace) -> tuple[float, float]:
    """Calls a run and seconds of delay a run, on average, for runs of this density."""
    curve = density.curve
    age, (ended, moment), calls, delay = 0.0, (0.0, 0.0), 0.0, 0.0
    for _ in range(LOOKS_MAX):
        if 1.0 - ended < REST:
            break
        following = age + pace.wait_seconds(age)
        then = curve(following)
        calls += 1.0 - ended
        delay += following * (then[0] - ended) - (then[1] - moment)
        age, (ended, moment) = following, then
    return calls, delay
