"""From what is known of a class to the ages at which its runs are looked at.

Looks cost one call each, and a second of delay is worth `worth` calls. Where the hazard of the end
is h, the interval that costs least is sqrt(2 / (worth h)): so looks are laid out evenly in the
integral of sqrt(worth h / 2). That rule is exact for many looks a run. For few, a dynamic programme
over a grid of ages, fine enough for the rule, finds what is best.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from ledger.core.pacing.density import BINS, EDGES, Density
from ledger.core.record import record

WAIT_SECONDS_MIN: Final = 0.1
WAIT_SECONDS_MAX: Final = 600.0
"""Whatever is known of a class, a run of it may be another: none is left alone for longer."""
WORTH_MIN: Final = 1e-6
WORTH_MAX: Final = 1e6
FEW_LOOKS: Final = 16.0
"""Below so many looks a run the programme beats the rule by more than it costs to find out."""
PER_LOOK: Final = 8
"""Points of the programme's grid for each look of the rule."""
AHEAD: Final = 5 * PER_LOOK
REST: Final = 1e-3
"""For the last share of runs the rule is good enough."""


@record
class Schedule:
    """When to look next, by age: `following[k]` after `ages[k]`, straight lines in between."""

    ages: tuple[float, ...]
    following: tuple[float, ...]

    def wait_seconds(self, age_seconds: float) -> float:
        """Seconds until the next look at a run of this age."""
        age = max(age_seconds, 0.0)
        return min(max(self._next(age) - age, WAIT_SECONDS_MIN), WAIT_SECONDS_MAX)

    def _next(self, age: float) -> float:
        k = bisect_right(self.ages, age) - 1
        if k >= len(self.ages) - 1:
            return math.inf
        before, after = self.ages[k], self.ages[k + 1]
        part = (age - before) / (after - before)
        return self.following[k] + part * (self.following[k + 1] - self.following[k])


def schedule_of(density: Density, worth: float) -> Schedule:
    """The schedule that costs least in calls and in delay, at `worth` calls a second of delay."""
    worth = min(max(worth, WORTH_MIN), WORTH_MAX)
    rule = Rule(density, worth)
    if rule.calls >= FEW_LOOKS:
        head: list[float] = []
        best: list[float] = []
    else:
        head, best = _programme(rule, density, worth)
    rest = [edge for edge in (0.0, *EDGES) if not head or edge > head[-1]]
    following = [*best, *(rule.after(age) for age in rest)]
    return Schedule(ages=(*head, *rest), following=tuple(following))


class Rule:
    """The square root's rule: looks one apart in the integral of sqrt(worth h / 2)."""

    def __init__(self, density: Density, worth: float) -> None:
        alive = density.alive
        half = (
            math.sqrt(worth * share / (left - share / 2.0) * (end - start) / 2.0) if share else 0.0
            for share, left, start, end in zip(
                density.mass, alive, (0.0, *EDGES[1:-1]), EDGES[1:], strict=False
            )
        )
        self.edges = (0.0, *EDGES[1:])
        self.looks = tuple(accumulate(half, initial=0.0))
        self.calls = sum(
            share * (at + more) / 2.0
            for share, at, more in zip(density.mass, self.looks, self.looks[1:], strict=False)
        )

    def looks_by(self, age: float) -> float:
        """How many looks the rule makes up to this age."""
        return _along(self.edges, self.looks, age)

    def age_at(self, looks: float) -> float:
        """The age of so many looks; infinite where the rule makes no more."""
        return _along(self.looks, self.edges, looks) if looks < self.looks[-1] else math.inf

    def after(self, age: float) -> float:
        """The age of the look that follows one at `age`."""
        return min(self.age_at(self.looks_by(age) + 1.0), age + WAIT_SECONDS_MAX)


def _programme(rule: Rule, density: Density, worth: float) -> tuple[list[float], list[float]]:
    """Ages, and the best next age after each: least calls and delay from there to the end."""
    ages = _grid(rule, density)
    curve = density.curve
    ended, moment = zip(*(curve(age) for age in ages), strict=True)
    planned = next((k for k, share in enumerate(ended) if 1.0 - share < REST), len(ages) - 1)
    cost = [0.0] * len(ages)
    after_all = _costs_of_rule(rule, density, ages)
    cost[planned:] = after_all[planned:]
    choice = [k + PER_LOOK for k in range(len(ages))]
    for i in range(planned - 1, -1, -1):
        best = math.inf
        for j in range(i + 1, min(i + AHEAD, choice[i + 1] + 1, len(ages))):
            late = ages[j] * (ended[j] - ended[i]) - (moment[j] - moment[i])
            total = (1.0 - ended[i]) + worth * late + cost[j]
            if total < best:
                best, choice[i] = total, j
        cost[i] = best
    return list(ages[:planned]), [ages[choice[i]] for i in range(planned)]


def _grid(rule: Rule, density: Density) -> tuple[float, ...]:
    """Ages evenly spaced in looks, to where hardly any run is left and a little further."""
    left = bisect_right([-share for share in density.alive], -REST / 10.0)
    last = rule.looks[min(left, BINS)]
    points = int(last * PER_LOOK) + AHEAD
    found = [rule.age_at(k / PER_LOOK) for k in range(points)]
    return tuple(dict.fromkeys(age for age in found if age < math.inf))


def _costs_of_rule(rule: Rule, density: Density, ages: Sequence[float]) -> list[float]:
    """What runs that get so old cost from there on under the rule: as much in delay as in calls."""
    looked = [
        share * (at + more) / 2.0
        for share, at, more in zip(density.mass, rule.looks, rule.looks[1:], strict=False)
    ]
    behind = tuple(accumulate(reversed(looked), initial=0.0))[::-1]
    alive, costs = density.alive, []
    for age in ages:
        k = min(bisect_right(rule.edges, age) - 1, BINS - 1)
        costs.append(max(2.0 * (behind[k] - alive[k] * rule.looks_by(age)), 0.0))
    return costs


def _along(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The value at x of a line through points; xs must not fall."""
    k = min(max(bisect_right(xs, x) - 1, 0), len(xs) - 2)
    width = xs[k + 1] - xs[k]
    return ys[k] + (ys[k + 1] - ys[k]) * ((x - xs[k]) / width if width > 0.0 else 0.0)
