"""A completed object with nothing to show is read again before that counts."""

from __future__ import annotations

import pytest
from support import later, response, thread_run
from test_decide_paths import MESSAGES, Play, done, on_thread

from ledger.core.alphabet import Attention, EventKind, State
from ledger.core.outcome import Harvested
from ledger.core.pacing import Look
from ledger.core.policy import Policy
from ledger.core.steps import Harvest, Observe, Step, Wait

EMPTY = response("completed", output=[])
NO_MESSAGES = b'{"messages":[]}'


def read_at(play: Play, seconds: float) -> Step:
    """The step at a time after the first reading, when the last look was then too."""
    play.now = later(seconds)
    return play.step


def looked(play: Play) -> None:
    play.look = Look(next_at=play.now, last=play.now)


@pytest.mark.problem(17)
@pytest.mark.failure(23)
def test_output_that_comes_with_the_second_read_is_the_result() -> None:
    """The first, empty reading raises nothing; the second is the verdict and the result."""
    play = Play().create(EMPTY)
    looked(play)

    assert (State.in_progress, None) == play.state
    assert Wait(later(1), "an empty result is read again") == play.step
    assert Observe(1) == read_at(play, 1)
    play.saw(done())
    assert (State.completed, None) == play.state
    assert play.facts.run.result == play.facts.remotes[0].observed
    assert EventKind.contradiction not in play.kinds
    assert not play.facts.watched


@pytest.mark.problem(17)
@pytest.mark.failure(23)
def test_messages_that_come_with_the_second_harvest_are_the_result() -> None:
    """The same for a thread run, whose messages are fetched once more."""
    play = on_thread().create(thread_run("completed"))
    play.take(Harvested(n=1, body=NO_MESSAGES))
    looked(play)

    assert (State.in_progress, None) == play.state
    assert isinstance(play.step, Wait)
    assert Harvest(1) == read_at(play, 1)
    play.take(Harvested(n=1, body=MESSAGES))
    assert (State.completed, None) == play.state
    assert EventKind.contradiction not in play.kinds


@pytest.mark.problem(17)
@pytest.mark.failure(23)
def test_looks_come_after_1_2_4_8_seconds_and_at_the_end() -> None:
    """At most a quarter of a minute, and each look without news writes nothing."""
    play, times = Play().create(EMPTY), []
    looked(play)
    while not play.facts.run.final:
        step = play.step
        assert isinstance(step, Wait), step
        play.now = step.until
        times.append((play.now - later(0)).total_seconds())
        assert Observe(1) == play.step
        change = play.peek(EMPTY)
        looked(play)
        if not change.empty:
            play.saw(EMPTY)

    assert [1.0, 2.0, 4.0, 8.0, 15.0] == times
    assert (State.completed, Attention.contradiction) == play.state
    assert 1 == play.kinds.count(EventKind.doubted)


def test_what_stays_without_messages_completes_and_is_flagged() -> None:
    """A thread run's verdict after the last look."""
    play = on_thread().create(thread_run("completed")).take(Harvested(n=1, body=NO_MESSAGES))
    play.wait(16).take(Harvested(n=1, body=NO_MESSAGES))

    assert (State.completed, Attention.contradiction) == play.state


def test_a_new_life_looks_at_once() -> None:
    """What the dead one remembered of its looks costs one look."""
    play = Play().create(EMPTY)

    assert Observe(1) == play.step


def test_without_a_settle_time_the_first_reading_counts() -> None:
    """`settle_seconds=0` believes what it is told."""
    play = Play(policy=Policy(settle_seconds=0)).create(EMPTY)

    assert (State.completed, Attention.contradiction) == play.state


def test_another_status_ends_the_doubt() -> None:
    """What then fails, fails; what then runs on is looked at as ever."""
    failing = Play().create(EMPTY).wait(1)
    failing.saw(response("failed", error={"code": "server_error"}))
    running = Play().create(EMPTY).wait(1).saw(response("in_progress"))

    assert State.failed == failing.facts.run.state
    assert (State.in_progress, None) == (
        running.facts.run.state, running.facts.remotes[0].doubted_at
    )  # fmt: skip


def test_usage_is_counted_once() -> None:
    """Tokens of a reading that did not count are not added to those of the one that did."""
    body = response("completed", output=[], usage={"total_tokens": 7})
    play = Play().create(body).wait(20).saw(body)

    assert {"total_tokens": 7} == play.facts.run.usage


@pytest.mark.parametrize("seconds", [1.0])
def test_the_deadline_takes_the_last_reading(seconds: float) -> None:
    """An object that said it completed does not expire for want of output."""
    play = Play(policy=Policy(deadline_seconds=seconds)).create(EMPTY)
    play.wait(2).settle()

    assert (State.completed, Attention.contradiction) == play.state
