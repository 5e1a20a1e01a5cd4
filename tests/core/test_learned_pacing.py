"""The learned policy: bounded for every history, near the best, and honest about what it knows."""

from __future__ import annotations

import math
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW

from ledger.core.pacing.density import BINS, density_of, prior
from ledger.core.pacing.experience import ENOUGH, KEPT, Experience, class_of, ladder
from ledger.core.pacing.policies import BACKOFF, Fixed
from ledger.core.pacing.rehearsal import rehearse
from ledger.core.pacing.schedule import WAIT_SECONDS_MAX, WAIT_SECONDS_MIN, schedule_of
from ledger.core.pacing.worth import Aim, Share, expected, worth_of
from ledger.errors import InvalidInput

OF = class_of("responses", "gpt-5", None, "memo")
YEARS = 3.2e8
SECONDS = st.one_of(
    st.floats(0, 1e-6), st.floats(0, 100), st.floats(0, YEARS), st.sampled_from([0.0, 600.0, YEARS])
)
HISTORIES = st.lists(SECONDS, max_size=40) | st.builds(lambda x, n: [x] * n, SECONDS, st.just(30))
AGES = st.floats(-1e6, YEARS)


def drawn(mu: float, sigma: float, runs: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(mu, sigma) for _ in range(runs)]


def weighed(durations: list[float]) -> list[tuple[float, float]]:
    return [(seconds, 1.0) for seconds in durations]


@pytest.mark.problem(20)
@pytest.mark.failure(20)
@settings(max_examples=60, deadline=None)
@given(
    ended=HISTORIES, going=HISTORIES, worth=st.floats(1e-9, 1e9), ages=st.lists(AGES, max_size=9)
)
def test_an_interval_is_sane_for_every_history(
    ended: list[float], going: list[float], worth: float, ages: list[float]
) -> None:
    """All equal, one alone, nothing, zero, years: a wait is never zero, negative or infinite."""
    made = schedule_of(density_of(weighed(ended), weighed(going), prior()), worth)
    for age in [0.0, *ages, *ended[:5]]:
        assert WAIT_SECONDS_MIN <= made.wait_seconds(age) <= WAIT_SECONDS_MAX


@settings(max_examples=60, deadline=None)
@given(ended=HISTORIES, going=HISTORIES)
def test_a_density_is_one(ended: list[float], going: list[float]) -> None:
    """Whatever was seen, the shares are none of them negative, and a whole together."""
    made = density_of(weighed(ended), weighed(going), prior())
    assert len(made.mass) == BINS
    assert min(made.mass) >= 0.0
    assert pytest.approx(1.0) == sum(made.mass)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    """At the edge, so that no density ever holds one."""
    with pytest.raises(InvalidInput, match="cannot take"):
        Experience().ended(OF, (1, 1), seconds)


@pytest.mark.parametrize(("mu", "sigma"), [(1.37, 0.707), (5.304, 0.459), (6.267, 1.089)])
def test_a_class_that_is_known_costs_less_than_the_backoff(mu: float, sigma: float) -> None:
    """At the same delay: three of ten calls are saved at least where runs are alike."""
    density = density_of(weighed(drawn(mu, sigma, 200)), [], prior())
    after = drawn(mu, sigma, 2_000, seed=2)
    usual = rehearse(after, BACKOFF)
    aim = Aim(notice_within_seconds=usual.mean)
    learned = rehearse(
        after, schedule_of(density, worth_of(aim, [Share(density=density, runs_per_minute=1.0)]))
    )
    assert pytest.approx(usual.mean, rel=0.1) == learned.mean
    assert learned.calls < usual.calls * (0.95 if sigma > 1 else 0.72)


def test_nothing_is_asked_before_a_run_can_have_ended() -> None:
    """Of a class that never took less than a minute, the first look is not long before that."""
    durations = [60.0 + seconds for seconds in drawn(3.0, 0.5, 200)]
    first = schedule_of(density_of(weighed(durations), [], prior()), 10.0).wait_seconds(0.0)
    assert 40.0 <= first <= 75.0


def test_runs_that_still_go_make_a_class_longer() -> None:
    """Left out, the few that were quick would pass for the whole class."""
    quick = weighed(drawn(1.0, 0.3, 20))
    alone = schedule_of(density_of(quick, [], prior()), 1.0)
    among = schedule_of(density_of(quick, [(120.0, 1.0)] * 80, prior()), 1.0)
    assert expected(density_of(quick, [], prior()), alone)[0] < 6.0
    assert among.wait_seconds(20.0) < 60.0
    assert among.wait_seconds(2.0) > 1.5 * alone.wait_seconds(2.0)


@pytest.mark.parametrize("aim", [Aim(notice_within_seconds=2.0), Aim(calls_per_minute=300.0)])
def test_a_price_is_found_for_a_target(aim: Aim) -> None:
    """The mean delay over all runs, or the calls in a minute, come out as they were asked for."""
    mix = [
        Share(density=density_of(weighed(drawn(1.37, 0.7, 200)), [], prior()), runs_per_minute=20),
        Share(density=density_of(weighed(drawn(5.3, 0.5, 200)), [], prior()), runs_per_minute=5),
    ]
    worth = worth_of(aim, mix)
    outcome = [
        (share, *expected(share.density, schedule_of(share.density, worth))) for share in mix
    ]
    if aim.calls_per_minute:
        calls = sum(share.runs_per_minute * calls for share, calls, _ in outcome)
        assert pytest.approx(300.0, rel=0.05) == calls
    else:
        delay = sum(share.runs_per_minute * delay for share, _, delay in outcome) / 25
        assert pytest.approx(2.0, rel=0.05) == delay


def test_a_target_without_runs_takes_the_usual_price() -> None:
    """Nothing to find it by: the price that is given, or the default."""
    assert Aim().worth == worth_of(Aim(notice_within_seconds=1.0), [])


def test_what_is_expected_is_what_a_replay_finds() -> None:
    """The integral over the density agrees with playing the policy over drawn durations."""
    durations = drawn(4.0, 0.5, 20_000)
    density = density_of(weighed(durations[:5_000]), [], prior())
    calls, delay = expected(density, Fixed(seconds=3.0))
    played = rehearse(durations, Fixed(seconds=3.0))
    assert pytest.approx(played.calls, rel=0.05) == calls
    assert pytest.approx(played.mean, rel=0.05) == delay


def test_a_class_falls_back_along_its_ladder() -> None:
    """Without runs of its own: those of its assistant, then of its model, and no further."""
    known = Experience()
    for n in range(ENOUGH):
        known.ended(class_of("responses", "gpt-5", "asst_1", "a"), (n, 1), 10.0)
    assert [
        ("responses", "gpt-5", "asst_1", "a"),
        ("responses", "gpt-5", "asst_1"),
        ("responses", "gpt-5"),
        None,
        None,
    ] == [
        (found := known.known(of, NOW)) and found.of
        for of in (
            class_of("responses", "gpt-5", "asst_1", "a"),
            class_of("responses", "gpt-5", "asst_1", "b"),
            class_of("responses", "gpt-5", "asst_2", "a"),
            class_of("responses", "gpt-4", "asst_1", "a"),
            class_of("assistants", None, None, None),
        )
    ]
    assert [OF, OF[:3], OF[:2], OF[:1], ()] == list(ladder(OF))


def test_too_few_runs_say_nothing() -> None:
    """One less than enough, and the backoff stays."""
    known = Experience()
    for n in range(ENOUGH - 1):
        known.ended(OF, (n, 1), 10.0)
    assert known.known(OF, NOW) is None


def test_what_is_remembered_is_bounded_and_follows_a_drift() -> None:
    """After as many newer runs the old ones are forgotten; a few hundred turn the schedule."""
    known = Experience()
    for n in range(KEPT):
        known.ended(OF, (n, 1), 10.0)
    before = known.density(OF, NOW)
    for n in range(KEPT, KEPT + 400):
        known.ended(OF, (n, 1), 100.0)
    after = known.density(OF, NOW + timedelta(minutes=5))
    assert known.count(OF) == KEPT
    assert (
        expected(before, Fixed(seconds=1.0))[0] < 20 < 70 < expected(after, Fixed(seconds=1.0))[0]
    )


def test_one_that_ended_is_not_also_still_going() -> None:
    """Its start is forgotten when its duration is known, and counts once only."""
    known = Experience()
    for n in range(10):
        known.ended(OF, (n, 1), 10.0)
        known.going(OF, (n + 100, 1), NOW - timedelta(hours=1))
    slow = expected(known.density(OF, NOW), Fixed(seconds=1.0))[0]
    for n in range(10):
        known.ended(OF, (n + 100, 1), 10.0)
    assert expected(known.density(OF, NOW), Fixed(seconds=1.0))[0] < slow / 5
