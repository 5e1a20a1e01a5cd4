"""What upstream said, and what follows: the remote row, the run's state, contradictions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from ledger.core.alphabet import (
    Attention,
    ErrorOrigin,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
)
from ledger.core.decide.calls import asked_anew, identity, open_round, submission_seen
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end, open_remote
from ledger.core.families import FAMILIES
from ledger.core.lifecycle import FINAL, trigger_towards
from ledger.core.model import Remote
from ledger.core.outcome import Failed, Harvested, Observation
from ledger.core.plan.tails import rechecking
from ledger.core.redaction import redact_bytes, redact_text
from ledger.core.results import has_messages
from ledger.core.steps import Context
from ledger.errors import QuotaExhausted, ServiceGone

STATES = {str(state): state for state in State}
BLOCKED = (
    Attention.blocked_credentials,
    Attention.blocked_quota,
    Attention.blocked_service,
)
USAGE_MAX: Final = 10**15
USAGE_DEPTH: Final = 4


def meaning(observation: Observation) -> State | None:
    """The state that an upstream status stands for; None for one that nobody knows."""
    state = STATES.get(observation.status or "")
    chained = observation.kind == RemoteKind.response
    if state == State.completed and chained and observation.calls:
        return State.requires_action
    return state


def observed(draft: Draft, remote: Remote, seen: Observation, context: Context) -> None:
    """Take in one reading of `remote`."""
    created = remote.state in (RemoteState.sending, RemoteState.unknown, RemoteState.intended)
    if remote.kind == RemoteKind.thread:
        _thread_made(draft, remote, seen)
        return
    # The account works again, whether or not the object has changed.
    draft.calm(*BLOCKED)
    if not created and not rechecking(remote) and not _news(draft, remote, seen):
        return
    fields = _absorb(draft, remote, seen, created=created)
    remote = draft.remotes[remote.n - 1]
    if _decides(draft, remote):
        _judge(draft, remote, seen, fields, context)
    else:
        _tail(draft, remote, seen, fields)


def _decides(draft: Draft, remote: Remote) -> bool:
    """Whether the run's verdict still comes from this remote."""
    current = draft.facts.current
    return not draft.run.final and current is not None and current.n == remote.n


def adopt(draft: Draft, remote: Remote, seen: Observation, *, source: Source) -> None:
    """An object that carries the marker, or that a person named, is this remote."""
    fields = _absorb(draft, remote, seen, created=True)
    draft.event(fields.pop("kind"), source=source, **fields)
    # What follows comes from a read of its own, which also opens calls and fetches output.
    draft.set_remote(remote.n, observed_status=None)
    draft.calm(Attention.unknown_create)


def _thread_made(draft: Draft, remote: Remote, seen: Observation) -> None:
    current = draft.facts.current
    fields = _absorb(draft, remote, seen, created=True)
    draft.set_remote(remote.n, settled=True)
    draft.event(fields.pop("kind"), **fields)
    # A thread that was made again meanwhile stays empty: one thread carries the run.
    if not draft.run.final and current is not None and current.n == remote.n:
        draft.set_run(serial_key=seen.remote_id)
        open_remote(draft, RemoteKind.thread_run, previous=None, parent=seen.remote_id or "")


def _news(draft: Draft, remote: Remote, seen: Observation) -> bool:
    if seen.status != remote.observed_status:
        return seen.status is not None
    if not _decides(draft, remote):
        return False
    known = draft.facts.open_calls(remote)
    if meaning(seen) != State.requires_action:
        return draft.source != Source.submit and any(
            call.submitted_at is not None and call.confirmed_at is None for call in known
        )
    asked = {(call.call_id, call.arguments_hash) for call in known}
    return {identity(call) for call in seen.calls} != asked or asked_anew(known, draft.now)


def _absorb(draft: Draft, remote: Remote, seen: Observation, *, created: bool) -> dict[str, Any]:
    """Update the remote's row; returns the fields of the event that records the reading."""
    body = draft.keep(redact_bytes(seen.body))
    draft.set_remote(
        remote.n,
        state=RemoteState.confirmed,
        # Given up as unresolved, and there after all: it has to be settled again.
        settled=remote.settled and not created,
        # A null never overwrites what is known: seen in a compatible server (litellm#37158).
        remote_id=remote.remote_id or seen.remote_id,
        parent_id=remote.parent_id or seen.parent_id or "",
        observed_status=seen.status,
        observed=body,
        observed_at=draft.now,
        changed_at=draft.now,
        remote_created_at=seen.created_at or remote.remote_created_at,
        remote_started_at=seen.started_at or remote.remote_started_at,
        remote_ended_at=seen.ended_at or remote.remote_ended_at,
        expires_at=seen.expires_at or remote.expires_at,
        request_id=seen.request_id or remote.request_id,
        settle_until=None,
    )
    if seen.model and draft.run.model is None:
        draft.set_run(model=seen.model[:256])
    return {
        "kind": EventKind.create_confirmed if created else EventKind.observed,
        "remote": remote.n,
        "attempt": remote.attempt,
        "remote_status": seen.status,
        "request_id": seen.request_id,
        "remote_at": seen.ended_at or seen.started_at or seen.created_at,
        "remote_at_source": "object" if seen.created_at else None,
        "payloads": (("body", body),),
    }


def _judge(
    draft: Draft, remote: Remote, seen: Observation, fields: dict[str, Any], context: Context
) -> None:
    """The reading decides on the run: it is of the current remote and there is no verdict yet."""
    draft.calm(Attention.unknown_create)
    submission_seen(draft, remote, seen)
    target = meaning(seen)
    if target is None:
        draft.event(fields.pop("kind"), **fields)
        if seen.status is not None:
            draft.attend(Attention.unknown_status, status=redact_text(seen.status)[:200])
        return
    draft.calm(Attention.unknown_status)
    if target in FINAL:
        _conclude(draft, remote, seen, target, fields)
        return
    trigger = trigger_towards(draft.run.state, target)
    moved = draft.move(trigger) if trigger else {}
    draft.event(fields.pop("kind"), **fields, **moved)
    if target == State.requires_action:
        _settle_link(draft, remote, seen)
        open_round(draft, remote.n, seen, context)


def _settle_link(draft: Draft, remote: Remote, seen: Observation) -> None:
    if FAMILIES[draft.run.provider].chained:
        _add_usage(draft, seen)
        draft.set_remote(remote.n, settled=True)


def _conclude(
    draft: Draft, remote: Remote, seen: Observation, target: State, fields: dict[str, Any]
) -> None:
    family = FAMILIES[draft.run.provider]
    draft.set_remote(remote.n, settled=True)
    _add_usage(draft, seen)
    if target == State.completed and family.harvested:
        # It waits for nothing any more but its result: not for its turn, and not for outputs.
        trigger = trigger_towards(draft.run.state, State.in_progress)
        moved = draft.move(trigger) if trigger else {}
        draft.event(fields.pop("kind"), **fields, **moved)
        return
    has_result = target in (State.completed, State.incomplete)
    end(
        draft,
        target,
        origin=ErrorOrigin.remote if target != State.completed else None,
        code=seen.error_code,
        message=redact_text(seen.error_message) if seen.error_message else None,
        last_error=redact_bytes(seen.last_error) if seen.last_error else None,
        result=draft.remotes[remote.n - 1].observed if has_result else None,
        **fields,
    )
    if target == State.completed and not seen.has_output:
        _doubt_empty(draft, remote)


def _add_usage(draft: Draft, seen: Observation) -> None:
    if seen.usage is not None:
        draft.set_run(usage=add_usage(draft.run.usage, json.loads(seen.usage)))


def add_usage(known: Any, more: Any, depth: int = USAGE_DEPTH) -> Any:
    """What a run used over all its links and attempts: numbers are summed, field by field.

    Upstream's numbers are not trusted: one beyond USAGE_MAX counts nothing, and cannot be stored.
    """
    if not isinstance(more, dict) or depth == 0:
        return known
    total: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
    for name, value in more.items():
        if isinstance(value, dict):
            total[name] = add_usage(total.get(name), value, depth - 1)
        elif _counts(value):
            before = total.get(name)
            total[name] = value + (before if isinstance(before, int | float) else 0)
    return total


def _counts(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= USAGE_MAX


def _tail(draft: Draft, remote: Remote, seen: Observation, fields: dict[str, Any]) -> None:
    """The reading is of a remote whose attempt is over: it changes the remote's row alone."""
    target = meaning(seen)
    over = target in FINAL or (
        target == State.requires_action and remote.kind == RemoteKind.response
    )
    if over:
        draft.set_remote(remote.n, settled=True)
    draft.event(fields.pop("kind"), **fields)
    verdict = draft.attempts[remote.attempt - 1].outcome
    asked_for = target == State.cancelled and remote.cancel_sent_at is not None
    if target in FINAL and verdict is not None and target != verdict and not asked_for:
        _contradict(draft, draft.remotes[remote.n - 1], verdict, str(target))


def _contradict(draft: Draft, remote: Remote, verdict: State, upstream: str) -> None:
    body = remote.observed
    draft.event(
        EventKind.contradiction,
        remote=remote.n,
        attempt=remote.attempt,
        payloads=(("body", body),) if body is not None else (),
        detail={"verdict": str(verdict), "upstream": upstream},
    )
    if draft.run.final or upstream == State.completed:
        draft.set_run(needs_attention=draft.run.needs_attention or Attention.contradiction)


def _doubt_empty(draft: Draft, remote: Remote) -> None:
    """Upstream says that it finished, and has nothing to show for it."""
    evidence = replace(remote, observed=draft.run.result)
    _contradict(draft, evidence, State.completed, "completed without output")


def harvested(draft: Draft, remote: Remote, outcome: Harvested) -> None:
    """The final output has arrived: the verdict."""
    result = draft.keep(redact_bytes(outcome.body))
    current = draft.facts.current
    if draft.run.final or current is None or current.n != remote.n:
        return
    end(
        draft,
        State.completed,
        kind=EventKind.result_stored,
        remote=remote.n,
        result=result,
        payloads=(("result", result),),
    )
    told = outcome.has_messages
    if not (has_messages(outcome.body) if told is None else told):
        _doubt_empty(draft, remote)


def blocked(outcome: Failed) -> Attention:
    """Why an account that answers so is stopped."""
    if outcome.kind is ServiceGone:
        return Attention.blocked_service
    if outcome.kind is QuotaExhausted:
        return Attention.blocked_quota
    return Attention.blocked_credentials


def without_evidence(draft: Draft) -> None:
    """Mark all evidence that these facts hold as read."""
    if draft.before.evidence:
        newest = max(item.id for item in draft.before.evidence)
        draft.run = replace(draft.run, evidence_seen=newest)
