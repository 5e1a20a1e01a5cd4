"""Percentiles by nearest rank, buckets, and what a run's durations are."""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from support import NOW, later

from ledger.core.measures import Measured, bucket_of, percentiles


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The least that so many in a hundred do not exceed; of nothing, nothing."""
    hundred = array("d", range(100, 0, -1))
    assert {"runs": 100, "p50": 50.0, "p95": 95.0, "p99": 99.0} == percentiles(hundred)
    assert {"runs": 1, "p50": 7.0, "p95": 7.0, "p99": 7.0} == percentiles(array("d", [7]))
    assert {"runs": 0, "p50": None, "p95": None, "p99": None} == percentiles(array("d"))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_nearest_rank(values: list[int]) -> None:
    """At least so many are as small, and fewer are smaller."""
    found = percentiles(array("d", values))
    for percent in (50, 95, 99):
        value = found[f"p{percent}"]
        need = math.ceil(percent / 100 * len(values) - 1e-9)
        assert value is not None
        assert sum(one < value for one in values) < need <= sum(one <= value for one in values)


def test_the_durations_of_a_run() -> None:
    """Each is None until both its ends are known; a tail's end says nothing of the verdict."""
    run = Measured(
        run_id=1, state="completed", created_at=NOW, started_at=later(2), finished_at=later(9),
        ended_at=later(8),
    )  # fmt: skip
    assert {"queue": 2.0, "run": 7.0, "tool": 3.0, "detection": 1.0} == run.seconds(3.0)
    waits = Measured(run_id=2, state="queued", created_at=NOW)
    assert {"queue": None, "run": None, "tool": None, "detection": None} == waits.seconds(None)
    tail = Measured(
        run_id=3, state="expired", created_at=NOW, finished_at=later(5), ended_at=later(6)
    )
    assert tail.seconds(None)["detection"] is None


def test_buckets_are_aligned() -> None:
    """The same moment falls into the same bucket, whoever asks."""
    assert NOW == bucket_of(NOW + timedelta(minutes=59), 3_600)
    assert NOW.replace(hour=0) == bucket_of(NOW, 86_400)
    monday = NOW.replace(hour=0) - timedelta(days=NOW.weekday())
    week = 7 * 86_400
    assert {monday} == {bucket_of(monday + timedelta(days=n), week) for n in range(7)}
    assert monday == bucket_of(monday + timedelta(seconds=week - 1), week)
    before = datetime(1969, 12, 30, tzinfo=UTC)
    assert datetime(1969, 12, 29, tzinfo=UTC) == bucket_of(before, week)
    assert NOW + timedelta(seconds=5) == bucket_of(NOW + timedelta(seconds=9.9), 5)
