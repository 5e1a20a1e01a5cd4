"""The state machine: one frozen table, judged by one shared `transitions.Machine`.

The diagram, the documentation, "what can be done now", and the CHECK and triggers in the
database are all made from RULES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from transitions import Machine, MachineError

from ledger.core.alphabet import State, Trigger
from ledger.errors import NotAllowed

QUEUED, RUNNING, ACTION, CANCELLING = (
    State.queued,
    State.in_progress,
    State.requires_action,
    State.cancelling,
)
LIVE: Final = frozenset({QUEUED, RUNNING, ACTION, CANCELLING})
FINAL: Final = frozenset(State) - LIVE


@dataclass(frozen=True, slots=True)
class Rule:
    """`trigger` takes a run from any of `sources` to `target`."""

    trigger: Trigger
    sources: frozenset[State]
    target: State


RULES: Final = (
    Rule(Trigger.start, frozenset({QUEUED, ACTION}), RUNNING),
    Rule(Trigger.requeue, frozenset({RUNNING, ACTION}), QUEUED),
    Rule(Trigger.require_action, frozenset({QUEUED, RUNNING}), ACTION),
    Rule(Trigger.begin_cancel, frozenset({QUEUED, RUNNING, ACTION}), CANCELLING),
    Rule(Trigger.complete, LIVE, State.completed),
    Rule(Trigger.cut_short, LIVE, State.incomplete),
    Rule(Trigger.fail, LIVE, State.failed),
    Rule(Trigger.expire, LIVE, State.expired),
    Rule(Trigger.confirm_cancel, LIVE, State.cancelled),
    Rule(Trigger.restart, FINAL - {State.completed}, QUEUED),
)

TRIPLES: Final = tuple(
    (source, rule.trigger, rule.target) for rule in RULES for source in sorted(rule.sources)
)
"""Every legal (from, trigger, to)."""


class IllegalTransition(NotAllowed):
    """The table of rules has no such transition."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        self.state, self.trigger = state, trigger
        possible = ", ".join(sorted(possible_triggers(state))) or "nothing"
        super().__init__(f"a run that is {state} cannot {trigger}; possible here: {possible}")


@dataclass(slots=True)
class _Cursor:
    state: str


def _machine() -> Machine:
    rows: list[Any] = [
        {"trigger": trigger.value, "source": source.value, "dest": target.value}
        for source, trigger, target in TRIPLES
    ]
    return Machine(
        model=None,
        initial=State.queued.value,
        states=[state.value for state in State],
        transitions=rows,
        auto_transitions=False,
    )


def _check_table() -> None:
    """What the library accepts silently and we do not."""
    pairs = [(source, trigger) for source, trigger, _ in TRIPLES]
    if len(set(pairs)) != len(pairs):
        raise AssertionError("two rules share a trigger and a source")
    if {trigger for _, trigger in pairs} != set(Trigger):
        raise AssertionError("a trigger has no rule")
    if {target for _, _, target in TRIPLES} != set(State):
        raise AssertionError("a state cannot be reached")


_check_table()
_MACHINE: Final = _machine()


def advance(state: State, trigger: Trigger) -> State:
    """The state that `trigger` leads to. Raises IllegalTransition where RULES has none."""
    cursor = _Cursor(state.value)
    try:
        _MACHINE.events[trigger.value].trigger(cursor)
    except MachineError as error:
        raise IllegalTransition(state, trigger) from error
    return State(cursor.state)


def possible_triggers(state: State) -> tuple[Trigger, ...]:
    """What can happen to a run in `state`."""
    return tuple(sorted(Trigger(name) for name in _MACHINE.get_triggers(state.value)))


TRIGGER_TO: Final = {rule.target: rule.trigger for rule in RULES if rule.trigger != Trigger.restart}
"""The trigger that an observation of a state pulls."""


def trigger_towards(state: State, target: State) -> Trigger | None:
    """The trigger that takes `state` to `target`, if the table has one."""
    trigger = TRIGGER_TO[target]
    return trigger if (state, trigger, target) in _LEGAL else None


_LEGAL: Final = frozenset(TRIPLES)
