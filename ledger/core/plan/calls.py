"""The step for a run that waits for outputs."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.alphabet import CallState
from ledger.core.families import FAMILIES
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.plan.timing import at_once, later, when_due
from ledger.core.steps import (
    RESEND_SECONDS,
    Context,
    Observe,
    RunTools,
    Settle,
    Step,
    Submit,
    Wait,
)


def runnable(call: ToolCall, context: Context) -> bool:
    """Whether this life may start the call now."""
    spec = context.tools.get(call.tool)
    if spec is None or call.held:
        return False
    return call.state == CallState.requested or (
        call.state == CallState.started and (spec.idempotent or call.idempotent is True)
    )


def step_for_calls(facts: Facts, remote: Remote, context: Context) -> Step:
    calls = facts.open_calls(remote)
    ready = tuple(call.n for call in calls if runnable(call, context))
    if ready:
        return RunTools(ready)
    if any(call.output is None for call in calls):
        return _waiting_for_outputs(facts, remote, context)
    if FAMILIES[facts.run.provider].chained:
        return Settle("open")
    return _submission(calls, remote, context)


def abandoned(call: ToolCall) -> bool:
    """Started by a life that never said how it ended, and not to be started again by itself.

    One that is idempotent waits for a life that has its tool.
    """
    return call.state == CallState.started and not call.held and call.idempotent is not True


def _waiting_for_outputs(facts: Facts, remote: Remote, context: Context) -> Step:
    waiting = [call for call in facts.open_calls(remote) if call.output is None]
    if any(abandoned(call) for call in waiting) or facts.run.needs_attention is None:
        return Settle("calls that nobody here may run")
    if remote.settled:
        return Wait(facts.run.deadline_at, "tool output")
    return when_due(Observe(remote.n), "tool output", context)


def _submission(calls: Sequence[ToolCall], remote: Remote, context: Context) -> Step:
    numbers = tuple(call.n for call in calls)
    pending = [call for call in calls if call.state == CallState.finished]
    if not pending:
        return when_due(Observe(remote.n), "next look", context)
    sent = [call.sent_at for call in pending if call.sent_at is not None]
    if not sent:
        return at_once(Submit(remote.n, numbers), "submit outputs", context)
    read_since = context.look.last is not None and context.look.last > max(sent)
    if read_since and context.now >= later(max(sent), RESEND_SECONDS):
        return Submit(remote.n, numbers)
    return when_due(Observe(remote.n), "was the submit taken?", context)
