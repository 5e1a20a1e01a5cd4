"""When to look next: bounded whatever comes in, and a server's hint wins."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, later

from ledger.core.pacing import (
    CAP_SECONDS,
    COVERED_CAP_SECONDS,
    HINT_SECONDS_MAX,
    HINT_SECONDS_MIN,
    JITTER,
    START_SECONDS,
    TAIL_CAP_SECONDS,
    TROUBLE_CAP_SECONDS,
    Look,
    after_failure,
    covered_seconds,
    interval_seconds,
    next_look,
)

SPREAD = st.floats(0, 1, exclude_max=True)
AGES = st.floats(-1e9, 1e9)
HINTS = st.none() | st.floats(-1e12, 1e12) | st.sampled_from([math.inf, -math.inf, 0.0])


@pytest.mark.failure(20)
@given(age=AGES, fixed=st.none() | st.floats(0.01, 3_600), cap=st.sampled_from([5.0, 30.0]))
def test_an_interval_is_positive_and_finite(age: float, fixed: float | None, cap: float) -> None:
    """Never zero, never negative, never beyond the cap or the fixed value."""
    seconds = interval_seconds(age, fixed=fixed, cap=cap)
    assert 0 < seconds <= (fixed or cap)


@given(ages=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_intervals_grow_with_age(ages: tuple[float, float]) -> None:
    """The longer nothing changed, the longer the wait."""
    young, old = sorted(ages)
    assert interval_seconds(young) <= interval_seconds(old)


def test_the_backoff_multiplies_without_memory() -> None:
    """Waiting interval(age) again and again visits the instants of 0.5 s times 1.5."""
    age, waits = 0.0, []
    for _ in range(8):
        waits.append(interval_seconds(age))
        age += waits[-1]
    wanted = [min(START_SECONDS * 1.5**n, CAP_SECONDS) for n in range(8)]
    assert pytest.approx(wanted) == waits


@pytest.mark.problem(20)
@pytest.mark.failure(18)
@given(
    age=st.none() | st.floats(-1e8, 1e8),
    hint=HINTS,
    fixed=st.none() | st.floats(0.01, 3_600),
    tail=st.booleans(),
    spread=SPREAD,
)
def test_the_next_look_lies_within_its_bounds(
    age: float | None, hint: float | None, fixed: float | None, tail: bool, spread: float
) -> None:
    """A hint wins up to its maximum; else the interval, a tenth up or down."""
    changed = None if age is None else NOW - timedelta(seconds=age)
    due = next_look(
        NOW, changed_at=changed, hint_seconds=hint, fixed=fixed, tail=tail, spread=spread
    )
    wait = (due - NOW).total_seconds()
    if hint is not None:
        assert due == NOW + timedelta(seconds=min(max(hint, HINT_SECONDS_MIN), HINT_SECONDS_MAX))
        return
    middle = interval_seconds(
        age or 0.0, fixed=fixed, cap=TAIL_CAP_SECONDS if tail else CAP_SECONDS
    )
    slack = 1e-5
    assert middle * (1 - JITTER) - slack <= wait <= middle * (1 + JITTER) + slack


@pytest.mark.problem(20)
@pytest.mark.failure(18, 30)
@given(failures=st.integers(0, 10**6), retry=HINTS, spread=SPREAD)
def test_trouble_is_met_with_patience_that_ends(
    failures: int, retry: float | None, spread: float
) -> None:
    """After a failure the wait is bounded, and never shorter than Retry-After asks.

    The first Retry-After is taken at its word; one that comes again is raised to the backoff.
    """
    due = after_failure(NOW, failures=failures, retry_after_seconds=retry, spread=spread)
    wait = (due - NOW).total_seconds()
    if retry is not None:
        asked = min(max(retry, 0), HINT_SECONDS_MAX)
        most = asked if failures <= 1 else max(asked, TROUBLE_CAP_SECONDS)
        assert asked - 1e-5 <= wait <= most * (1 + JITTER) + 1e-5
    else:
        assert 0 < wait <= TROUBLE_CAP_SECONDS * (1 + JITTER) + 1e-5


def test_failures_in_a_row_wait_longer() -> None:
    """Each further failure doubles up to the cap."""
    waits = [
        after_failure(NOW, failures=n, retry_after_seconds=None, spread=0.5) for n in range(1, 20)
    ]
    assert sorted(waits) == waits
    assert [later(0.5), later(TROUBLE_CAP_SECONDS)] == [waits[0], waits[-1]]


def test_a_hint_that_is_no_number_is_not_followed() -> None:
    """NaN asks for nothing: look and repetition come as if there were no hint."""
    looks = [
        next_look(NOW, changed_at=NOW, hint_seconds=hint, fixed=None, tail=False, spread=0.5)
        for hint in (math.nan, None)
    ]
    retries = [
        after_failure(NOW, failures=1, retry_after_seconds=hint, spread=0.5)
        for hint in (math.nan, None)
    ]
    assert looks[1] == looks[0]
    assert retries[1] == retries[0]


@given(age=AGES)
def test_a_covered_run_is_looked_at_less_and_never_too_late(age: float) -> None:
    """Beside webhooks looks are fewer at every age, and a lost delivery costs a minute at most."""
    seconds = covered_seconds(age)
    assert interval_seconds(age) < seconds <= COVERED_CAP_SECONDS


def test_a_look_is_prompted_until_it_was_made() -> None:
    """A delivery asks for one look, and only for one that comes after it."""
    told = Look(next_at=NOW, told=NOW)
    assert [True, True, False, False] == [
        told.prompted,
        replace(told, last=later(-1)).prompted,
        replace(told, last=NOW).prompted,
        Look(next_at=NOW).prompted,
    ]
