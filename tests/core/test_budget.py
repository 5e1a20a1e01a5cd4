"""One budget per credential: never beyond the limit, never stopped for good."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.budget import LIMIT_MIN, Budget
from ledger.core.limits import Limits, parse_reset, read_limits
from ledger.core.pacing.looks import HINT_SECONDS_MAX

START = 1_700_000_000.0
LIMITS = st.floats(1.0, 5_000.0)
ODD = st.floats() | st.none() | st.sampled_from([0.0, -1.0, math.inf, math.nan, 1e300])
HEADERS = st.text(max_size=50) | st.sampled_from(["0", "-5", "1e400", "nan", "inf", "9" * 39, "٣"])


def sent(budget: Budget, *, seconds: float, start: float = START) -> list[float]:
    """When calls go out if there are always more."""
    now, found = start, []
    while now < start + seconds:
        if budget.take(now):
            found.append(now)
        else:
            now += budget.wait(now)
    return found


def most(times: Sequence[float], window: float = 60.0) -> int:
    """The most calls in any window."""
    found = begin = 0
    for end, time in enumerate(times):
        while times[begin] <= time - window:
            begin += 1
        found = max(found, end - begin + 1)
    return found


def headers(**values: str) -> Limits | None:
    named = {f"x-ratelimit-{name}-requests": value for name, value in values.items()}
    return read_limits(named.get)


def seen(limit: float | None, remaining: float | None = None) -> Limits:
    return Limits(limit, remaining, 1.0)


@pytest.mark.problem(20)
@given(limit=LIMITS, idle=st.floats(0, 1e6))
@settings(max_examples=25, deadline=None)
def test_no_minute_has_more_calls_than_the_limit(limit: float, idle: float) -> None:
    """Also after a rest, when the whole burst is there; and nearly all of the limit is used."""
    budget = Budget(configured=limit)
    budget.take(START)
    times = sent(budget, seconds=200, start=START + idle)

    assert most(times) <= limit
    assert len(times) >= math.floor(limit) * 200 / 60 * 0.9 - 1


@given(limit=LIMITS, lives=st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_lives_together_keep_the_limit(limit: float, lives: int) -> None:
    """Each has its part, and no part is more than one call beyond it in a minute."""
    times = []
    for number in range(lives):
        budget = Budget(configured=limit, share=1 / lives)
        times += sent(budget, seconds=130, start=START + number * 0.01)

    assert most(sorted(times)) <= limit + lives


@pytest.mark.problem(20)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "force", "back", "saw", "refused", "hold", "wait", "worked"]),
            st.floats(-1e4, 1e4),
            ODD,
            ODD,
        ),
        max_size=60,
    ),
    configured=st.none() | LIMITS,
)
@settings(max_examples=60, deadline=None)
def test_after_any_history_it_goes_on(
    steps: list[tuple[str, float, float | None, float | None]], configured: float | None
) -> None:
    """Whatever was said and however the clock was set: the wait is finite and ends, and a
    configured limit still holds."""
    budget, now = Budget(configured=configured), START
    for what, passed, one, other in steps:
        now += passed
        _step(budget, what, now, one, other)
        assert 0.0 <= budget.wait(now) < math.inf

    now += HINT_SECONDS_MAX + 120.0
    assert budget.wait(now) <= 130.0
    assert budget.take(now + budget.wait(now))
    if configured is not None:
        assert most(sent(budget, seconds=130, start=now + 200)) <= configured


def _step(budget: Budget, what: str, now: float, one: float | None, other: float | None) -> None:
    if what == "take":
        budget.take(now)
    elif what == "force":
        budget.force(now)
    elif what == "back":
        budget.give_back(now)
    elif what == "saw":
        said = headers(limit=repr(one), remaining=repr(other), reset=repr(other))
        if said is not None:
            budget.saw(said, now)
    elif what == "refused":
        budget.refused(now, started=now - 1, retry_after=one, spread=0.5)
    elif what == "hold" and one is not None:
        budget.hold(now + one, now)
    elif what == "worked":
        budget.worked(now)
    else:
        budget.wait(now)


def test_a_seen_limit_never_lifts_the_configured_one() -> None:
    """The lower one of the two counts."""
    budget = Budget(configured=100)
    budget.saw(seen(10_000), START)
    assert 100 == budget.limit
    budget.saw(seen(20), START)
    assert 20 == budget.limit


def test_of_two_limits_the_lower_is_believed_for_a_while() -> None:
    """Models differ in theirs; a limit that was raised is noticed ten minutes later."""
    budget = Budget()
    for named, at in ((500, 0), (60, 1), (500, 2), (500, 590)):
        budget.saw(seen(named), START + at)
    assert 60 == budget.limit
    budget.saw(seen(500), START + 602)
    assert 500 == budget.limit


def test_what_another_life_saw_long_ago_prolongs_nothing() -> None:
    """The row of an account is read again and again: the time it names is what counts."""
    budget = Budget()
    budget.told(60, START, START + 5)
    assert 60 == budget.limit
    for minute in range(11):
        budget.told(60, START, START + 60 * minute)
    budget.saw(seen(500), START + 602)
    budget.told(60, START, START + 603)
    assert 500 == budget.limit


def test_what_upstream_has_left_is_all_there_is() -> None:
    """Others use the credential too: with nothing left the next call waits its turn."""
    budget = Budget(configured=600)
    budget.saw(seen(600, remaining=0), START)
    assert not budget.take(START)
    assert 0.1 < budget.wait(START) < 0.2


@pytest.mark.problem(20)
def test_without_a_limit_calls_are_free_until_the_first_429() -> None:
    """Then half of what was sent in the minute before is allowed."""
    budget = Budget()
    assert all(budget.take(START + n / 10) for n in range(300))

    budget.refused(START + 30, started=START + 29.9, retry_after=2.0, spread=0.0)

    assert 150 == budget.limit
    assert 2.0 == budget.wait(START + 30)
    assert not budget.take(START + 31.9)


def test_the_refusals_of_one_moment_are_one() -> None:
    """64 calls under way are refused together: that halves once, and lets Retry-After be."""
    budget = Budget(configured=300)
    for n in range(64):
        budget.refused(START + n / 100, started=START - 0.1, retry_after=1.0, spread=0.0)

    assert 150 == budget.limit
    assert 1.0 + 0.63 == pytest.approx(budget.held_until - START)


def test_refused_again_the_wait_grows() -> None:
    """Retry-After that was too short is not believed for ever; a success makes it good."""
    budget, now, waits = Budget(configured=300), START, []
    for _ in range(8):
        budget.refused(now, started=now, retry_after=0.1, spread=0.0)
        waits.append(budget.held_until - now)
        now = budget.held_until
    assert pytest.approx([0.1, 0.75, 1.125]) == waits[:3]
    assert waits == sorted(waits)
    budget.worked(now)
    budget.refused(now + 1, started=now + 1, retry_after=0.1, spread=0.0)
    assert pytest.approx(0.1) == budget.held_until - now - 1


def test_a_clock_put_back_hides_no_refusal_and_no_limit() -> None:
    """An hour back: a 429 still halves, a limit is still believed, and the minute is a minute."""
    budget, hour = Budget(), 3_600.0
    for second in range(100):
        assert budget.take(START + second)
    budget.refused(START + 100, started=START + 100, retry_after=None, spread=0.0)
    allowed = budget.allowed
    assert allowed is not None

    budget.shift(-hour)
    now = START + 100 - hour + 1
    assert 0 < budget.measured(now)
    assert 0 == budget.measured(now + 60)
    budget.refused(now + 60, started=now + 60, retry_after=None, spread=0.0)
    assert allowed / 2 == budget.allowed
    budget.told(30, now + 61, now + 61)
    budget.shift(-hour)
    budget.told(20, now + 62 - hour, now + 62 - hour)
    assert 20 == budget.seen


def test_what_was_refused_comes_back_step_by_step() -> None:
    """Up to the limit in minutes while more is wanted, and not at all while nothing is."""
    budget = Budget(configured=300)
    budget.refused(START, started=START, retry_after=None, spread=0.0)
    sent(budget, seconds=60)
    assert 200 <= (budget.limit or 0) <= 220
    sent(budget, seconds=120, start=START + 60)
    assert budget.allowed is None
    assert 300 == budget.limit

    idle = Budget(configured=300)
    idle.refused(START, started=START, retry_after=None, spread=0.0)
    for n in range(600):
        idle.take(START + n)
    assert 150 == idle.limit


def test_nothing_takes_the_last_call_a_minute() -> None:
    """Refused for ever, a credential is still asked."""
    budget, now = Budget(configured=300), START
    for _ in range(100):
        now += 700
        budget.refused(now, started=now, retry_after=0.0, spread=0.0)
    assert LIMIT_MIN == budget.limit


def test_a_call_that_cannot_wait_is_paid_back() -> None:
    """What is forced goes out, and those after it wait for it."""
    budget = Budget(configured=60)
    assert budget.take(START)
    for _ in range(3):
        budget.force(START)
    assert 4.2 < budget.wait(START) < 4.5
    budget.give_back(START)
    assert 3.1 < budget.wait(START) < 3.4


def test_a_limit_that_becomes_known_counts_what_was_sent() -> None:
    """The minute in which it is learned is no exception, as far as there is time for it."""
    budget = Budget()
    for n in range(100):
        budget.take(START + n / 100)
    budget.saw(seen(60), START + 1)
    assert not budget.take(START + 30)
    assert budget.wait(START + 1) <= 61


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012), ("1s", 1.0), ("6m0s", 360.0), ("1h0m2.5s", 3602.5), ("17", 17.0),
        (" 1s ", 1.0), ("999999h", 86_400.0), ("", None), ("soon", None), ("1s1", None),
        ("-1s", None), ("1e400", None), ("nan", None), (None, None), ("1" * 60, None),
    ],
)  # fmt: skip
def test_resets_are_read_leniently(text: str | None, seconds: float | None) -> None:
    assert seconds == parse_reset(text)


@given(limit=HEADERS, remaining=HEADERS, reset=HEADERS)
def test_headers_are_sense_or_nothing(limit: str, remaining: str, reset: str) -> None:
    """No text of a header raises, and no number of one is negative, endless or below one."""
    said = headers(limit=limit, remaining=remaining, reset=reset)
    values = [] if said is None else [said.limit or 1.0, said.remaining or 1.0]
    values += [said.reset_seconds or 0.0] if said is not None else []
    assert all(0.0 <= value < math.inf for value in values)
    assert said is None or said.limit is None or said.limit >= 1
    assert said is None or (said.limit, said.remaining) != (None, None)


def test_headers_as_upstream_sends_them() -> None:
    """The three of requests; those of tokens are none of ours."""
    assert Limits(500.0, 499.0, 0.12) == headers(limit="500", remaining="499", reset="120ms")
    assert None is read_limits({"x-ratelimit-limit-tokens": "5"}.get)
    assert None is headers(limit="0")
