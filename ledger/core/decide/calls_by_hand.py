"""What people say about single calls: approve, deny, run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.core.alphabet import Approval, EventKind, LateApproval, Source, State
from ledger.core.decide import approvals
from ledger.core.decide.call_record import allow_rerun, call_event
from ledger.core.decide.calls import tool_done
from ledger.core.decide.draft import Draft
from ledger.core.decide.operator import Command, with_reason
from ledger.core.model import ToolCall
from ledger.core.outcome import ToolDone, error_output
from ledger.core.plan.approvals import lapses_at, pending
from ledger.core.redaction import redact_text
from ledger.errors import InvalidInput, NotAllowed

DECIDED = (Approval.approved, Approval.denied)


def rerun_call(name: str, reason: str | None) -> Command:
    """Let a held call run again: whoever says so takes it upon them that it may happen twice."""

    def command(draft: Draft) -> None:
        held = [c for c in _open(draft) if c.held and c.output is None]
        named = [c for c in held if name in (c.call_id, str(c.n))]
        if draft.run.state != State.requires_action or not named:
            known = ", ".join(f"{c.n} ({c.call_id})" for c in held) or "none"
            raise NotAllowed(
                f"run {draft.run.id} ({draft.run.state}) has no held call {name!r}",
                hint=f"held calls: {known}",
            )
        allow_rerun(draft, named[-1], source=Source.operator, detail=with_reason(reason))

    return command


def judge_call(name: str, verdict: Approval, reason: str | None) -> Command:
    """Approve or deny a call that waits for a person's word.

    The same word twice is harmless, the other one refused. A word that comes too late is recorded
    and refused, unless policy attaches it to the same call of the attempt that goes on.
    """
    if verdict == Approval.denied and not (reason or "").strip():
        raise InvalidInput("a denial needs a reason: the model is told")

    def command(draft: Draft) -> None:
        call = _asked(draft, name)
        if call.approval in DECIDED:
            if call.approval != verdict:
                said = f"{call.approval} by {call.approval_actor}"
                raise NotAllowed(f"call {call.n} ({call.call_id}) was {said} already")
            return
        late = _too_late(draft, call)
        if late is None:
            _record(draft, call, verdict, reason, {})
            return
        successor = _successor(draft, call)
        detail: dict[str, Any] = {"verdict": str(verdict), "why": late, **with_reason(reason)}
        if successor is not None:
            detail["attached_to"] = successor.n
        call_event(draft, EventKind.approval_late, call, detail=detail)
        if successor is None:
            draft.refusal = f"too late: {late}; the history has the answer, and nothing follows"
            return
        attached = {"attached_from": call.n, "late_approval": str(LateApproval.attach)}
        _record(draft, successor, verdict, reason, attached)

    return command


def _open(draft: Draft) -> tuple[ToolCall, ...]:
    current = draft.facts.current
    return () if current is None else draft.facts.open_calls(current)


def _asked(draft: Draft, name: str) -> ToolCall:
    """The one call of that name that a word was asked for. A number is never ambiguous."""
    asked = [call for call in draft.calls if call.approval is not None]
    by_number = [call for call in asked if str(call.n) == name]
    named = by_number or [call for call in asked if call.call_id == name]
    undecided = [c for c in named if c.approval == Approval.required and c.output is None]
    if not named:
        raise NotAllowed(
            f"run {draft.run.id} has no call {name!r} that needs an approval",
            hint=f"calls that do: {_listed(asked)}",
        )
    if len(undecided) > 1:
        raise NotAllowed(
            f"{len(undecided)} calls of run {draft.run.id} have the id {name!r}",
            hint=f"name one by its number: {_listed(undecided)}",
        )
    return (undecided or named)[-1]


def _listed(calls: Sequence[ToolCall]) -> str:
    return ", ".join(f"{c.n} ({c.tool}, attempt {c.attempt})" for c in calls) or "none"


def _too_late(draft: Draft, call: ToolCall) -> str | None:
    """Why a word for this call changes nothing any more; None where it is in time."""
    run, current = draft.run, draft.facts.current
    if call.attempt != draft.attempt.number:
        ended = draft.attempts[call.attempt - 1].outcome
        return (
            f"attempt {call.attempt} ended {ended}, and run {run.id} is in attempt {run.attempts}"
        )
    if run.final:
        return f"run {run.id} is {run.state}"
    if call.output is not None:
        return f"call {call.n} is answered already"
    if run.cancel_requested_at is not None:
        return f"run {run.id} is being cancelled"
    if current is None or run.state != State.requires_action or call not in _open(draft):
        return f"run {run.id} is {run.state} and asks for call {call.n} no more"
    lapsed = lapses_at(draft.facts, current)
    if draft.now >= lapsed:
        return f"the time for call {call.n} ran out at {lapsed.isoformat()}"
    return None


def _successor(draft: Draft, call: ToolCall) -> ToolCall | None:
    """The same call of the attempt that goes on, where policy lets a late word count for it."""
    if draft.run.policy.late_approval != LateApproval.attach:
        return None
    for other in _open(draft):
        same = other.key == call.key and other.n != call.n
        if same and pending(other) and _too_late(draft, other) is None:
            return other
    return None


def _record(
    draft: Draft, call: ToolCall, verdict: Approval, reason: str | None, detail: dict[str, Any]
) -> None:
    approved = verdict == Approval.approved
    said = draft.set_call(
        call.n,
        approval=verdict,
        approval_actor=draft.actor,
        approval_reason=reason,
        approval_at=draft.now,
    )
    kind = EventKind.tool_approved if approved else EventKind.tool_denied
    call_event(draft, kind, said, detail={**detail, **with_reason(reason)})
    draft.calm(*approvals.WORDS)
    if not approved:
        text = redact_text(f"a person denied this call: {reason}")
        output = error_output("denied", text)
        done = ToolDone(n=call.n, output=output, is_error=True)
        tool_done(draft, done, source=Source.operator)
