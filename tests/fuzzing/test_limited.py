"""A thousand runs under a strict rate limit: no 429, all verdicts, and fair."""

from __future__ import annotations

import pytest
from choosing import BOTH

from ledger.fuzzing.limited import jain, naive, ours


@pytest.mark.problem(20)
def test_many_runs_under_few_requests_a_minute() -> None:
    """A thousand under 300 in the long form, and in `python -m benchmarks.limits`. Zero 429s after
    the first minute; every verdict is reached, at little more than two calls a run; neither team
    waits longer than the other. The naive loop has 429s without end and is not even quicker."""
    runs, limit = (1_000, 300) if BOTH else (200, 60)
    mine, theirs = ours(runs=runs, limit=limit), naive(runs=runs, limit=limit)

    assert ((), runs, 0) == (mine.problems, mine.verdicts, mine.refused_later)
    assert 0.95 <= mine.fairness
    red, blue = mine.waits["red"], mine.waits["blue"]
    assert 1 / 1.5 <= red / blue <= 1.5
    assert mine.calls <= 3 * mine.runs
    assert 100 * runs <= theirs.refused_later
    assert mine.seconds < theirs.seconds


@pytest.mark.problem(20)
def test_three_lives_share_one_limit() -> None:
    """Each has a third: together they stay within it."""
    mine = ours(runs=150, limit=120, lives=3, seed=2)

    assert ((), 150, 0) == (mine.problems, mine.verdicts, mine.refused_later)


def test_jains_index() -> None:
    """1 when all got the same, 1/n when one got everything."""
    assert (1.0, 0.5) == (jain([3, 3, 3]), jain([4, 0]))
