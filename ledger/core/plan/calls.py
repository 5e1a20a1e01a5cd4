"""The step for a run that waits for outputs."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.alphabet import CallState
from ledger.core.families import FAMILIES
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.plan.approvals import allowed, next_warning, unrecorded
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
    if call.state == CallState.requested:
        return allowed(call, context)
    return call.state == CallState.started and (spec.idempotent or repeatable(call))


def repeatable(call: ToolCall) -> bool:
    """Whether a second start harms nobody: the tool says so, or the first one left nothing behind,
    since what a transactional tool does is done together with the record of its output."""
    return call.idempotent is True or call.transactional is True


def may_have_acted(call: ToolCall) -> bool:
    """Whether the call may have had an effect that must not happen twice."""
    undone = call.transactional is True and (call.output is None or call.is_error)
    return call.started_at is not None and call.idempotent is not True and not undone


def step_for_calls(facts: Facts, remote: Remote, context: Context) -> Step:
    calls = facts.open_calls(remote)
    if any(unrecorded(call, context) for call in calls):
        return Settle("calls that need a person's word")
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

    One that may be repeated waits for a life that has its tool.
    """
    return call.state == CallState.started and not call.held and not repeatable(call)


def _waiting_for_outputs(facts: Facts, remote: Remote, context: Context) -> Step:
    waiting = [call for call in facts.open_calls(remote) if call.output is None]
    if any(abandoned(call) for call in waiting) or facts.run.needs_attention is None:
        return Settle("calls that nobody here may run")
    warning = next_warning(facts, remote, waiting)
    if warning is not None and context.now >= warning:
        return Settle("an approval lapses soon")
    if remote.settled:
        return Wait(min(warning or facts.run.deadline_at, facts.run.deadline_at), "tool output")
    step = when_due(Observe(remote.n), "tool output", context)
    if isinstance(step, Wait) and warning is not None and warning < step.until:
        return Wait(warning, "an approval lapses soon")
    return step


def _submission(calls: Sequence[ToolCall], remote: Remote, context: Context) -> Step:
    numbers = tuple(call.n for call in calls)
    pending = [call for call in calls if call.state == CallState.finished]
    if not pending:
        return when_due(Observe(remote.n), "next look", context)
    sent = [call.sent_at for call in pending if call.sent_at is not None]
    if not sent:
        return at_once(Submit(remote.n, numbers), "submit outputs", context)
    read_since = context.look.seen is not None and context.look.seen > max(sent)
    if read_since and context.now >= later(max(sent), RESEND_SECONDS):
        return Submit(remote.n, numbers)
    return when_due(Observe(remote.n), "was the submit taken?", context)
