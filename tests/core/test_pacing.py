"""When to look next: bounded whatever comes in, and a server's hint wins."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, accepted, context, later, response, seen

from ledger.core.alphabet import Source
from ledger.core.decide import arm, decide
from ledger.core.model import Facts
from ledger.core.pacing import Look, after_failure
from ledger.core.pacing.looks import HINT_SECONDS_MAX, JITTER, TROUBLE_CAP_SECONDS
from ledger.core.pacing.next_look import (
    DEADLINE_SECONDS,
    EXPIRED_SECONDS,
    HINT_SECONDS_MIN,
    LEARNED,
    Choice,
    Sight,
    next_look,
)
from ledger.core.pacing.policies import (
    BACKOFF,
    CAP_SECONDS,
    COVERED,
    START_SECONDS,
    TAIL,
    Backoff,
    Fixed,
)
from ledger.core.policy import Policy
from ledger.core.steps import Create

SPREAD = st.floats(0, 1, exclude_max=True)
AGES = st.floats(-1e9, 1e9)
AGO = Look(next_at=NOW)
HINTS = st.none() | st.floats(-1e12, 1e12) | st.sampled_from([math.inf, -math.inf, 0.0])


@pytest.mark.failure(20)
@given(age=AGES, pace=st.sampled_from([BACKOFF, TAIL, COVERED]))
def test_an_interval_is_positive_and_finite(age: float, pace: Backoff) -> None:
    """Never zero, never negative, never beyond the cap."""
    assert 0 < pace.wait_seconds(age) <= pace.cap_seconds


@given(ages=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_intervals_grow_with_age(ages: tuple[float, float]) -> None:
    """The longer nothing changed, the longer the wait."""
    young, old = sorted(ages)
    assert BACKOFF.wait_seconds(young) <= BACKOFF.wait_seconds(old)


def test_the_backoff_multiplies_without_memory() -> None:
    """Waiting interval(age) again and again visits the instants of 0.5 s times 1.5."""
    age, waits = 0.0, []
    for _ in range(8):
        waits.append(BACKOFF.wait_seconds(age))
        age += waits[-1]
    wanted = [min(START_SECONDS * 1.5**n, CAP_SECONDS) for n in range(8)]
    assert pytest.approx(wanted) == waits


def running(age: float | None = None, *, expires: float | None = None, **fields: Any) -> Facts:
    """A run whose object was sent, and last changed, `age` seconds ago."""
    facts = accepted(policy=Policy(**fields))
    facts = arm(facts, Create(1), context()).after
    facts = decide(facts, seen(response()), context(), source=Source.create).after
    at = None if age is None else NOW - timedelta(seconds=age)
    end = None if expires is None else later(expires)
    remote = replace(facts.remote(1), sent_at=at, changed_at=at, expires_at=end)
    return replace(facts, remotes=(remote,))


def wait_of(facts: Facts, look: Look = AGO, **sight: Any) -> float:
    return (next_look(facts, NOW, Sight(n=1, look=look, **sight)).at - NOW).total_seconds()


@pytest.mark.problem(20)
@pytest.mark.failure(18)
@given(
    age=st.none() | st.floats(-1e8, 1e8),
    hint=HINTS,
    fixed=st.none() | st.floats(0.01, 3_600),
    spread=SPREAD,
)
def test_the_next_look_lies_within_its_bounds(
    age: float | None, hint: float | None, fixed: float | None, spread: float
) -> None:
    """A hint wins up to its maximum; else the interval, a tenth up or down."""
    facts = running(age, poll_seconds=fixed)
    wait = wait_of(facts, hint_seconds=hint, spread=spread)
    if hint is not None:
        assert pytest.approx(min(max(hint, HINT_SECONDS_MIN), HINT_SECONDS_MAX), abs=1e-5) == wait
        return
    middle = fixed or BACKOFF.wait_seconds(max(age or 0.0, 0.0))
    slack = 1e-5
    assert middle * (1 - JITTER) - slack <= wait <= middle * (1 + JITTER) + slack


@pytest.mark.problem(20)
@given(age=st.floats(0, 1e6), left=st.floats(0.01, 1e6), pace=st.floats(1e-3, 1e9))
def test_no_look_comes_after_what_ends_the_wait(age: float, left: float, pace: float) -> None:
    """However long the policy would wait: shortly after the object's expiry, and shortly before the
    run's deadline, there is a look."""
    choice = Choice(pace=Fixed(seconds=pace))
    assert 0 < wait_of(running(age, expires=left), choice=choice) <= left + EXPIRED_SECONDS + 1e-5
    short = wait_of(running(age, deadline_seconds=left), choice=choice)
    assert short > 0
    assert left <= DEADLINE_SECONDS or short <= left - DEADLINE_SECONDS + 1e-5


def test_who_paces_is_chosen_by_what_is_known() -> None:
    """The caller's own interval before webhooks, those before the policy; a delivery that came
    before its news, and a cancel, bring looks close together again."""
    told = Look(next_at=NOW, told=later(-1))
    choice = Choice(pace=Fixed(seconds=40), name=LEARNED, covered=Fixed(seconds=50))
    alone = replace(choice, covered=None)
    cancelled = running(9)
    cancelled = replace(cancelled, run=replace(cancelled.run, cancel_requested_at=NOW))
    assert [7, 50, 40, 1.0, 5.0] == [
        wait_of(running(9, poll_seconds=7), choice=choice),
        wait_of(running(9), choice=choice),
        wait_of(running(9), choice=alone),
        wait_of(running(9), told, choice=choice),
        wait_of(cancelled, choice=choice),
    ]


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
    looks = [wait_of(running(0), hint_seconds=hint) for hint in (math.nan, None)]
    retries = [
        after_failure(NOW, failures=1, retry_after_seconds=hint, spread=0.5)
        for hint in (math.nan, None)
    ]
    assert looks[1] == looks[0]
    assert retries[1] == retries[0]


@given(age=AGES)
def test_a_covered_run_is_looked_at_less_and_never_too_late(age: float) -> None:
    """Beside webhooks looks are fewer at every age, and a lost delivery costs a minute at most."""
    assert BACKOFF.wait_seconds(age) < COVERED.wait_seconds(age) <= 60.0


def test_a_look_is_prompted_until_it_was_made() -> None:
    """A delivery asks for one look, and only for one that comes after it."""
    told = Look(next_at=NOW, told=NOW)
    assert [True, True, False, False] == [
        told.prompted,
        replace(told, last=later(-1)).prompted,
        replace(told, last=NOW).prompted,
        Look(next_at=NOW).prompted,
    ]
