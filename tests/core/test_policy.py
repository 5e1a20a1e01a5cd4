"""Policies: whatever a caller writes is bounded, or refused by the name of its field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.alphabet import Effects, State
from ledger.core.policy import (
    DEADLINE_SECONDS_MAX,
    RECREATES_MAX,
    RESTART_DELAY_SECONDS_MAX,
    RESTARTS_MAX,
    SETTLE_SECONDS_MAX,
    TOKENS_MAX,
    Policy,
    PolicyInput,
    RestartRule,
    bounded,
    judge_policy,
    parse_duration,
    parse_on_unknown,
    parse_restart,
)
from ledger.errors import InvalidInput

HUGE = st.integers(4_300, 5_000).map(lambda digits: 10**digits)
NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    HUGE,
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, True, -0.0, 1e-300]),
)
WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["1h", "1e400s", "nan", "-1s", "infd", "90", " 2 m ", "1_0s", "٣s", "0x10s"]),
)
CODES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
RULES = st.one_of(
    st.builds(
        RestartRule,
        st.sampled_from([State.expired, State.incomplete]),
        st.none() | CODES,
        st.integers(0, RESTARTS_MAX),
    ),
    st.builds(RestartRule, st.just(State.failed), CODES, st.integers(0, RESTARTS_MAX)),
)
POLICIES = st.builds(
    Policy,
    restart=st.lists(RULES, max_size=4, unique_by=lambda r: (r.outcome, r.code)).map(tuple),
    effects=st.sampled_from(Effects),
    recreate=st.integers(0, RECREATES_MAX),
    deadline_seconds=st.floats(0.001, DEADLINE_SECONDS_MAX),
    settle_seconds=st.floats(0, SETTLE_SECONDS_MAX),
    poll_seconds=st.none() | st.floats(0.01, 3_600),
    restart_delay_seconds=st.floats(0, RESTART_DELAY_SECONDS_MAX),
    restart_backoff=st.floats(1, 100),
    restart_delay_max_seconds=st.floats(0, RESTART_DELAY_SECONDS_MAX),
    restart_max_tokens=st.none() | st.integers(1, TOKENS_MAX),
)


@pytest.mark.failure(18)
@given(
    given_=st.builds(
        PolicyInput,
        restart=st.none() | WORDS,
        effects=st.none() | WORDS,
        on_unknown=st.none() | WORDS,
        deadline=st.none() | NUMBERS | WORDS,
        settle_seconds=st.none() | NUMBERS,
        poll_seconds=st.none() | NUMBERS,
        restart_delay=st.none() | NUMBERS | WORDS,
        restart_delay_max=st.none() | NUMBERS | WORDS,
        restart_backoff=st.none() | NUMBERS | WORDS,
        restart_max_tokens=st.none() | NUMBERS | WORDS,
    )
)
def test_no_policy_leaves_its_bounds(given_: PolicyInput) -> None:
    """NaN, infinities, negative and huge numbers never get into a policy, from any field."""
    try:
        policy = judge_policy(given_, Policy())
    except InvalidInput:
        return
    assert 0.001 <= policy.deadline_seconds <= DEADLINE_SECONDS_MAX
    assert 0 <= policy.settle_seconds <= SETTLE_SECONDS_MAX
    assert policy.poll_seconds is None or 0.01 <= policy.poll_seconds <= 3_600
    assert 0 <= policy.recreate <= RECREATES_MAX
    assert 0 <= policy.restart_wait_seconds(10**6) <= RESTART_DELAY_SECONDS_MAX
    assert policy.restart_max_tokens is None or 1 <= policy.restart_max_tokens <= TOKENS_MAX
    assert all(0 <= rule.count <= RESTARTS_MAX for rule in policy.restart)
    assert policy == Policy.from_json(policy.as_json())


@given(policy=POLICIES)
def test_a_policy_survives_its_json(policy: Policy) -> None:
    """What is written beside a run is the policy that is read back."""
    assert policy == Policy.from_json(policy.as_json())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5_400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1m", 60),
    ],
)
def test_durations_as_people_write_them(text: Any, seconds: float) -> None:
    """Numbers are seconds; s, m, h, d and ms are units."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "s", "1y", "nan", "infs", "1e999h", "one hour"])
def test_a_text_that_is_no_duration_is_quoted(text: str) -> None:
    """The refusal shows what was written and how to write it."""
    with pytest.raises(InvalidInput, match="90s, 15m, 2h or 1d"):
        parse_duration(text)


def test_restart_rules_as_people_write_them() -> None:
    """Outcomes with counts, failures by code; `none` and nothing mean no rule."""
    wanted = (
        RestartRule(State.expired, None, 3),
        RestartRule(State.failed, "server_error", 2),
        RestartRule(State.incomplete, None, 0),
    )
    assert wanted == parse_restart("expired=3, failed:server_error=2,incomplete=0")
    assert () == parse_restart("none") == parse_restart("  ")


@pytest.mark.parametrize(
    "text",
    ["expired", "expired=", "expired=-1", "expired=21", "expired=²", "failed=1", "completed=1",
     "cancelled=1", "expired=1,,", "=1", "expired=1=2", "expired=1000000000000",
     "failed:a=1,failed:a=2", "expired=1, expired=1"],
)  # fmt: skip
def test_a_restart_rule_that_cannot_be_meant_is_refused(text: str) -> None:
    """Unknown outcomes, failures without a code, counts out of bounds, two rules for one end."""
    with pytest.raises(InvalidInput, match="restart"):
        parse_restart(text)


@pytest.mark.failure(18)
@pytest.mark.parametrize(
    "value",
    [10**400, -(10**5_000), math.inf, math.nan, True, "x", None],
    ids=["large", "larger", "infinite", "NaN", "a truth", "a text", "nothing"],
)
def test_a_bound_is_named_whatever_lies_beyond_it(value: Any) -> None:
    """Numbers too large for a float, and what is no number, are refused by the field's name."""
    with pytest.raises(InvalidInput, match="poll_seconds must"):
        bounded("poll_seconds", value, low=0.01, high=3_600)


def test_the_most_specific_rule_decides() -> None:
    """A rule with the code goes before one without, in whatever order they stand."""
    general, special = RestartRule(State.expired, None, 1), RestartRule(State.expired, "x", 5)
    for rules in ((general, special), (special, general)):
        policy = Policy(restart=rules)
        assert special == policy.restart_rule(State.expired, "x")
        assert general == policy.restart_rule(State.expired, None)
        assert policy.restart_rule(State.failed, "x") is None


def test_unclear_creates_fail_unless_a_count_is_given() -> None:
    """`fail`, `recreate` and `recreate=N` are all that can be said."""
    assert [0, 1, 5] == [parse_on_unknown(t) for t in ("fail", "recreate", "recreate=5")]
    for text in ("", "again", "recreate=6", "recreate=-1", "fail=1"):
        with pytest.raises(InvalidInput):
            parse_on_unknown(text)
