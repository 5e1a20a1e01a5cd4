"""The state machine: RULES is the truth, the library judges, and the page is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.core import diagram, lifecycle
from ledger.core.alphabet import State, Trigger
from ledger.core.lifecycle import (
    FINAL,
    LIVE,
    RULES,
    TRIPLES,
    IllegalTransition,
    Rule,
    advance,
    possible_triggers,
    trigger_towards,
)

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
LEGAL = {
    ("queued", "start"): "in_progress",
    ("queued", "require_action"): "requires_action",
    ("queued", "begin_cancel"): "cancelling",
    ("in_progress", "requeue"): "queued",
    ("in_progress", "require_action"): "requires_action",
    ("in_progress", "begin_cancel"): "cancelling",
    ("requires_action", "start"): "in_progress",
    ("requires_action", "requeue"): "queued",
    ("requires_action", "begin_cancel"): "cancelling",
    **{
        (live, trigger): final
        for live in ("queued", "in_progress", "requires_action", "cancelling")
        for trigger, final in (
            ("complete", "completed"),
            ("cut_short", "incomplete"),
            ("fail", "failed"),
            ("expire", "expired"),
            ("confirm_cancel", "cancelled"),
        )
    },
    **{(final, "restart"): "queued" for final in ("incomplete", "failed", "expired", "cancelled")},
}
"""Written out a second time, so that a change of RULES is a change of two places."""


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("state", State)
def test_every_pair_of_state_and_trigger(state: State, trigger: Trigger) -> None:
    """Each of the ninety pairs leads where the design says, or is refused by name."""
    target = LEGAL.get((state.value, trigger.value))
    if target is not None:
        assert target == advance(state, trigger)
        assert trigger in possible_triggers(state)
        return
    with pytest.raises(IllegalTransition, match=f"{state} cannot {trigger}") as caught:
        advance(state, trigger)
    assert (state, trigger) == (caught.value.state, caught.value.trigger)
    assert trigger not in possible_triggers(state)


def test_final_states_are_left_by_restart_alone() -> None:
    """A verdict is final; `completed` for ever, the others but for a restart."""
    assert {"completed", "incomplete", "failed", "expired", "cancelled"} == FINAL
    assert set(State) == LIVE | FINAL
    assert () == possible_triggers(State.completed)
    for state in FINAL - {State.completed}:
        assert (Trigger.restart,) == possible_triggers(state)


@pytest.mark.parametrize("target", sorted(set(State) - {State.queued}))
@pytest.mark.parametrize("state", State)
def test_an_observed_state_has_one_way_to_it(state: State, target: State) -> None:
    """trigger_towards gives the trigger that leads there, and nothing where no rule does."""
    trigger = trigger_towards(state, target)
    if trigger is None:
        assert not [t for s, t, to in TRIPLES if (s, to) == (state, target)]
    else:
        assert target == advance(state, trigger)


FAULTS = {
    "two rules share": [*RULES, Rule(Trigger.start, frozenset({State.queued}), State.failed)],
    "a trigger has no rule": RULES[:-1],
    "cannot be reached": [
        Rule(rule.trigger, rule.sources, State.failed) if rule.target == State.incomplete else rule
        for rule in RULES
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_does_not_get_past_the_import(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library would take in silence stops the program as it starts."""
    triples = tuple((s, rule.trigger, rule.target) for rule in FAULTS[fault] for s in rule.sources)
    monkeypatch.setattr(lifecycle, "TRIPLES", triples)

    with pytest.raises(AssertionError, match=fault):
        lifecycle._check_table()


def test_nothing_is_registered_with_the_shared_machine() -> None:
    """The machine judges and keeps nothing: no models, no automatic transitions."""
    assert [] == lifecycle._MACHINE.models
    assert set(Trigger) == set(lifecycle._MACHINE.events)


def test_the_page_is_what_the_table_draws() -> None:
    """docs/lifecycle.md says what RULES says, to the letter."""
    assert diagram.document() == PAGE.read_text()


def test_the_page_names_every_state_and_transition() -> None:
    """The diagram has one arrow for each triple, and each state has its paragraph."""
    page = diagram.document()
    for source, trigger, target in TRIPLES:
        assert f"{source} --> {target}: {trigger}" in page
    for state in State:
        assert f"| `{state}` | {'yes' if state in FINAL else 'no'} | " in page
    assert "classDef" not in page
