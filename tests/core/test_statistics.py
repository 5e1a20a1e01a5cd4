"""Statistics by the standard library, against those of SciPy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.statistics import (
    benjamini_hochberg,
    fisher_greater,
    poisson_tail,
    quantile,
    rate_ratio,
    risk_ratio,
    wilson,
)

COUNTS = st.integers(0, 400)
SHARES = st.floats(0.0, 1.0)


def scipy_stats() -> Any:
    """A second to import, and every process that tests would spend it."""
    from scipy import stats

    return stats


@given(COUNTS, COUNTS)
def test_wilson_is_that_of_scipy(part: int, others: int) -> None:
    if part + others == 0:
        assert wilson(part, 0) is None
        return
    expected = scipy_stats().binomtest(part, part + others).proportion_ci(method="wilson")

    found = wilson(part, part + others)

    assert (expected.low, expected.high) == pytest.approx(found, abs=1e-12)


@given(COUNTS, COUNTS, COUNTS, st.integers(1, 400))
def test_fisher_is_that_of_scipy(a: int, b: int, c: int, d: int) -> None:
    expected = scipy_stats().hypergeom.sf(a - 1, a + b + c + d, a + c, a + b)

    assert expected == pytest.approx(fisher_greater(a, b, c, d), rel=1e-9, abs=1e-14)


def test_fisher_of_large_tables() -> None:
    """A day of 50,000 runs: far tails are small, and not nothing."""
    for table in ((40, 9_960, 1_200, 38_800), (900, 9_100, 1_200, 38_800), (3, 99_000, 30_000, 9)):
        a, b, c, _ = table
        expected = scipy_stats().hypergeom.logsf(a - 1, sum(table), a + c, a + b)
        assert expected == pytest.approx(math.log(fisher_greater(*table)), rel=1e-8, abs=1e-9)
    assert 1.0 == fisher_greater(0, 5, 7, 50_000)


@given(st.integers(1, 300), COUNTS, st.integers(1, 300), COUNTS)
def test_the_risk_ratio_is_that_of_scipy(a: int, b: int, c: int, d: int) -> None:
    expected = scipy_stats().contingency.relative_risk(a, a + b, c, c + d)
    interval = expected.confidence_interval(0.95)

    found = risk_ratio(a, a + b, c, c + d)

    assert found is not None
    assert (expected.relative_risk, interval.low, interval.high) == pytest.approx(found, rel=1e-9)


def test_ratios_of_nothing() -> None:
    """Where one side has no failure half of one is added to all; where it has nobody, no ratio."""
    corrected = (5.5 / 100.5) / (0.5 / 200.5)

    found = risk_ratio(5, 100, 0, 200)

    assert found is not None
    assert corrected == pytest.approx(found.value)
    assert 1.0 < found.low < found.value < found.high
    assert risk_ratio(0, 0, 3, 10) is None
    assert rate_ratio(3, 0.0, 1, 60.0) is None


def test_the_rate_ratio_is_that_of_two_poisson_counts() -> None:
    """Thirty in one hour beside ten in two: six times as often; the interval is log-normal."""
    found = rate_ratio(30, 3_600.0, 10, 7_200.0)

    assert found is not None
    assert 6.0 == pytest.approx(found.value)
    assert math.log(found.high) - math.log(found.low) == pytest.approx(
        2 * scipy_stats().norm.ppf(0.975) * math.sqrt(1 / 30 + 1 / 10)
    )


@given(st.lists(SHARES, max_size=60))
def test_benjamini_hochberg_is_that_of_scipy(ps: list[float]) -> None:
    expected = scipy_stats().false_discovery_control(ps).tolist() if ps else []

    assert expected == pytest.approx(benjamini_hochberg(ps), abs=1e-12)


@given(st.integers(0, 500), st.floats(0.01, 400.0))
def test_the_poisson_tail_is_that_of_scipy(count: int, mean: float) -> None:
    expected = scipy_stats().poisson.sf(count - 1, mean)

    assert expected == pytest.approx(poisson_tail(count, mean), rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), SHARES)
def test_quantiles_are_values_of_the_list(values: list[float], q: float) -> None:
    """The least value that at least a share q of all does not exceed."""
    found = quantile(sorted(values), q)

    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) * (1 - 1e-9)
    assert sum(value < found for value in values) <= max(q * len(values), 0.0)
    assert quantile([], q) is None
