"""How an attempt ends, and whether another begins."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from ledger.core.alphabet import (
    Attention,
    Effects,
    ErrorOrigin,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
    Trigger,
)
from ledger.core.decide.draft import Draft
from ledger.core.fingerprint import FAULTY, fingerprint, waiting_tool
from ledger.core.lifecycle import TRIGGER_TO
from ledger.core.model import Attempt, Remote, Run
from ledger.core.plan.calls import may_have_acted
from ledger.core.policy import RestartRule

POLICY: Final = "policy"
"""The cause of an attempt that nobody but the policy asked for."""
PASSING: Final = (
    Attention.unknown_status,
    Attention.tool_unhandled,
    Attention.unknown_outcome,
    Attention.approval_needed,
    Attention.approval_lapsing,
    Attention.blocked_credentials,
    Attention.blocked_quota,
    Attention.blocked_service,
    Attention.blocked_hidden,
    Attention.result_expiring,
)
"""Reasons for attention that a verdict answers."""


def marker(draft: Draft, n: int) -> str:
    """The ledger's own name for remote `n` of the newest attempt."""
    run = draft.run
    return f"{run.origin_ledger}:{run.origin_run}:{draft.attempt.number}:{n}"


def open_remote(draft: Draft, kind: RemoteKind, *, previous: int | None, parent: str) -> Remote:
    """Intend one more remote in the newest attempt."""
    number = len(draft.remotes) + 1
    remote = Remote(
        n=number,
        attempt=draft.attempt.number,
        kind=kind,
        account_id=draft.run.account_id,
        parent_id=parent,
        marker=marker(draft, number),
        previous=previous,
    )
    draft.remotes.append(remote)
    return remote


def end(
    draft: Draft,
    target: State,
    *,
    kind: EventKind,
    origin: ErrorOrigin | None = None,
    code: str | None = None,
    message: str | None = None,
    last_error: bytes | None = None,
    result: int | None = None,
    http_status: int | None = None,
    restartable: bool = True,
    **event: Any,
) -> None:
    """End the newest attempt in `target`, then restart if the policy says so and effects allow."""
    number = draft.attempt.number
    kept = draft.keep(last_error) if last_error is not None else None
    mark = _fingerprint(draft, target, origin, code, message, http_status)
    draft.set_attempt(
        outcome=target,
        ended_at=draft.now,
        last_error=kept,
        error_code=code,
        error_origin=origin,
        error_message=message,
        fingerprint=mark,
    )
    payloads = event.pop("payloads", ())
    if kept is not None:
        payloads = (*payloads, ("last_error", kept))
    moved = draft.move(TRIGGER_TO[target])
    fields = {**event, **moved, "attempt": number, "error_code": code, "payloads": payloads}
    draft.event(kind, **fields)
    draft.calm(*PASSING)
    draft.set_run(
        finished_at=draft.now,
        took_seconds=max(0.0, (draft.now - draft.run.created_at).total_seconds()),
        error_code=code,
        error_origin=origin,
        error_message=message,
        fingerprint=mark,
        result=result if result is not None else draft.run.result,
    )
    if restartable and draft.run.cancel_requested_at is None:
        _restart_by_policy(draft, target, code)


def _fingerprint(
    draft: Draft,
    target: State,
    origin: ErrorOrigin | None,
    code: str | None,
    message: str | None,
    http_status: int | None,
) -> str | None:
    """Name the failure, if the end is one."""
    if target not in FAULTY and code is None:
        return None
    made = fingerprint(
        provider=draft.run.provider,
        origin=origin,
        code=code,
        http_status=http_status,
        incomplete_reason=code if target == State.incomplete else None,
        tool=waiting_tool(draft.attempt, draft.calls),
        message=message,
    )
    draft.fingerprints.append(made)
    return made.id


def _restart_by_policy(draft: Draft, outcome: State, code: str | None) -> None:
    policy = draft.run.policy
    rule = policy.restart_rule(outcome, code)
    if rule is None or (used := restarts_used(draft, rule)) >= rule.count:
        return
    tokens, limit = tokens_used(draft.run), policy.restart_max_tokens
    detail = {"rule": str(rule), "used": used, "effects": str(policy.effects), "tokens": tokens}
    if limit is not None and tokens >= limit:
        detail["restart_max_tokens"] = limit
        draft.event(EventKind.held, source=Source.policy, detail=detail)
        draft.attend(Attention.restart_over_tokens)
        return
    if policy.effects == Effects.hold and effects_started(draft, draft.attempt):
        draft.event(EventKind.held, source=Source.policy, detail=detail)
        draft.attend(Attention.restart_has_effects)
        return
    before = sum(1 for attempt in draft.attempts if attempt.cause == POLICY)
    wait = policy.restart_wait_seconds(before)
    if wait:
        detail["delay_seconds"] = wait
    restart(draft, cause=POLICY, source=Source.policy, detail=detail, wait_seconds=wait)


def restarts_used(draft: Draft, rule: RestartRule) -> int:
    """How many restarts this rule has caused: those after an end that falls under it."""
    return sum(
        1
        for ended, following in pairwise(draft.attempts)
        if following.cause == POLICY
        and ended.outcome is not None
        and draft.run.policy.restart_rule(ended.outcome, ended.error_code) == rule
    )


def tokens_used(run: Run) -> int:
    """What upstream has counted for all attempts so far."""
    total = (run.usage or {}).get("total_tokens")
    return int(total) if isinstance(total, int | float) else 0


def effects_started(draft: Draft, attempt: Attempt) -> bool:
    """Whether a tool may have had an effect in this attempt."""
    return any(call.attempt == attempt.number and may_have_acted(call) for call in draft.calls)


def restart(
    draft: Draft,
    *,
    cause: str,
    source: Source,
    detail: dict[str, Any],
    wait_seconds: float = 0.0,
    accepts: int | None = None,
) -> None:
    """Open the next attempt. Its create waits until every older remote is settled; one that
    `accepts` what upstream said of an earlier remote creates nothing."""
    ended = draft.attempt
    base = accepts or last_link(draft, ended)
    moved = draft.move(Trigger.restart)
    draft.attempts.append(
        Attempt(
            number=ended.number + 1,
            cause=cause,
            opened_at=draft.now,
            base=base,
            not_before=draft.after(wait_seconds) if wait_seconds else None,
        )
    )
    draft.set_run(
        attempts=ended.number + 1,
        finished_at=None,
        took_seconds=None,
        cancel_requested_at=None,
        needs_attention=None,
        error_code=None,
        error_origin=None,
        error_message=None,
        fingerprint=None,
    )
    draft.event(
        EventKind.restarted,
        source=source,
        attempt=ended.number + 1,
        detail={"cause": cause, "after": str(ended.outcome), "code": ended.error_code, **detail},
        **moved,
    )
    _drop_unsent(draft, ended)
    if accepts is None:
        open_first(draft)


def _drop_unsent(draft: Draft, ended: Attempt) -> None:
    for remote in list(draft.remotes):
        if remote.attempt == ended.number and remote.state == RemoteState.intended:
            draft.set_remote(remote.n, state=RemoteState.absent, settled=True)


def last_link(draft: Draft, attempt: Attempt) -> int | None:
    """The last response of a chain whose calls all have an output: where a restart continues."""
    for remote in reversed(draft.remotes):
        calls = [call for call in draft.calls if call.remote == remote.n]
        if remote.kind == RemoteKind.response and remote.attempt <= attempt.number and calls:
            done = all(call.output is not None for call in calls)
            return remote.n if done and remote.state == RemoteState.confirmed else None
    return None


def open_first(draft: Draft) -> Remote:
    """Intend the first remote of the newest attempt."""
    if draft.run.provider == "responses":
        return open_remote(draft, RemoteKind.response, previous=draft.attempt.base, parent="")
    thread = draft.run.serial_key
    if thread is None:
        return open_remote(draft, RemoteKind.thread, previous=None, parent="")
    return open_remote(draft, RemoteKind.thread_run, previous=None, parent=thread)
