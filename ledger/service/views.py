"""Runs and events as people and programs read them: plain values with stable names."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ledger.core.decide.usage import usage_of
from ledger.core.following import Next, Surroundings
from ledger.core.model import Attempt, Facts, Remote, Run, ToolCall
from ledger.core.restart_plan import RestartPlan
from ledger.core.results import output_text
from ledger.store.queries import StoredPayload

Payloads = Mapping[int, StoredPayload]


def run_summary(run: Run) -> dict[str, Any]:
    """One line of `list`."""
    return {
        "id": run.id,
        "key": run.key,
        "status": str(run.state),
        "provider": run.provider,
        "model": run.model,
        "assistant": run.assistant,
        "kind": run.kind,
        "tags": dict(run.tags),
        "attempts": run.attempts,
        "needs_attention": _text(run.needs_attention),
        "error_code": run.error_code,
        "error_origin": _text(run.error_origin),
        "error_message": run.error_message,
        "fingerprint": run.fingerprint,
        "usage": run.usage,
        "calls": run.calls,
        "created_at": _time(run.created_at),
        "started_at": _time(run.started_at),
        "finished_at": _time(run.finished_at),
        "deadline_at": _time(run.deadline_at),
        "cancel_requested_at": _time(run.cancel_requested_at),
    }


NOT_KNOWN = ("needs_attention", "usage", "calls", "deadline_at", "cancel_requested_at")
"""What no event says of a run as it stood."""


def past_summary(run: Run) -> dict[str, Any]:
    """One line of `list --as-of`, of a run that was under way then."""
    return {**run_summary(run), **dict.fromkeys(NOT_KNOWN)}


def next_view(following: Next, around: Surroundings) -> dict[str, Any]:
    """What happens next, and who holds the run."""
    owner = around.owner
    return {
        "step": following.step,
        "at": _time(following.at),
        "why": following.why,
        "waiting_for": _text(following.waiting_for),
        "since": _time(following.since),
        "until": _time(following.until),
        "owner": owner
        and {
            "life": owner.life,
            "role": owner.role,
            "host": owner.host,
            "pid": owner.pid,
            "fence": owner.fence,
            "alive": owner.alive,
            "heartbeat_at": _time(owner.heartbeat_at),
        },
    }


def plan_view(plan: RestartPlan) -> dict[str, Any]:
    """What a restart would do."""
    return {
        "id": plan.run_id,
        "status": str(plan.state),
        "allowed": plan.allowed,
        "refusal": plan.refusal,
        "effects": str(plan.effects),
        "attempts": plan.attempts,
        "tokens": plan.tokens,
        "continues_from": plan.continues_id,
        "waits_for": list(plan.waits_for),
        "deadline_at": _time(plan.deadline_at),
        "calls": [
            {
                "n": call.n,
                "attempt": call.attempt,
                "tool": call.tool,
                "key": call.key,
                "called_at": _time(call.called_at),
                "outcome_known": call.outcome_known,
                **call.consequences,
            }
            for call in plan.calls
        ],
    }


def run_whole(facts: Facts, payloads: Payloads) -> dict[str, Any]:
    """Everything about one run, with every field of a run that upstream names."""
    run = facts.run
    request = json_of(payloads.get(1))
    result = payloads.get(run.result) if run.result else None
    return {
        **run_summary(run),
        "pinned_at": _time(run.pinned_at),
        "erased_at": _time(run.erased_at),
        "imported_at": _time(run.imported_at),
        "policy": run.policy.as_json(),
        "call_counts": dict(sorted(run.call_counts.items())),
        "upstream": upstream_fields(facts, payloads, request),
        "request": request,
        "output_text": output_text(run.provider, result.body if result else None),
        "result": json_of(result),
        "attempts_detail": [_attempt(item, facts, payloads) for item in facts.attempts],
        "remotes": [_remote(item) for item in facts.remotes],
        "tool_calls": [_call(item, payloads) for item in facts.calls],
        "owner": facts.owner,
        "version": run.version,
        "events": run.event_seq,
        "head_hash": run.head_hash.hex(),
    }


def upstream_fields(facts: Facts, payloads: Payloads, request: Any) -> dict[str, Any]:
    """The newest remote in upstream's own words; what it left out comes from the request."""
    remote = facts.current
    body = json_of(payloads.get(remote.observed)) if remote and remote.observed else None
    seen: dict[str, Any] = body if isinstance(body, dict) else {}
    asked: dict[str, Any] = request if isinstance(request, dict) else {}

    def either(name: str) -> Any:
        return seen[name] if seen.get(name) is not None else asked.get(name)

    return {
        "id": remote.remote_id if remote else None,
        "thread_id": seen.get("thread_id") or facts.run.serial_key,
        "assistant_id": either("assistant_id"),
        "status": remote.observed_status if remote else None,
        "created_at": seen.get("created_at"),
        "started_at": seen.get("started_at"),
        "completed_at": seen.get("completed_at"),
        "failed_at": seen.get("failed_at"),
        "cancelled_at": seen.get("cancelled_at"),
        "expires_at": seen.get("expires_at") or _time(remote.expires_at if remote else None),
        "last_error": seen.get("last_error", seen.get("error")),
        "incomplete_details": seen.get("incomplete_details"),
        "required_action": seen.get("required_action"),
        "model": either("model"),
        "instructions": either("instructions"),
        "tools": either("tools"),
        "metadata": either("metadata"),
        "usage": seen.get("usage"),
    }


def _attempt(attempt: Attempt, facts: Facts, payloads: Payloads) -> dict[str, Any]:
    error = payloads.get(attempt.last_error) if attempt.last_error else None
    return {
        "number": attempt.number,
        "cause": attempt.cause,
        "outcome": _text(attempt.outcome),
        "opened_at": _time(attempt.opened_at),
        "ended_at": _time(attempt.ended_at),
        "error_code": attempt.error_code,
        "error_message": attempt.error_message,
        "error_origin": _text(attempt.error_origin),
        "fingerprint": attempt.fingerprint,
        "last_error": json_of(error),
        "last_error_bytes": text_of(error),
        "usage": usage_of(facts, attempt.number),
    }


def _remote(remote: Remote) -> dict[str, Any]:
    return {
        "n": remote.n,
        "attempt": remote.attempt,
        "kind": str(remote.kind),
        "remote_id": remote.remote_id,
        "parent_id": remote.parent_id or None,
        "marker": remote.marker,
        "state": str(remote.state),
        "settled": remote.settled,
        "observed_status": remote.observed_status,
        "observed_at": _time(remote.observed_at),
        "sent_at": _time(remote.sent_at),
        "expires_at": _time(remote.expires_at),
        "request_id": remote.request_id,
        "usage": remote.usage,
    }


def _call(call: ToolCall, payloads: Payloads) -> dict[str, Any]:
    return {
        "n": call.n,
        "attempt": call.attempt,
        "call_id": call.call_id,
        "tool": call.tool,
        "key": call.key,
        "state": str(call.state),
        "held": call.held,
        "idempotent": call.idempotent,
        "transactional": call.transactional,
        "reruns": call.reruns,
        "approval": _text(call.approval),
        "approval_actor": call.approval_actor,
        "approval_reason": call.approval_reason,
        "approval_at": _time(call.approval_at),
        "arguments": text_of(payloads.get(call.arguments)),
        "output": text_of(payloads.get(call.output)) if call.output else None,
        "is_error": call.is_error,
        "requested_at": _time(call.requested_at),
        "started_at": _time(call.started_at),
        "finished_at": _time(call.finished_at),
        "submitted_at": _time(call.submitted_at),
        "confirmed_at": _time(call.confirmed_at),
    }


def event_view(row: Any) -> dict[str, Any]:
    """One event."""
    return {
        "run_id": row.run_id,
        "seq": row.seq,
        "kind": str(row.kind),
        "from": _text(row.from_state),
        "trigger": _text(row.trigger),
        "to": _text(row.to_state),
        "source": str(row.source),
        "actor": row.actor,
        "recorded_at": _time(row.recorded_at),
        "remote_at": _time(row.remote_at),
        "remote_status": row.remote_status,
        "request_id": row.request_id,
        "error_code": row.error_code,
        "attempt": row.attempt,
        "remote": row.remote,
        "detail": row.detail,
        "hash": bytes(row.hash).hex(),
    }


def json_of(payload: StoredPayload | None) -> Any:
    """A payload's JSON, or None if there is none, it is erased, or it is not JSON."""
    if payload is None or payload.body is None:
        return None
    try:
        return json.loads(payload.body)
    except (ValueError, RecursionError):
        return None


def text_of(payload: StoredPayload | None) -> str | None:
    """A payload's text; base64 where the bytes are not UTF-8."""
    if payload is None or payload.body is None:
        return None
    try:
        return payload.body.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(payload.body).decode()


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
