"""How long the runs of a class take: what is known of it, as a density over ages on a log scale.

Durations of what ended are smoothed; what is still going counts as "longer than its age"
(Kaplan-Meier), since leaving it out would take every class for shorter than it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

from ledger.core.record import record

FIRST_SECONDS: Final = 0.05
STEP: Final = 0.04
"""The width of a bin, as a natural logarithm: 4 %."""
BINS: Final = 440
EDGES: Final = tuple(FIRST_SECONDS * math.exp(STEP * k) for k in range(BINS + 1))
"""Ages in seconds, to a little over 25 days."""
PRIOR_MEDIAN_SECONDS: Final = 40.0
PRIOR_SIGMA: Final = 1.8
"""Between a chat answer of two seconds and a research run of an hour lies most of what there is."""
WIDTH_SIGMA: Final = 0.7
WIDTH_RUNS: Final = 3.0
"""A few durations say little about their spread: so many runs of that spread are added."""
WIDTH_MIN: Final = 0.05
PARENT_RUNS: Final = 1.0
"""The broader class counts as much as this many runs of the class itself."""

Weighted: TypeAlias = Sequence[tuple[float, float]]
"""(seconds, weight) each."""


@record
class Density:
    """The share of runs that end in each bin, and how many runs say so."""

    mass: tuple[float, ...]
    runs: float

    @property
    def alive(self) -> tuple[float, ...]:
        """The share that still runs at each edge, from 1 to 0; summed up from its small end."""
        return tuple(accumulate(reversed(self.mass), initial=0.0))[::-1]

    def quantile(self, share: float) -> float:
        """The age in seconds by which so many have ended."""
        ended = tuple(accumulate(self.mass, initial=0.0))
        k = min(max(bisect_right(ended, share) - 1, 0), BINS - 1)
        part = (share - ended[k]) / self.mass[k] if self.mass[k] else 0.0
        return EDGES[k] + min(part, 1.0) * (EDGES[k + 1] - EDGES[k])

    @property
    def curve(self) -> Callable[[float], tuple[float, float]]:
        """A function of the age: the share that has ended by then, and the sum of its ages."""
        edges = (0.0, *EDGES[1:])
        ended = tuple(accumulate(self.mass, initial=0.0))
        aged = (
            share * (start + end) / 2.0
            for share, start, end in zip(self.mass, edges, edges[1:], strict=False)
        )
        moment = tuple(accumulate(aged, initial=0.0))

        def at(age: float) -> tuple[float, float]:
            k = min(bisect_right(edges, age) - 1, BINS - 1)
            start, end = edges[k], edges[k + 1]
            part = min((age - start) / (end - start), 1.0)
            share = self.mass[k] * part
            return ended[k] + share, moment[k] + share * (start + part * (end - start) / 2.0)

        return at


def bin_of(seconds: float) -> int:
    """The bin of a duration; what is outside counts as just inside."""
    if not seconds > FIRST_SECONDS:
        return 0
    return min(int(math.log(min(seconds, EDGES[-1]) / FIRST_SECONDS) / STEP), BINS - 1)


@cache
def prior() -> Density:
    """What is assumed of a run of which nothing is known."""
    place = math.log(PRIOR_MEDIAN_SECONDS)
    shares = [_normal((math.log(edge) - place) / PRIOR_SIGMA) for edge in EDGES]
    whole = shares[-1] - shares[0]
    mass = tuple((b - a) / whole for a, b in pairwise(shares))
    return Density(mass=mass, runs=0.0)


def density_of(ended: Weighted, going: Weighted, broader: Density) -> Density:
    """What `ended` durations and the ages of those still `going` say, leaning on a broader class.

    Durations must be finite and not negative.
    """
    runs = sum(weight for _, weight in ended)
    if not ended and not going:
        return evolved(broader, 0.0)
    steps, left, last = _survival(_binned(ended), _binned(going))
    smooth = _smoothed(steps, _width(ended)) if ended else [0.0] * BINS
    beyond = _beyond(broader.mass, last)
    own = [share + left * tail for share, tail in zip(smooth, beyond, strict=True)]
    trust = (runs + sum(w for _, w in going)) if not ended else runs
    weight = trust / (trust + PARENT_RUNS)
    mixed = [
        weight * mine + (1.0 - weight) * theirs
        for mine, theirs in zip(own, broader.mass, strict=True)
    ]
    return Density(mass=_normalised(mixed), runs=runs)


def evolved(density: Density, runs: float) -> Density:
    """The same shape, said by another number of runs."""
    return Density(mass=density.mass, runs=runs)


def _binned(sample: Weighted) -> list[float]:
    counts = [0.0] * BINS
    for seconds, weight in sample:
        counts[bin_of(seconds)] += weight
    return counts


def _survival(ended: list[float], going: list[float]) -> tuple[list[float], float, int]:
    """Kaplan-Meier over the bins: the share that ends in each, the share beyond them all, and the
    last bin that anybody was seen in."""
    at_risk = sum(ended) + sum(going)
    alive, last, shares = 1.0, 0, [0.0] * BINS
    for k in range(BINS):
        if ended[k] or going[k]:
            last = k
        if ended[k]:
            shares[k] = alive * min(ended[k] / at_risk, 1.0)
            alive -= shares[k]
        at_risk -= ended[k] + going[k]
    return shares, max(alive, 0.0) if alive > 1e-9 else 0.0, last


def _beyond(mass: Sequence[float], last: int) -> list[float]:
    """The broader class's shares behind bin `last`, as a whole of their own."""
    tail = [0.0] * (last + 1) + list(mass[last + 1 :])
    whole = sum(tail)
    if whole > 0.0:
        return [share / whole for share in tail]
    return [0.0] * (BINS - 1) + [1.0]


def _width(ended: Weighted) -> float:
    """The bandwidth of the smoothing, in logarithms (Silverman's rule, against outliers)."""
    logs = sorted((math.log(max(seconds, FIRST_SECONDS)), weight) for seconds, weight in ended)
    runs = sum(weight for _, weight in logs)
    mean = sum(value * weight for value, weight in logs) / runs
    square = sum(weight * (value - mean) ** 2 for value, weight in logs)
    sigma = math.sqrt((square + WIDTH_RUNS * WIDTH_SIGMA**2) / (runs + WIDTH_RUNS))
    quarters = _at(logs, 0.75 * runs) - _at(logs, 0.25 * runs)
    if runs >= 10 and quarters > 0.0:
        sigma = min(sigma, quarters / 1.34)
    return float(max(0.9 * sigma * max(runs, 1.0) ** -0.2, WIDTH_MIN))


def _at(logs: Weighted, weight: float) -> float:
    """The value below which so much weight lies."""
    passed = 0.0
    for value, own in logs:
        passed += own
        if passed >= weight:
            return value
    return logs[-1][0]


def _smoothed(shares: list[float], width: float) -> list[float]:
    """Shares spread out by a normal kernel; what would leave the bins stays in the outermost."""
    kernel = _kernel(round(width / STEP, 2))
    reach = len(kernel) - 1
    spread = [0.0] * BINS
    for k, share in enumerate(shares):
        if share:
            for j in range(-reach, reach + 1):
                spread[min(max(k + j, 0), BINS - 1)] += share * kernel[abs(j)]
    return spread


@cache
def _kernel(bins: float) -> tuple[float, ...]:
    """Half of a discrete normal kernel, `bins` wide."""
    reach = max(1, math.ceil(4.0 * bins))
    half = [_normal((j + 0.5) / bins) - _normal((j - 0.5) / bins) for j in range(reach + 1)]
    whole = half[0] + 2.0 * sum(half[1:])
    return tuple(share / whole for share in half)


def _normalised(mass: Iterable[float]) -> tuple[float, ...]:
    found = tuple(mass)
    whole = sum(found)
    return tuple(share / whole for share in found)


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
