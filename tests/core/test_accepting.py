"""A contradiction is accepted as a new verdict, or resolved; a loss says what it proves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support import failed, later, response, thread_run
from test_decide_paths import MESSAGES, Play, done, on_thread

from ledger.core.accept import Adoption
from ledger.core.alphabet import Attention, EventKind, RemoteState, Source, State
from ledger.core.decide import accepting, operator
from ledger.core.outcome import Elapsed, Harvested
from ledger.core.pacing import Look
from ledger.core.policy import Policy
from ledger.core.steps import Harvest
from ledger.errors import NotAllowed, ObjectHidden, ObjectMissing

SHORT = Policy(deadline_seconds=60)


def late(play: Play, first: bytes, then: bytes) -> Play:
    """A run whose deadline passed, and whose object ended otherwise afterwards."""
    play.create(first).wait(61).take(Elapsed(), Source.policy)
    return play.saw(then)


def accept(play: Play, body: bytes, reason: str = "paid for") -> Play:
    remote = accepting.contradicting(play.facts)
    return play.command(accepting.accept(remote.observed if remote else None, body, reason))


def test_upstreams_word_becomes_an_attempt_of_its_own() -> None:
    """The ended attempt stays; the accepted one ends as upstream said, with what it said."""
    play = late(Play(policy=SHORT), response(), done())
    before = play.facts.attempts[0]
    assert (State.expired, Attention.contradiction) == play.state
    accept(play, done())
    first, second = play.facts.attempts

    assert (State.completed, None) == play.state
    assert before == first
    assert ("accepted", State.completed, 1) == (second.cause, second.outcome, second.base)
    assert play.facts.run.result in [payload.n for payload in play.last.payloads]
    assert not play.facts.watched
    assert [EventKind.restarted, EventKind.ended] == play.kinds[-2:]
    (why,) = [p.body for p in play.last.payloads if b'"reason"' in p.body]
    assert {"reason": "paid for", "upstream": "completed"}.items() <= json.loads(why).items()


def test_a_thread_run_is_harvested_again() -> None:
    """The verdict of a thread run comes with its messages."""
    play = late(on_thread(policy=SHORT), thread_run(), thread_run("completed"))
    accept(play, thread_run("completed"))

    assert Harvest(play.facts.remotes[0].n) == play.step
    play.take(Harvested(n=1, body=MESSAGES))
    assert (State.completed, None) == play.state
    assert State.completed == play.facts.attempts[1].outcome
    assert not play.facts.watched


def test_another_failure_may_be_accepted_and_is_not_restarted() -> None:
    """It keeps its code and its last_error."""
    failure = response("failed", error={"code": "server_error", "message": "sorry"})
    policy = replace(SHORT, restart=Policy().restart)
    play = late(Play(policy=policy), response(), failure)
    accept(play, failure)

    assert (State.failed, None) == play.state
    assert ("server_error", 2) == (play.facts.run.error_code, play.facts.run.attempts)
    assert play.facts.attempts[1].last_error is not None


def refused(play: Play, body: bytes, words: str) -> None:
    before = play.facts
    with pytest.raises(NotAllowed, match=words):
        accept(play, body)
    assert before == play.facts


def test_what_cannot_be_accepted_says_why() -> None:
    """No verdict yet, nothing contradicted, completed for good, or changed meanwhile."""
    refused(Play().create(response()), response(), "no verdict yet")
    refused(Play().create(response("failed")), response("failed"), "contradicts nothing")
    refused(Play().create(done()), done(), "completed is done for good")
    changed = late(Play(policy=SHORT), response(), done())
    with pytest.raises(NotAllowed, match="has changed"):
        changed.command(accepting.accept(1, done(), "x"))


def test_resolve_clears_the_flag_and_keeps_the_verdict() -> None:
    """Who looked and why is an event; a flag that goes by itself cannot be waved away."""
    play = late(Play(policy=SHORT), response(), done())
    play.command(accepting.resolve("the customer was told"))

    assert (State.expired, None) == play.state
    assert EventKind.resolved == play.kinds[-1]
    with pytest.raises(NotAllowed, match="not flagged"):
        play.command(accepting.resolve("again"))
    live = Play().create(response("weird"))
    assert Attention.unknown_status == live.facts.run.needs_attention
    with pytest.raises(NotAllowed, match="goes only with its reason"):
        live.command(accepting.resolve("go away"))


# What a 404 proves.


def missing(play: Play, **look: Any) -> Play:
    """The third 404 in a row."""
    play.look = Look(next_at=play.now, failures=2, **look)
    return play.take(failed(ObjectMissing("404"), "observe"))


KEPT = Policy(result_retention_seconds=600)


@pytest.mark.problem(18)
@pytest.mark.parametrize(
    ("seconds", "code"), [(30, "remote_deleted"), (700, "remote_past_retention")]
)
def test_a_confirmed_object_was_deleted_or_its_time_was_up(seconds: float, code: str) -> None:
    """Within the retention somebody deleted it; after it upstream dropped it."""
    play = missing(Play(policy=KEPT).create(response()).wait(seconds))

    assert (State.failed, Attention.remote_missing) == play.state
    assert (code, RemoteState.lost) == (play.facts.run.error_code, play.facts.remotes[0].state)
    (proof,) = [p.body for p in play.last.payloads if b'"found"' in p.body]
    assert {"found": code, "looks": 3}.items() <= json.loads(proof).items()


def test_what_this_life_has_seen_counts() -> None:
    """Looks without news stand in memory alone, and prove that the object was there."""
    play = missing(Play(policy=KEPT).create(response()).wait(700), seen=later(690))

    assert "remote_deleted" == play.facts.run.error_code


@pytest.mark.problem(18)
def test_an_id_that_was_never_confirmed_is_no_proof_that_nothing_was_made() -> None:
    """Adopted by a wrong id, or deleted before the first look: the code says so, and the remote is
    lost to us, not absent."""
    play = Play(adopt=Adoption(kind=Play().facts.remotes[0].kind, remote_id="resp_typo"))
    missing(play)

    assert (State.failed, "remote_never_confirmed") == (
        play.facts.run.state, play.facts.run.error_code
    )  # fmt: skip
    assert RemoteState.lost == play.facts.remotes[0].state


@pytest.mark.problem(18, 30)
def test_a_credential_that_may_not_see_it_never_becomes_a_verdict() -> None:
    """The run keeps its state and says so; the first good read takes the flag away."""
    play = Play().create(response())
    play.take(failed(ObjectHidden("404"), "observe"))
    play.look = Look(next_at=play.now, failures=9)
    assert play.peek_failure(ObjectHidden("404")).empty
    assert (State.in_progress, Attention.blocked_hidden) == play.state

    assert (State.completed, None) == play.saw(done()).state


def test_what_is_over_is_readable_until_its_time() -> None:
    """Counted from upstream's own end where it names one; never for what is kept for good."""
    ended = response("failed", completed_at=later(-100).timestamp())
    timed = Play(policy=KEPT).create(ended).facts.remotes[0].readable_until

    assert later(500) == timed
    assert later(600) == Play(policy=KEPT).create(done()).facts.remotes[0].readable_until
    assert Play().create(done()).facts.remotes[0].readable_until is None


def test_a_result_that_cannot_be_fetched_in_time_is_flagged_once() -> None:
    """Half of its time gone with failed reads: a person should know."""
    play = Play(policy=KEPT).create(response())
    play.wait(200).look = Look(next_at=play.now, failures=1)
    assert play.peek_failure(ObjectMissing("404")).empty
    play.wait(150).look = Look(next_at=play.now, failures=1)
    play.take(failed(ObjectMissing("404"), "observe"))

    assert (State.in_progress, Attention.result_expiring) == play.state
    assert (State.completed, None) == play.saw(done()).state


def test_an_operator_restarts_what_was_accepted() -> None:
    """An accepted failure is an ordinary end."""
    failure = response("failed", error={"code": "server_error"})
    play = accept(late(Play(policy=SHORT), response(), failure), failure)
    play.command(operator.restart_run(None, None)).create(done("resp_2"))

    assert (State.completed, 3) == (play.facts.run.state, play.facts.run.attempts)


def test_what_an_ended_attempt_still_used_is_counted_once() -> None:
    """Tokens of a tail are the run's, and a second reading of the same end adds none."""
    used = response("completed", output=[{"type": "message"}], usage={"total_tokens": 5})
    play = late(Play(policy=SHORT), response(), used)
    assert {"total_tokens": 5} == play.facts.run.usage

    play.command(operator.recheck()).wait(1).saw(used)
    assert {"total_tokens": 5} == play.facts.run.usage
