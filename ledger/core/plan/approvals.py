"""Calls that wait for a person's word: until when, and from when on that is worth a warning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ledger.core.alphabet import Approval, CallState
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.steps import APPROVAL_WARNING_SECONDS, Context


def pending(call: ToolCall) -> bool:
    """Whether only a person's word is missing before the call may run."""
    return call.approval == Approval.required and call.output is None and not call.held


def unrecorded(call: ToolCall, context: Context) -> bool:
    """Whether the call needs a word by the tool that this life has, and the row does not say so."""
    spec = context.tools.get(call.tool)
    fresh = call.approval is None and call.output is None and call.state == CallState.requested
    return fresh and spec is not None and spec.requires_approval


def allowed(call: ToolCall, context: Context) -> bool:
    """Whether no word is needed any more."""
    if call.approval is not None:
        return call.approval == Approval.approved
    return not unrecorded(call, context)


def lapses_at(facts: Facts, remote: Remote) -> datetime:
    """Until when a word can still have an effect: upstream's expiry or the run's deadline."""
    if remote.expires_at is None or remote.settled:
        return facts.run.deadline_at
    return min(remote.expires_at, facts.run.deadline_at)


def warn_at(call: ToolCall, lapses: datetime) -> datetime:
    """When too little of the call's time is left to keep silent about it."""
    quarter = (lapses - call.requested_at) / 4
    return lapses - min(quarter, timedelta(seconds=APPROVAL_WARNING_SECONDS))


def next_warning(facts: Facts, remote: Remote, calls: Sequence[ToolCall]) -> datetime | None:
    """When the next warning is due; None where none is."""
    lapses = lapses_at(facts, remote)
    due = [
        warn_at(call, lapses) for call in calls if pending(call) and call.approval_warned_at is None
    ]
    return min(due, default=None)
