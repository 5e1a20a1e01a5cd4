"""Calls that nobody runs: of unknown outcome, without a tool here, or without a person's word."""

from __future__ import annotations

from ledger.core.alphabet import Attention, OnUnknownOutcome, Source
from ledger.core.decide import approvals
from ledger.core.decide.call_record import allow_rerun, hold
from ledger.core.decide.calls import tool_done
from ledger.core.decide.draft import Draft
from ledger.core.model import Remote, ToolCall
from ledger.core.outcome import ToolDone, error_output
from ledger.core.plan.approvals import pending
from ledger.core.plan.calls import abandoned
from ledger.core.steps import RERUNS_MAX, Context

UNKNOWN = (
    "the process that ran this call ended before it had recorded a result; whether the call took "
    "effect is not known, so assume neither that it did nor that it did not"
)


def flag_waiting(draft: Draft, remote: Remote, context: Context) -> None:
    """Say that calls wait for somebody: for a word, for a handler, or for one who knows."""
    for call in draft.facts.open_calls(remote):
        if call.output is None and abandoned(call):
            _settle_unknown(draft, call, context)
    approvals.require(draft, remote, context)
    waiting = [
        call.tool
        for call in draft.facts.open_calls(remote)
        if call.output is None
        and not call.held
        and not pending(call)
        and call.tool not in context.tools
    ]
    if draft.run.needs_attention is not None:
        return
    if waiting:
        draft.attend(Attention.tool_unhandled, tools=sorted(set(waiting)))
    elif any(call.held and call.output is None for call in draft.facts.open_calls(remote)):
        # Another reason had covered this one, and is gone.
        draft.attend(Attention.unknown_outcome)


def _settle_unknown(draft: Draft, call: ToolCall, context: Context) -> None:
    """A dead life had started the call: what becomes of it is the tool's word, else the run's."""
    spec = context.tools.get(call.tool)
    by_tool = (spec.on_unknown_outcome if spec else None) or call.on_unknown_outcome
    chosen = by_tool or draft.run.policy.on_unknown_outcome
    said_by = "tool" if by_tool else "run"
    detail = {"on_unknown_outcome": str(chosen), "said_by": said_by}
    if chosen == OnUnknownOutcome.rerun and call.reruns < RERUNS_MAX:
        allow_rerun(draft, call, source=Source.policy, detail=detail)
    elif chosen == OnUnknownOutcome.error_output:
        output = error_output("unknown_outcome", UNKNOWN)
        tool_done(draft, ToolDone(n=call.n, output=output, is_error=True), detail=detail)
    else:
        hold(draft, call)
