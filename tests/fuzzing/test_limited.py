"""A thousand runs under a strict rate limit: no 429, all verdicts, and fair."""

from __future__ import annotations

import pytest

from ledger.fuzzing.limited import jain, naive, ours


@pytest.mark.problem(20)
def test_a_thousand_runs_under_300_requests_a_minute() -> None:
    """Zero 429s after the first minute; every verdict is reached, at little more than two calls a
    run; neither team waits longer than the other. The naive loop has 429s by the hundred thousand
    and is not even quicker."""
    mine, theirs = ours(), naive()

    assert ((), 1_000, 0) == (mine.problems, mine.verdicts, mine.refused_later)
    assert 0.95 <= mine.fairness
    red, blue = mine.waits["red"], mine.waits["blue"]
    assert 1 / 1.5 <= red / blue <= 1.5
    assert mine.calls <= 3 * mine.runs
    assert 100_000 <= theirs.refused_later
    assert mine.seconds < theirs.seconds


@pytest.mark.problem(20)
def test_three_lives_share_one_limit() -> None:
    """Each has a third: together they stay within it."""
    mine = ours(runs=150, limit=120, lives=3, seed=2)

    assert ((), 150, 0) == (mine.problems, mine.verdicts, mine.refused_later)


def test_jains_index() -> None:
    """1 when all got the same, 1/n when one got everything."""
    assert (1.0, 0.5) == (jain([3, 3, 3]), jain([4, 0]))
