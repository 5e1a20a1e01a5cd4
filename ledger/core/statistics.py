"""The statistics that reports are made with, by the standard library alone.

All functions are exact where that is cheap, and say in their docstring where they are not. Counts
are whole numbers; shares, p and q lie within [0, 1]; intervals cover 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

Z: Final = 1.959963984540054
"""95 % of a normal distribution lie within so many standard deviations."""
_NEGLIGIBLE: Final = 1e-18


class Ratio(NamedTuple):
    """A ratio with its interval."""

    value: float
    low: float
    high: float


def wilson(part: int, whole: int) -> tuple[float, float] | None:
    """Wilson's interval for a share; None of nothing."""
    if not whole:
        return None
    share = part / whole
    below = 1.0 + Z * Z / whole
    middle = (share + Z * Z / (2.0 * whole)) / below
    width = Z / below * math.sqrt(share * (1.0 - share) / whole + (Z / (2.0 * whole)) ** 2)
    # The ends are 0 and 1 by the formula, and not always by its arithmetic.
    low = 0.0 if part == 0 else max(middle - width, 0.0)
    return low, 1.0 if part == whole else min(middle + width, 1.0)


def fisher_greater(a: int, b: int, c: int, d: int) -> float:
    """The one-sided p of Fisher's exact test: that a or more would fall into the first cell.

    The table is ((a, b), (c, d)): with the value, failed and not; without it, the same.
    """
    row, column, whole = a + b, a + c, a + b + c + d
    if a <= max(column - (whole - row), 0):
        return 1.0
    last = min(row, column)
    if a * whole <= row * column:
        # The tail is the larger part: take what lies below it.
        below = _hypergeometric(range(a - 1, -1, -1), row, column, whole)
        return max(1.0 - below, 0.0)
    return min(_hypergeometric(range(a, last + 1), row, column, whole), 1.0)


def _hypergeometric(counts: range, row: int, column: int, whole: int) -> float:
    """The chance of any of these counts, which lead away from the likeliest one."""
    rest = whole - column - row
    k = counts[0]
    term = math.exp(
        _log_choose(column, k) + _log_choose(whole - column, row - k) - _log_choose(whole, row)
    )
    total = 0.0
    for k in counts:
        total += term
        if term <= total * _NEGLIGIBLE:
            break
        if counts.step > 0:
            term *= (column - k) * (row - k) / ((k + 1) * (rest + k + 1))
        else:
            term *= k * (rest + k) / ((column - k + 1) * (row - k + 1))
    return total


def risk_ratio(a: int, with_value: int, c: int, without: int) -> Ratio | None:
    """How often a of `with_value` is what c of `without` is, with Katz's interval.

    Where a or c is none, one half is added to each count. None where a side has nobody.
    """
    if not with_value or not without:
        return None
    more = 0.0 if a and c else 0.5
    top, bottom = (a + more) / (with_value + more), (c + more) / (without + more)
    spread = 1.0 / (a + more) - 1.0 / (with_value + more)
    spread += 1.0 / (c + more) - 1.0 / (without + more)
    return _around(top / bottom, spread)


def rate_ratio(a: int, time_a: float, b: int, time_b: float) -> Ratio | None:
    """How often a in `time_a` is what b in `time_b` is, both counted as they come (Poisson).

    Where a or b is none, one half is added to each. None for a time that is not above 0.
    """
    if time_a <= 0.0 or time_b <= 0.0:
        return None
    more = 0.0 if a and b else 0.5
    ratio = (a + more) / time_a / ((b + more) / time_b)
    return _around(ratio, 1.0 / (a + more) + 1.0 / (b + more))


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """The q of each p: the share of false findings among those that are as small."""
    order = sorted(range(len(ps)), key=ps.__getitem__, reverse=True)
    found, least = [1.0] * len(ps), 1.0
    for rank, index in zip(range(len(ps), 0, -1), order, strict=True):
        least = min(least, ps[index] * len(ps) / rank)
        found[index] = least
    return found


def poisson_tail(count: int, mean: float) -> float:
    """The chance of `count` or more where `mean` come on average."""
    if count <= 0:
        return 1.0
    if mean <= 0.0:
        return 0.0
    if count <= mean:
        # The tail is the larger part: take what lies below it.
        return max(1.0 - _poisson_sum(range(count - 1, -1, -1), mean), 0.0)
    far = count + 10 + int(mean + 12.0 * math.sqrt(mean + count))
    return min(_poisson_sum(range(count, far), mean), 1.0)


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest rank: the least of the ordered values that a share q does not exceed."""
    if not ordered:
        return None
    rank = math.ceil(q * len(ordered) * (1.0 - 1e-12))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def _poisson_sum(counts: range, mean: float) -> float:
    total = 0.0
    for k in counts:
        term = math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return total


def _around(ratio: float, spread: float) -> Ratio:
    """The interval of a ratio whose logarithm has this variance."""
    width = math.exp(Z * math.sqrt(max(spread, 0.0)))
    return Ratio(ratio, ratio / width, ratio * width)


def _log_choose(whole: int, part: int) -> float:
    return math.lgamma(whole + 1) - math.lgamma(part + 1) - math.lgamma(whole - part + 1)
