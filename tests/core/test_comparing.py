"""Replaying durations: calls and delays that can be worked out by hand."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.comparing import (
    MONTH_SECONDS,
    Experienced,
    Figures,
    Lasted,
    break_even,
    experienced,
    figures,
    learned,
    monthly_usd,
    steady,
    webhooks,
)
from ledger.core.pacing.policies import BACKOFF, Fixed
from ledger.core.pacing.rehearsal import rehearse

CLASS = ("responses", "gpt-a", "", "memo")
DURATIONS = st.lists(st.floats(0.0, 90_000.0), min_size=1, max_size=20)


def objects(durations: list[float]) -> list[Lasted]:
    """Runs of one class, one after the other."""
    return [
        Lasted(of=CLASS, place=(n, 1), seconds=seconds) for n, seconds in enumerate(durations, 1)
    ]


def known(durations: list[float]) -> Experienced:
    """The same, each with what the ones before it tell."""
    return experienced(objects(durations))


def test_a_steady_loop() -> None:
    """Runs of 0.2, 1 and 3.5 s at 1 s: found at 1, 1 and 4 s, with one, one and four looks."""
    found = steady([0.2, 1.0, 3.5], 1.0)

    assert (3, 2.0, pytest.approx(1.3 / 3), 0.5, 0.8, 0.8) == (
        found.runs, found.calls, found.mean, found.p50, pytest.approx(found.p95), found.p99
    )  # fmt: skip


@given(DURATIONS, st.sampled_from([0.1, 1.0, 2.5]))
def test_steady_is_what_a_replay_of_every_look_gives(
    durations: list[float], interval: float
) -> None:
    """Closed form and simulation agree, but for what a sum of many floats loses."""
    durations = [seconds / 100 for seconds in durations]
    played, found = rehearse(durations, Fixed(seconds=interval)), steady(durations, interval)

    assert played.calls == pytest.approx(found.calls, abs=1.0)
    assert played.mean == pytest.approx(found.mean, abs=interval + 0.01)


def test_the_learned_policy_begins_as_the_backoff() -> None:
    """Nothing is known of the first runs of a class."""
    durations = [40.0, 41.0, 42.0, 43.0, 44.0]
    played = rehearse(durations, BACKOFF)
    found = learned(known(durations), 10.0)

    assert (played.calls, pytest.approx(played.mean)) == (found.calls, found.mean)


def test_the_learned_policy_learns_from_what_came_before() -> None:
    """Hundreds of runs of the same length: far fewer calls at no more delay."""
    rng = random.Random(7)
    durations = [rng.gauss(60.0, 1.0) for _ in range(300)]
    played = rehearse(durations, BACKOFF)
    found = learned(known(durations), 10.0)

    assert found.calls < played.calls / 2
    assert found.mean < played.mean


def test_webhooks_that_all_come_cost_one_read_and_the_safety_looks() -> None:
    """Runs of 2 s are told of before the first safety look at 5 s."""
    found = webhooks(known([2.0, 2.0]), 10.0, missed=0.0, after_seconds=0.6)

    assert (1.0, pytest.approx(0.6), pytest.approx(0.6)) == (found.calls, found.mean, found.p99)


def test_webhooks_that_never_come_are_the_safety_looks() -> None:
    """5 s, then 15 s: found at 5, 5 and 15 s."""
    found = webhooks(known([2.0, 5.0, 9.0]), 10.0, missed=1.0, after_seconds=0.6)

    assert (pytest.approx(4 / 3), pytest.approx(3.0)) == (found.calls, found.mean)


def test_a_share_of_misses_counts_as_that_share() -> None:
    """A tenth of the runs waits for the safety look; the 95th of a hundred is one of them."""
    found = webhooks(known([2.0]), 10.0, missed=0.1, after_seconds=0.5)

    assert (pytest.approx(0.9 * 0.5 + 0.1 * 3.0), pytest.approx(0.5), pytest.approx(3.0)) == (
        found.mean, found.p50, found.p95
    )  # fmt: skip


def test_a_safety_look_may_come_before_its_delivery() -> None:
    """Ended at 4.9 s, looked at at 5 s, told at 5.5 s: the delivery brings nothing new."""
    found = webhooks(known([4.9]), 10.0, missed=0.0, after_seconds=0.6)

    assert (1.0, pytest.approx(0.1)) == (found.calls, found.mean)


@settings(max_examples=15)
@given(DURATIONS, st.floats(0.0, 1.0))
def test_every_replay_is_finite(durations: list[float], missed: float) -> None:
    """At least one call a run, no delay that is negative."""
    for found in (
        learned(known(durations), 10.0),
        webhooks(known(durations), 10.0, missed=missed, after_seconds=0.6),
        steady(durations, 2.5),
    ):
        assert len(durations) == found.runs
        assert 1.0 - 1e-9 <= found.calls < 100_000
        assert 0.0 <= found.p50 <= found.p95 <= found.p99 < 3_600


def test_nothing_cannot_be_compared() -> None:
    """Neither without runs nor without weight."""
    for delays, runs in (([], 0), ([(1.0, 0.0)], 1)):
        with pytest.raises(ValueError, match="nothing"):
            figures(delays, runs=runs, calls=1)


def test_from_how_many_runs_an_endpoint_pays() -> None:
    """A call saved each second, at a dollar a million: 2.63 dollars a run and month."""
    price = Decimal("0.000001")

    assert Decimal(MONTH_SECONDS) * price * 3 == monthly_usd(1.0, price, 3)
    assert [8, 7, 1, None, None] == [
        break_even(1.0, price, Decimal(20)),
        break_even(1.0, price, Decimal("18.408222")),
        break_even(1.0, price, Decimal(0)),
        break_even(1.0, Decimal(0), Decimal(20)),
        break_even(-0.5, price, Decimal(20)),
    ]


def test_figures_are_compared_by_value() -> None:
    """The same durations give the same figures."""
    once, again = (learned(known([3.0, 30.0, 300.0] * 5), 10.0) for _ in range(2))

    assert isinstance(once, Figures)
    assert once == again
