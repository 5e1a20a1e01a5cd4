"""The parts of a report: verdicts as they stood, lags, the account of failed attempts, storms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_material import (
    ENDS,
    MORNING,
    NOW,
    SPAN,
    attempt,
    call,
    case,
    delivery,
    ended,
    event,
    life,
    material,
    minute,
    remote,
    run,
)
from support import later

from ledger.core.alphabet import EventKind, State
from ledger.core.postmortem.cases import FAILED, cases_of, finished
from ledger.core.postmortem.lag import detection, lag_of
from ledger.core.postmortem.material import LifeEventRow, Span
from ledger.core.postmortem.recovery import Bucket, recovery
from ledger.core.postmortem.surroundings import crash_loops, storms, unobserved

CAUSES = st.sampled_from(["policy", "operator", "accepted"])
CODES = st.sampled_from(["server_error", "remote_deleted", "create_unknown", None])


# Verdicts.


def test_a_verdict_is_that_of_the_windows_end() -> None:
    """Failed within, restarted by a person in the morning: the window's verdict stays."""
    first = ended(State.failed, 100, run_id=7)
    again = attempt(7, 2, cause="operator", opened_at=later(9 * 3_600))

    found = case(*first, again)

    assert (State.failed, later(100), True) == (found.state, found.ended_at, found.failed)
    assert 2 == len(found.attempts)


def test_what_came_after_as_of_is_not_known() -> None:
    """At the time of the report the attempt was under way."""
    found = case(*ended(State.failed, 100), as_of=later(99))

    assert (None, False) == (found.state, found.failed)
    assert (None, None) == (found.attempts[0].outcome, found.attempts[0].error_code)
    assert [] == found.events or () == found.events


def test_runs_of_other_times_are_not_of_the_window() -> None:
    """One that ended before, one that was created later."""
    before = ended(State.failed, -10, created_at=later(-500))
    after = run(created_at=later(8 * 3_600))

    assert [] == cases_of(material(*before, after, attempt(after.id, opened_at=after.created_at)))


# Lags.


def test_the_objects_own_time_is_known_to_a_second() -> None:
    asked, tried, _, told = ended(State.completed, 100)
    seen = remote(asked.id, observed_status="completed", observed_at=later(100),
                  remote_ended_at=later(97))  # fmt: skip

    lag = lag_of(case(asked, tried, seen, told))

    assert lag is not None
    assert (2.0, 3.0, "object", "poll") == (lag.low, lag.high, lag.source, lag.noticed_by)


def test_a_webhook_tells_where_the_object_does_not() -> None:
    rows = ended(State.failed, 100)

    lag = lag_of(case(*rows, delivery(rows[0].id, later(95))))

    assert lag is not None
    assert (4.0, 6.0, "webhook") == (lag.low, lag.high, lag.source)


def test_two_looks_enclose_an_end_that_nobody_told_of() -> None:
    """Seen live four seconds before it was seen final; the middle counts for medians."""
    lag = lag_of(case(*ended(State.failed, 100)))

    assert lag is not None
    assert (0.0, 4.0, 2.0, "looks") == (lag.low, lag.high, lag.middle, lag.source)


def test_a_negative_lag_is_flagged_and_not_cut() -> None:
    asked, tried, _, told = ended(State.completed, 100)
    seen = remote(asked.id, observed_status="completed", observed_at=later(100),
                  remote_ended_at=later(130))  # fmt: skip
    found = detection([case(asked, tried, seen, told)], SPAN)

    assert (1, [asked.id]) == (found["negative"], found["negative_runs"])
    assert (-30.5, -30.0) == (found["all"]["p50_seconds"], found["all"]["worst_seconds"])


def test_a_verdict_of_the_ledgers_own_has_no_lag() -> None:
    """The deadline passed; that upstream completed it later is another matter."""
    asked, tried, _, _ = ended(State.expired, 100)
    told = event(asked.id, EventKind.ended, to_state=State.expired, source="policy")
    late = remote(asked.id, observed_status="completed", observed_at=later(500),
                  remote_ended_at=later(400))  # fmt: skip
    found = detection([case(asked, tried, late, told)], SPAN)

    assert (1, 0, {"policy": 1}) == (found["verdicts"], found["with_lag"], found["without"])


# The account of failed attempts.


@st.composite
def histories(draw: Any) -> list[Any]:
    """A run with up to four attempts: all but the last ended, each with its cause."""
    rows: list[Any] = [run(run_id=draw(st.integers(1, 10**6)))]
    count = draw(st.integers(1, 4))
    for number in range(1, count + 1):
        last = number == count
        open_ = last and draw(st.booleans())
        outcome = None if open_ else draw(st.sampled_from(ENDS if last else ENDS[1:]))
        rows.append(
            attempt(
                rows[0].id,
                number,
                cause="submit" if number == 1 else draw(CAUSES),
                opened_at=later(60 * number),
                outcome=outcome,
                ended_at=None if open_ else later(60 * number + 30),
                error_code=draw(CODES) if outcome in FAILED else None,
            )
        )
    return rows


@given(st.lists(histories(), max_size=8, unique_by=lambda rows: rows[0].id))
def test_each_failed_attempt_is_in_one_bucket(runs: list[list[Any]]) -> None:
    """The buckets add up to the attempts that failed in the window, whatever became of the runs."""
    cases = cases_of(material(*(row for rows in runs for row in rows)))
    failed = sum(1 for rows in runs for row in rows[1:] if row.outcome in FAILED)

    found = recovery(cases, SPAN)

    assert failed == found["failed_attempts"]
    assert failed == sum(of["attempts"] for of in found["buckets"].values())


@pytest.mark.parametrize(
    ("cause", "outcome", "code", "bucket"),
    [
        ("policy", State.completed, None, Bucket.restarted),
        ("operator", State.completed, None, Bucket.by_hand),
        ("policy", State.failed, "server_error", Bucket.for_good),
        ("policy", State.failed, "create_unknown", Bucket.lost),
        ("policy", State.expired, "deadline", Bucket.for_good),
        ("policy", State.incomplete, None, Bucket.incomplete),
        ("operator", State.cancelled, None, Bucket.called_off),
        ("policy", None, None, Bucket.open),
        ("accepted", State.completed, None, Bucket.later_look),
    ],
)
def test_what_became_of_a_failure(
    cause: str, outcome: State | None, code: str | None, bucket: Bucket
) -> None:
    """The first attempt failed, and this came after."""
    first = ended(State.failed, 100, run_id=1)
    over = None if outcome is None else later(200)
    second = attempt(1, 2, cause=cause, opened_at=later(101), outcome=outcome, ended_at=over,
                     error_code=code)  # fmt: skip
    found = recovery([case(*first, second)], SPAN)["buckets"]

    assert 1 <= found[bucket]["attempts"]
    assert {str(bucket)} == {name for name, of in found.items() if of["attempts"]}


def test_a_late_webhook_recovers() -> None:
    """Upstream's contradiction came by webhook, and a person took its word for it."""
    first = ended(State.failed, 100, run_id=1)
    told = event(1, EventKind.contradiction, source="webhook", recorded_at=later(150))
    second = attempt(1, 2, cause="accepted", opened_at=later(160), outcome=State.completed,
                     ended_at=later(160))  # fmt: skip
    found = recovery([case(*first, told, second)], SPAN)

    assert 1 == found["buckets"][Bucket.webhook]["attempts"]
    assert (0, 1) == (found["restarts_by_policy"], found["restarts_by_hand"])


def test_effects_that_happened_twice_are_counted() -> None:
    """One key started in two attempts, and one call run again."""
    calls = [
        call(1, n=1, key="same", started_at=later(70)),
        call(1, n=2, attempt=2, key="same", started_at=later(80)),
        call(1, n=3, key="again", started_at=later(70), reruns=1),
        call(1, n=4, key="once", started_at=later(70)),
    ]
    found = recovery([case(*ended(State.failed, 100, run_id=1), *calls)], SPAN)

    assert (2, [1]) == (found["tools_run_again"], found["tools_run_again_runs"])


# What happened around them.


def test_a_storm_has_a_beginning_and_an_end_to_the_minute() -> None:
    """Thirty minutes, four calm ones among them; a few 429s of many calls elsewhere are none."""
    calm = {12, 13, 14, 15}
    rows = [minute(n, refused=0 if n in calm else 20) for n in range(10, 40)]

    (found,) = storms([minute(2, refused=9), *rows, minute(50, refused=4, calls=100)])

    assert NOW + timedelta(minutes=10) == found.start
    assert NOW + timedelta(minutes=40) == found.end
    assert (26 * 20, 30 * 60) == (found.refused, found.calls)


def test_a_storm_that_our_limiter_answers_is_one() -> None:
    """Thirteen 429s at once, and then a call a minute, most of them refused."""
    rows = [minute(10, 13, 14), *(minute(n, int(n % 4 != 0), 1) for n in range(11, 39))]

    (found,) = storms(rows)

    assert (10, 39) == tuple((at - NOW) / timedelta(minutes=1) for at in (found.start, found.end))


def test_times_without_a_daemon() -> None:
    """The first died at its last heartbeat, the second began later; a waiting life is none."""
    lives = [
        life("a", heartbeat_at=later(1_000), ended_at=later(1_030), end="died"),
        life("b", started_at=later(1_600), ended_at=later(20_000), end="drained"),
        life("c", role="wait", started_at=later(0)),
    ]

    found = unobserved(lives, SPAN, MORNING)

    assert [
        Span(since=later(1_000), until=later(1_600)),
        Span(since=later(20_000), until=SPAN.until),
    ] == found
    assert [SPAN] == unobserved([], SPAN, MORNING)


def test_deaths_close_together_are_a_loop() -> None:
    deaths = [
        LifeEventRow(later(60 * n), "died", f"life-{n}", "h", {}) for n in (0, 50, 52, 55, 58, 200)
    ]

    (found,) = crash_loops(deaths)

    assert Span(since=later(3_000), until=later(3_480)) == found


def test_only_verdicts_of_the_window_are_finished() -> None:
    """One still open, one that ended at the very end."""
    rows = [*ended(State.completed, 8 * 3_600 - 1), *ended(State.completed, 8 * 3_600)]

    cases = cases_of(material(*rows))

    assert (2, 1) == (len(cases), len(finished(cases, SPAN)))
