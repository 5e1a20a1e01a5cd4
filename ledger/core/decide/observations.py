"""What upstream said, and what follows: the remote row, the run's state, contradictions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

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
from ledger.core.decide.results import contradict, doubt, flag_empty
from ledger.core.decide.usage import add_usage
from ledger.core.delivery import read_announcement
from ledger.core.families import FAMILIES
from ledger.core.lifecycle import FINAL, trigger_towards
from ledger.core.model import Evidence, Facts, Remote
from ledger.core.outcome import Failed, Observation
from ledger.core.plan.doubts import doubt_over, doubted
from ledger.core.plan.tails import rechecking
from ledger.core.redaction import redact_bytes, redact_text
from ledger.core.steps import Context
from ledger.core.tokens import tokens_of
from ledger.errors import DeliveryRefused, QuotaExhausted, ServiceGone

STATES = {str(state): state for state in State}
BLOCKED = (
    Attention.blocked_credentials,
    Attention.blocked_quota,
    Attention.blocked_service,
    Attention.blocked_hidden,
    Attention.result_expiring,
)


ENDS = (*FINAL, State.requires_action)
"""What a look waits for."""


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
    if not created and not is_news(draft.facts, remote, seen, draft.now, draft.source):
        return
    fields = _absorb(draft, remote, seen, created=created)
    if not created and meaning(seen) in ENDS:
        draft.set_remote(remote.n, live_at=_live_at(remote, context))
    counted = STATES.get(remote.observed_status or "") in FINAL
    remote = draft.remotes[remote.n - 1]
    if _decides(draft.facts, remote):
        _judge(draft, remote, seen, fields, context)
        return
    if not counted and meaning(seen) in ENDS:
        # What an ended attempt still uses is paid for too.
        count_usage(draft, remote.n, seen)
    _tail(draft, remote, seen, fields)


def _live_at(remote: Remote, context: Context) -> datetime | None:
    """When the object was last seen before this reading; of looks, those at it alone count."""
    known = [remote.observed_at, context.look.seen]
    return max((at for at in known if at and at >= (remote.sent_at or at)), default=None)


def _decides(facts: Facts, remote: Remote) -> bool:
    """Whether the run's verdict still comes from this remote."""
    current = facts.current
    return not facts.run.final and current is not None and current.n == remote.n


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


def is_news(facts: Facts, remote: Remote, seen: Observation, now: datetime, source: Source) -> bool:
    """Whether a reading of a confirmed `remote` says anything that is not known yet."""
    if rechecking(remote):
        return True
    if seen.status != remote.observed_status:
        return seen.status is not None
    if not _decides(facts, remote):
        return False
    if doubted(remote):
        # The same words once more, unless they are the last, or there is something to show now.
        filled = seen.has_output or bool(seen.calls)
        return filled or doubt_over(facts, remote, now)
    known = facts.open_calls(remote)
    if meaning(seen) != State.requires_action:
        return source != Source.submit and any(
            call.submitted_at is not None and call.confirmed_at is None for call in known
        )
    asked = {(call.call_id, call.arguments_hash) for call in known}
    return {identity(call) for call in seen.calls} != asked or asked_anew(known, now)


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
        readable_until=_readable_until(draft, remote, seen),
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


def _readable_until(draft: Draft, remote: Remote, seen: Observation) -> datetime | None:
    """Counted from upstream's own end of the object, or from when it was first seen to be over."""
    kept = draft.run.policy.result_retention_seconds
    if kept is None or STATES.get(seen.status or "") not in FINAL:
        return None
    if remote.readable_until is not None:
        return remote.readable_until
    return min(seen.ended_at or draft.now, draft.now) + timedelta(seconds=kept)


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
    draft.set_remote(remote.n, doubted_at=None)
    trigger = trigger_towards(draft.run.state, target)
    moved = draft.move(trigger) if trigger else {}
    draft.event(fields.pop("kind"), **fields, **moved)
    if target == State.requires_action:
        _settle_link(draft, remote, seen)
        open_round(draft, remote.n, seen, context)


def _settle_link(draft: Draft, remote: Remote, seen: Observation) -> None:
    if FAMILIES[draft.run.provider].chained:
        count_usage(draft, remote.n, seen)
        draft.set_remote(remote.n, settled=True)


def _conclude(
    draft: Draft, remote: Remote, seen: Observation, target: State, fields: dict[str, Any]
) -> None:
    family = FAMILIES[draft.run.provider]
    empty = target == State.completed and not seen.has_output and not family.harvested
    if empty and doubt(draft, remote, fields):
        return
    draft.set_remote(remote.n, settled=True)
    count_usage(draft, remote.n, seen)
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
    if empty:
        flag_empty(draft, remote)


def count_usage(draft: Draft, n: int, seen: Observation) -> None:
    """To the object that used it, and to the run. An attempt's is that of its objects: it is over,
    and must not change, when a cancelled or superseded one reports late."""
    if seen.usage is None:
        return
    more = json.loads(seen.usage)
    draft.set_run(usage=add_usage(draft.run.usage, more))
    usage = add_usage(draft.remotes[n - 1].usage, more)
    tokens = tokens_of(usage)
    draft.set_remote(
        n,
        usage=usage,
        tokens_in=tokens.input if tokens else None,
        tokens_cached=tokens.cached if tokens else None,
        tokens_out=tokens.output if tokens else None,
        usage_at=draft.now,
    )


def _tail(draft: Draft, remote: Remote, seen: Observation, fields: dict[str, Any]) -> None:
    """The reading is of a remote whose attempt is over: it changes the remote's row alone."""
    target = meaning(seen)
    over = target in FINAL or (
        target == State.requires_action and remote.kind == RemoteKind.response
    )
    if over:
        draft.set_remote(remote.n, settled=True)
    if over and draft.facts.current == draft.remotes[remote.n - 1]:
        # As the cancel wanted; what ended otherwise is flagged below.
        draft.calm(Attention.cancel_unconfirmed)
    draft.event(fields.pop("kind"), **fields)
    verdict = draft.attempts[remote.attempt - 1].outcome
    asked_for = target == State.cancelled and remote.cancel_sent_at is not None
    if target in FINAL and verdict is not None and target != verdict and not asked_for:
        contradict(draft, draft.remotes[remote.n - 1], verdict, str(target))


def blocked(outcome: Failed) -> Attention:
    """Why an account that answers so is stopped."""
    if outcome.kind is ServiceGone:
        return Attention.blocked_service
    if outcome.kind is QuotaExhausted:
        return Attention.blocked_quota
    return Attention.blocked_credentials


def notified(draft: Draft, item: Evidence) -> None:
    """A delivery makes us look and proves nothing: the read that follows does."""
    try:
        said = read_announcement(item.body)
    except DeliveryRefused:
        return
    named = [r for r in draft.remotes if r.remote_id == said.object_id]
    received = item.received_at.isoformat()
    draft.event(
        EventKind.notified,
        source=Source.webhook,
        remote=named[-1].n if named else None,
        attempt=named[-1].attempt if named else draft.attempt.number,
        remote_at=said.created_at,
        remote_at_source="webhook" if said.created_at else None,
        detail={
            "webhook_id": item.key,
            "type": said.type,
            "received_at": received,
            # With it the chain proves the delivery's bytes, which are kept as evidence.
            "digest": item.digest.hex(),
        },
    )


def without_evidence(draft: Draft) -> None:
    """Mark all evidence that these facts hold as read."""
    if draft.before.evidence:
        newest = max(item.id for item in draft.before.evidence)
        draft.run = replace(draft.run, evidence_seen=newest)
