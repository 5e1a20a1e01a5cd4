"""Counting tokens from the event log: each object's once, whenever they were told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support import NOW, Bench, function_call, later
from test_store_costs import AGAIN, ERROR, PRICES, completed, restarted, saw, usage
from test_store_metrics import let_others_end

from ledger.service.metrics import MODELS_MAX, OTHER, Measure
from ledger.store.metrics import Mark, tally

DONE = [{"type": "message"}]


class Spent:
    """What was counted so far, read after read."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._mark = bench, Mark()
        self.tokens: Counter[tuple[str, ...]] = Counter()
        self.wasted: Counter[tuple[str, ...]] = Counter()

    def read(self) -> Spent:
        """Go on."""
        let_others_end(self._bench)
        mark = self._mark
        since, self._mark = self._bench.store.read(lambda c: tally(c, mark))
        self.tokens.update({key: int(count) for key, count in since.tokens.items()})
        self.wasted.update({key: int(count) for key, count in since.wasted.items()})
        return self


def test_tokens_by_direction_and_model(bench: Bench) -> None:
    """Those of all attempts; what upstream did not tell is not there."""
    saw(bench, restarted(bench), "completed", output=DONE, usage=usage(10, 1, cached=4))
    completed(bench, None)
    completed(bench, usage(5, 2), model="gpt-b")
    spent = Spent(bench).read()

    assert {
        ("input", "gpt-a"): 1_010, ("cached_input", "gpt-a"): 4, ("output", "gpt-a"): 101,
        ("input", "gpt-b"): 5, ("cached_input", "gpt-b"): 0, ("output", "gpt-b"): 2,
    } == spent.tokens  # fmt: skip
    assert {("failed",): 1_100} == spent.wasted
    assert spent.tokens == Counter(spent.read().tokens)


@pytest.mark.parametrize("between", [False, True])
def test_a_link_is_for_nothing_when_its_attempt_fails_later(bench: Bench, between: bool) -> None:
    """Told before the end, counted with it: whether or not somebody read in between."""
    spent = Spent(bench)
    facts = bench.sending(model="gpt-a", policy=AGAIN)
    facts = saw(bench, facts, "completed", output=[function_call("c")], usage=usage(7, 3))
    if between:
        assert {} == spent.read().wasted
    assert "expired" == bench.elapse(facts, 100_000).run.state

    assert ({("expired",): 10}, 7) == (spent.read().wasted, spent.tokens["input", "gpt-a"])


def test_what_is_told_behind_the_end_is_counted_then(bench: Bench) -> None:
    """A run that expired, and whose object goes on to complete."""
    spent = Spent(bench)
    facts = saw(bench, bench.sending(model="gpt-a"), "in_progress")
    facts = bench.elapse(facts, 100_000)
    assert "expired" == facts.run.state
    assert {} == spent.read().wasted
    bench.now = later(100_060)
    saw(bench, bench.facts(facts.run.id), "completed", output=DONE, usage=usage(40, 2))

    assert ({("expired",): 42}, 40) == (spent.read().wasted, spent.tokens["input", "gpt-a"])


def measured(bench: Bench, **options: Any) -> Any:
    """Numbers, each read a new one."""
    ticks = iter(range(0, 1_000, 10)).__next__
    return Measure(bench.store, clock=ticks, wall=lambda: NOW, **options)


def test_money_is_that_of_known_prices(bench: Bench) -> None:
    """At the prices of the test; another model has none, and is not there."""
    completed(bench, usage(1_000_000, 200_000, cached=400_000))
    completed(bench, usage(1, 1), model="gpt-new")
    let_others_end(bench)

    assert {("gpt-a",): 2.64} == measured(bench, prices=PRICES).read().cost_usd
    assert {} == measured(bench).read().cost_usd


def test_models_are_bounded(bench: Bench) -> None:
    """A request may name any text: the first fifty keep their names."""
    for number in range(MODELS_MAX + 3):
        completed(bench, usage(1, 0), model=f"model-{number}")
    let_others_end(bench)
    tokens = measured(bench).read().total.tokens

    assert MODELS_MAX + 1 == len({model for _, model in tokens})
    assert (3, MODELS_MAX + 3) == (
        tokens["input", OTHER], sum(n for (how, _), n in tokens.items() if how == "input")
    )  # fmt: skip


def test_a_failure_that_policy_answers_is_for_nothing(bench: Bench) -> None:
    """The restart stands in the same transaction."""
    facts = bench.sending(model="gpt-a", policy=AGAIN)
    saw(bench, facts, "failed", error=ERROR, usage=usage(3, 1))

    assert {("failed",): 4} == Spent(bench).read().wasted
