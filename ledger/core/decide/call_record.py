"""What all decisions about a tool call share: the event that names it, and the hold."""

from __future__ import annotations

from typing import Any

from ledger.core.alphabet import Attention, CallState, EventKind, Source
from ledger.core.decide.draft import Draft
from ledger.core.model import ToolCall


def call_event(draft: Draft, kind: EventKind, call: ToolCall, **fields: Any) -> None:
    """Append an event about a call."""
    detail = {"call": call.n, "call_id": call.call_id, "tool": call.tool, "key": call.key}
    detail |= fields.pop("detail", {})
    draft.event(kind, remote=call.remote, attempt=call.attempt, detail=detail, **fields)


def hold(draft: Draft, call: ToolCall) -> None:
    """Nobody may start this call by itself."""
    draft.set_call(call.n, held=True)
    call_event(draft, EventKind.tool_held, call, source=Source.policy)
    draft.attend(Attention.unknown_outcome, call=call.n)


def allow_rerun(draft: Draft, call: ToolCall, *, source: Source, detail: dict[str, Any]) -> None:
    """A call that may have had its effect may be started once more; the event says who says so."""
    again = draft.set_call(call.n, state=CallState.requested, held=False, reruns=call.reruns + 1)
    call_event(draft, EventKind.tool_rerun, again, source=source, detail=detail)
    draft.calm(Attention.unknown_outcome)
