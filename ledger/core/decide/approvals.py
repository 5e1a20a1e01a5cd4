"""Calls that wait for a person's word: the requirement on record, the flag, and the warning."""

from __future__ import annotations

from typing import Final

from ledger.core.alphabet import Approval, Attention, EventKind, Source
from ledger.core.decide.call_record import call_event
from ledger.core.decide.draft import Draft
from ledger.core.model import Remote, ToolCall
from ledger.core.plan.approvals import lapses_at, pending, unrecorded, warn_at
from ledger.core.steps import Context

WORDS: Final = (Attention.approval_needed, Attention.approval_lapsing)
YIELDING: Final = (
    None,
    Attention.approval_needed,
    Attention.tool_unhandled,
    Attention.unknown_outcome,
)
"""What a warning may cover: it is flagged again when the warning is gone."""


def require(draft: Draft, remote: Remote, context: Context) -> None:
    """Record which calls need a word: a life without their tool could not know."""
    lapses = lapses_at(draft.facts, remote)
    for call in draft.facts.open_calls(remote):
        if unrecorded(call, context):
            asked = draft.set_call(call.n, approval=Approval.required)
            detail = {"lapses_at": lapses.isoformat()}
            call_event(
                draft, EventKind.approval_required, asked, source=Source.policy, detail=detail
            )
    flag(draft, remote)


def flag(draft: Draft, remote: Remote) -> None:
    """Say that calls wait for a word, and warn once where little time is left for it."""
    waiting = [call for call in draft.facts.open_calls(remote) if pending(call)]
    lapsing = [call for call in waiting if _warned(draft, remote, call)]
    if lapsing and draft.run.needs_attention in YIELDING:
        draft.attend(Attention.approval_lapsing, calls=[call.n for call in lapsing])
    elif waiting and draft.run.needs_attention is None:
        draft.attend(Attention.approval_needed, calls=[call.n for call in waiting])


def _warned(draft: Draft, remote: Remote, call: ToolCall) -> bool:
    lapses = lapses_at(draft.facts, remote)
    if call.approval_warned_at is not None:
        return True
    if draft.now < warn_at(call, lapses):
        return False
    draft.set_call(call.n, approval_warned_at=draft.now)
    left = max(0.0, (lapses - draft.now).total_seconds())
    detail = {"lapses_at": lapses.isoformat(), "seconds_left": round(left, 3)}
    call_event(draft, EventKind.approval_lapsing, call, source=Source.policy, detail=detail)
    return True
