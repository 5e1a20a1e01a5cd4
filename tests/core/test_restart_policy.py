"""Restarts by policy: counted rule by rule, delayed, and stopped by what they have cost."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from support import NOW, later, response
from test_decide_paths import Play, done

from ledger.core.alphabet import Attention, EventKind, State
from ledger.core.decide import operator
from ledger.core.explain import explain
from ledger.core.following import Surroundings, WaitingFor
from ledger.core.policy import Policy, PolicyInput, judge_policy, parse_restart
from ledger.core.steps import Create, Settle, Wait
from ledger.errors import InvalidInput


def ended(status: str, n: int, code: str | None = None, tokens: int = 0) -> bytes:
    """A response that did not complete."""
    error = {"code": code, "message": "sorry"} if code else None
    return response(
        status,
        remote_id=f"resp_{n}",
        error=error,
        usage={"total_tokens": tokens, "input_tokens": 1},
    )


def policy(restart: str, **fields: object) -> Policy:
    """The policy of a caller."""
    return judge_policy(PolicyInput(restart=restart, **fields), Policy())  # type: ignore[arg-type]


def test_each_rule_counts_its_own_restarts_alone() -> None:
    """A restart after an expiry takes nothing from the rule about failures."""
    play = Play(policy=policy("expired=1,failed:server_error=1"))
    play.create(ended("expired", 1)).create(ended("failed", 2, "server_error"))

    assert (State.queued, 3) == (play.facts.run.state, play.facts.run.attempts)
    play.create(ended("expired", 3))
    assert (State.expired, 3) == (play.facts.run.state, play.facts.run.attempts)


def test_a_restart_by_a_person_counts_against_no_rule() -> None:
    """What a person did takes nothing from the policy."""
    play = Play(policy=policy("expired=1")).create(ended("incomplete", 1))
    play.command(operator.restart_run(None, None)).create(ended("expired", 2))

    assert (State.queued, 3) == (play.facts.run.state, play.facts.run.attempts)


def test_delays_grow_by_the_factor_up_to_their_limit() -> None:
    """10 s, 30 s, then the limit of 60 s: the same for the same history."""
    play = Play(
        policy=policy("expired=3", restart_delay="10s", restart_backoff=3, restart_delay_max="1m")
    )
    waits = []
    for n in range(1, 4):
        play.create(ended("expired", n))
        step = play.step
        assert isinstance(step, Wait), step
        assert step.until == play.facts.attempt.not_before
        waits.append((step.until - play.now).total_seconds())
        play.now = step.until
        assert isinstance(play.step, Create)

    assert [10.0, 30.0, 60.0] == waits


def test_a_person_does_not_wait() -> None:
    """A restart by hand is sent at once."""
    play = Play(policy=policy("none", restart_delay="1h")).create(ended("expired", 1))
    play.command(operator.restart_run(None, None))

    assert Create(2) == play.step


def test_the_wait_is_explained_and_ends_with_the_deadline_at_the_latest() -> None:
    """What it waits for, until when; a delay beyond the deadline is the end of the run."""
    short = Play(
        policy=policy("expired=1", restart_delay="1h", restart_delay_max="2h", deadline=600)
    )
    short.create(ended("expired", 1))
    found = explain(short.facts, Surroundings(now=NOW, driven=True))

    assert (WaitingFor.life, "wait") == (found.waiting_for, found.step)
    assert Wait(later(600), "deadline") == short.step
    assert isinstance(short.wait(600).step, Settle)


def test_a_cancel_during_the_wait_ends_the_run_at_once() -> None:
    """Nothing was sent, so nothing has to be called off."""
    play = Play(policy=policy("expired=1", restart_delay="1m")).create(ended("expired", 1))
    play.command(operator.cancel("enough"))

    assert (State.cancelled, None) == play.state
    assert not play.facts.watched


def test_tokens_of_all_attempts_end_the_restarts() -> None:
    """Below the limit it goes on; at the limit the restart is held, with the numbers."""
    play = Play(policy=policy("expired=5", restart_max_tokens=100))
    play.create(ended("expired", 1, tokens=60))
    assert State.queued == play.facts.run.state
    play.create(ended("expired", 2, tokens=40))

    assert (State.expired, Attention.restart_over_tokens) == play.state
    assert EventKind.held == play.kinds[-2]
    assert {"used": 1, "tokens": 100, "restart_max_tokens": 100}.items() <= json.loads(
        next(p.body for p in reversed(play.last.payloads) if b"restart_max_tokens" in p.body)
    ).items()


def test_a_person_may_restart_beyond_the_tokens() -> None:
    """The limit is the policy's own."""
    play = Play(policy=policy("expired=5", restart_max_tokens=1))
    play.create(ended("expired", 1, tokens=60)).command(operator.restart_run(None, None))

    assert (State.completed, None) == play.create(done("resp_2")).state


@pytest.mark.parametrize(
    ("field", "value"),
    [("restart_delay", "-1s"), ("restart_delay", "8d"), ("restart_delay_max", "8d"),
     ("restart_backoff", 0.5), ("restart_backoff", 101), ("restart_backoff", "x"),
     ("restart_max_tokens", 0), ("restart_max_tokens", 10**13), ("restart_max_tokens", 1.5),
     ("restart_max_tokens", True)],
)  # fmt: skip
def test_what_is_out_of_bounds_is_named(field: str, value: object) -> None:
    """Every number is bounded, and refused by its name."""
    with pytest.raises(InvalidInput, match=field):
        policy("expired=1", **{field: value})


def test_numbers_may_be_texts() -> None:
    """A flag is a text, a file's number is a number."""
    one = policy("expired=1", restart_max_tokens="5000", restart_backoff="1.5")

    assert (5_000, 1.5) == (one.restart_max_tokens, one.restart_backoff)
    assert one == Policy.from_json(one.as_json())
    assert parse_restart("expired=1") == one.restart
    assert timedelta(0) == timedelta(seconds=one.restart_delay_seconds)
