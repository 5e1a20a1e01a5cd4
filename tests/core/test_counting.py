"""Calls and tokens: counted once, with the change that they belong to, and for who caused them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support import NOW, accepted, context, later, response, seen

from ledger.core.counting import Spent, name_of, outcome_of, spend, with_calls
from ledger.core.decide import arm, decide, flush_looks
from ledger.core.decide.usage import usage_of
from ledger.core.model import Change, Facts
from ledger.core.pacing import Look
from ledger.core.plan import next_step
from ledger.core.policy import Policy, parse_restart
from ledger.core.steps import Cancel
from ledger.core.tokens import Tokens, tokens_of


def made(
    facts: Facts, body: bytes, spent: Spent = (), call: str | None = None, **fields: Any
) -> Change:
    """What a reading makes of the facts, with these calls made so far, and the reading itself."""
    return decide(facts, seen(body, **fields), replace(context(), spent=spent, call=call))


def running() -> Facts:
    """A run whose response is in progress."""
    facts = accepted()
    facts = arm(facts, next_step(facts, context()), context()).after
    return made(facts, response("in_progress")).after


def test_the_call_made_last_stands_first() -> None:
    """Equal calls are one entry, however they alternate."""
    spent: Spent = ()
    for name in ("create.ok", "observe.ok", "observe.ok", "create.ok", "observe.ok"):
        spent = spend(spent, name)

    assert (("observe.ok", 3), ("create.ok", 2)) == spent


@pytest.mark.parametrize(
    ("operation", "result", "news", "outcome"),
    [
        ("observe", "ok", True, "ok"),
        ("observe", "ok", False, "unchanged"),
        ("search", "ok", False, "unchanged"),
        ("cancel", "ok", False, "ok"),
        ("observe", "ReplyLost", False, "ReplyLost"),
    ],
)
def test_only_a_look_can_be_for_nothing(
    operation: str, result: str, news: bool, outcome: str
) -> None:
    """A failure keeps its class; what has an effect is not judged by what it brings."""
    assert outcome == outcome_of(operation, result, news=news)


def test_calls_are_written_with_the_change_they_led_to() -> None:
    """With those made before; a reading without news writes none."""
    facts, spent = running(), (("observe.unchanged", 17),)
    same = made(facts, response("in_progress"), spent, call="observe.ok")
    done = made(facts, response("completed", output=[{}]), spent, call="observe.ok").after.run

    assert same.empty
    assert (18, {"observe.ok": 1, "observe.unchanged": 17}) == (done.calls, done.call_counts)


def test_an_intent_carries_the_calls_before_it() -> None:
    """A life that dies with the call that follows has not lost those."""
    looks: Spent = (("observe.unchanged", 3),)
    change = arm(running(), Cancel(1), replace(context(), spent=looks))

    assert (3, {"observe.unchanged": 3}) == (change.after.run.calls, change.after.run.call_counts)


def test_counts_go_on() -> None:
    """What is written already is added to."""
    run = with_calls(running().run, (("observe.ok", 2),))
    more = with_calls(run, (("observe.ok", 1), ("cancel.ok", 1)))

    assert (2, 4, {"observe.ok": 3, "cancel.ok": 1}) == (run.calls, more.calls, more.call_counts)


def test_failed_looks_are_flushed_without_an_event() -> None:
    """They are no news, and still were calls."""
    facts = running()
    look = Look(next_at=later(1), failures=3, last=NOW)
    change = flush_looks(facts, replace(context(look=look), spent=((name_of("observe", "X"), 3),)))

    assert ((), 3) == (change.events, change.after.run.calls)


def test_nothing_to_flush_is_nothing() -> None:
    """A life that made no call writes nothing."""
    assert flush_looks(running(), context()).empty


def test_tokens_are_kept_by_attempt() -> None:
    """The links of a chain are one attempt's; the run's are those of all."""
    facts = accepted(policy=Policy(restart=parse_restart("failed:server_error=1")))
    facts = arm(facts, next_step(facts, context()), context()).after
    usage = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    error = {"code": "server_error", "message": "x"}
    facts = made(facts, response("failed", error=error, usage=usage)).after
    facts = arm(facts, next_step(facts, context()), context()).after
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2}
    body = response("completed", remote_id="resp_2", output=[{}], usage=usage)
    facts = made(facts, body, n=2).after

    assert [{"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}, usage] == [
        usage_of(facts, 1), usage_of(facts, 2)
    ]  # fmt: skip
    assert [(10, 0, 4), (1, 1, 2)] == [
        (r.tokens_in, r.tokens_cached, r.tokens_out) for r in facts.remotes
    ]
    assert facts.run.usage is not None
    assert (11, 6) == (facts.run.usage["input_tokens"], facts.run.usage["output_tokens"])


def test_usage_that_is_not_told_is_unknown() -> None:
    """Not zero."""
    facts = made(running(), response("failed", error={"code": "x"}, usage=None)).after

    assert (None, None) == (facts.remotes[0].tokens_in, usage_of(facts, 1))


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, (5, 0, 2)),
        ({"prompt_tokens": 5, "prompt_token_details": {"cached_tokens": 3}}, (5, 3, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, (5, 5, 0)),
        ({"completion_tokens": 7, "input_tokens_details": None}, (0, 0, 7)),
        ({"input_tokens": -1, "output_tokens": True}, None),
        ({"input_tokens": float("nan")}, None),
        ({"input_tokens": 10**400}, None),
        ({"input_tokens": {"a": 1}}, None),
        ({"total_tokens": 12}, None),
        ({}, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_tokens_are_read_leniently(usage: Any, tokens: Any) -> None:
    """Both families' words; cached ones are a part of the input; nonsense is unknown."""
    found = tokens_of(usage)

    assert tokens == (found and (found.input, found.cached, found.output))


def test_tokens_add_up() -> None:
    """Each kind for itself."""
    both = Tokens(input=1, cached=1, output=2).plus(Tokens(input=3, output=4))

    assert (Tokens(input=4, cached=1, output=6), 10) == (both, both.total)
