"""What becomes of a create: journalled before it is sent, never blindly sent again."""

from __future__ import annotations

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
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end, open_remote
from ledger.core.decide.observations import adopt, blocked
from ledger.core.model import ADOPTED, Remote
from ledger.core.outcome import Failed, Found, Observation
from ledger.core.redaction import redact_text
from ledger.errors import Pause, Sent, ThreadBusy

INERT_RECREATES: Final = 3
"""A thread without a run costs nothing: an unclear create of one is repeated this often."""


def arm_create(draft: Draft, n: int) -> None:
    """The intent, committed before the POST leaves."""
    remote = draft.set_remote(n, state=RemoteState.sending, sent_at=draft.now)
    draft.take_lane = remote.kind == RemoteKind.thread_run
    draft.event(EventKind.create_sending, source=Source.create, remote=n)


def create_failed(draft: Draft, remote: Remote, outcome: Failed) -> None:
    """Sort a failed create into not sent, refused, unknown."""
    error = outcome.kind
    if error.sent == Sent.unknown:
        _unknown(draft, remote, outcome)
    elif error.sent == Sent.not_sent:
        _again(draft, remote, EventKind.create_not_sent, outcome)
    elif error.pause != Pause.none or error is ThreadBusy:
        _again(draft, remote, EventKind.create_refused, outcome)
        if error.pause == Pause.stopped:
            draft.attend(blocked(outcome), message=redact_text(outcome.message))
    else:
        _refused(draft, remote, outcome)


def _again(draft: Draft, remote: Remote, kind: EventKind, outcome: Failed) -> None:
    draft.set_remote(remote.n, state=RemoteState.intended, sent_at=None)
    draft.event(kind, source=Source.create, remote=remote.n, **failure(outcome))


def _refused(draft: Draft, remote: Remote, outcome: Failed) -> None:
    draft.set_remote(remote.n, state=RemoteState.absent, settled=True)
    reply = outcome.reply
    fields = failure(outcome)
    code = fields.pop("error_code")
    if draft.run.final or not _decides(draft, remote):
        draft.event(EventKind.create_refused, source=Source.create, remote=remote.n, **fields)
        return
    end(
        draft,
        State.failed,
        kind=EventKind.create_refused,
        source=Source.create,
        remote=remote.n,
        origin=ErrorOrigin.remote,
        code=code,
        message=redact_text(outcome.message),
        last_error=reply.body,
        http_status=reply.status,
        **fields,
    )


def _decides(draft: Draft, remote: Remote) -> bool:
    """Whether the run's fate hangs on this remote, and not on one opened since."""
    current = draft.facts.current
    return current is not None and current.n == remote.n


def _unknown(draft: Draft, remote: Remote, outcome: Failed) -> None:
    _mark_unknown(draft, remote)
    draft.event(EventKind.create_unknown, source=Source.create, remote=remote.n, **failure(outcome))
    if remote.kind != RemoteKind.thread:
        draft.attend(Attention.unknown_create, remote=remote.n)


def _mark_unknown(draft: Draft, remote: Remote) -> None:
    until = draft.after(draft.run.policy.settle_seconds)
    draft.set_remote(remote.n, state=RemoteState.unknown, settle_until=until)


def left_in_doubt(draft: Draft, remote: Remote) -> None:
    """A create whose life died, or lost the run, between the commit and the reply."""
    _mark_unknown(draft, remote)
    draft.event(EventKind.create_unknown, source=Source.recovery, remote=remote.n)
    if remote.kind != RemoteKind.thread:
        draft.attend(Attention.unknown_create, remote=remote.n)


def failure(outcome: Failed) -> dict[str, Any]:
    """The event fields that record a failed call."""
    reply = outcome.reply
    return {
        "error_code": reply.error_code or outcome.error,
        "request_id": reply.request_id,
        "detail": {
            "error": outcome.error,
            "operation": outcome.operation,
            "status": reply.status,
            "message": redact_text(outcome.message),
        },
    }


def found(draft: Draft, remote: Remote, outcome: Found) -> None:
    """A search by marker ended. All objects are recorded; the last decides, the others are called
    off."""
    if outcome.observations:
        first, *others = outcome.observations
        adopt(draft, remote, first, source=Source.recovery)
        for observation in others:
            extra = open_remote(draft, remote.kind, previous=None, parent=remote.parent_id)
            adopt(draft, extra, observation, source=Source.recovery)
    elif remote.settle_until is None or draft.now >= remote.settle_until:
        draft.set_remote(remote.n, state=RemoteState.absent, settled=True)
        draft.event(EventKind.create_absent, source=Source.poll, remote=remote.n)
        draft.calm(Attention.unknown_create)
        live = not draft.run.final and draft.run.cancel_requested_at is None
        if live and _decides(draft, remote):
            _create_again(draft, remote, why="the list of the thread does not hold the marker")


def found_more(draft: Draft, remote: Remote, outcome: Found) -> None:
    """Objects that carry the marker of a create whose object is known already: a proxy sent it
    twice. Nobody asked for them, and only a person can say what is to become of them."""
    known = {other.remote_id for other in draft.remotes}
    for seen in outcome.observations:
        if seen.remote_id is not None and seen.remote_id not in known:
            why = "a second object carries this create's marker"
            draft.event(
                EventKind.contradiction,
                source=Source.webhook,
                remote=remote.n,
                attempt=remote.attempt,
                remote_status=seen.status,
                detail={"why": why, "remote_id": seen.remote_id},
            )
            draft.attend(Attention.contradiction, remote_id=seen.remote_id)


def mistaken(draft: Draft, remote: Remote, seen: Observation) -> bool:
    """Whether a person named an object for an unclear create of the run that carries the marker of
    another run. One without a marker is believed."""
    named = remote.state == RemoteState.confirmed and remote.observed is None
    if not named or seen.marker is None or draft.attempts[0].cause == ADOPTED:
        return False
    return seen.marker not in {other.marker for other in draft.remotes}


def not_ours(draft: Draft, remote: Remote, seen: Observation) -> None:
    """The object is not this create's: it is in doubt again, and the object is left alone."""
    _mark_unknown(draft, remote)
    draft.set_remote(remote.n, remote_id=None)
    detail = {
        "why": "the object that was adopted carries the marker of another run",
        "remote_id": remote.remote_id,
        "marker": redact_text(seen.marker or "")[:300],
    }
    draft.event(EventKind.create_unknown, remote=remote.n, detail=detail)
    draft.attend(Attention.unknown_create, remote=remote.n)


def window_over(draft: Draft, remote: Remote) -> None:
    """The settle window of a create that cannot be searched for has ended."""
    unclear = sum(1 for other in draft.remotes if other.state == RemoteState.unknown)
    inert = remote.kind == RemoteKind.thread
    limit = INERT_RECREATES if inert else draft.run.policy.recreate
    draft.set_remote(remote.n, settled=True)
    if draft.run.final or not _decides(draft, remote):
        draft.event(EventKind.settled, source=Source.policy, remote=remote.n)
    elif draft.run.cancel_requested_at is not None:
        _unresolved(draft, remote, State.cancelled, "cancelled")
    elif unclear <= limit:
        why = "an empty thread costs nothing" if inert else f"on_unknown recreate={limit}"
        _create_again(draft, remote, why=why)
    else:
        _unresolved(draft, remote, State.failed, "create_unknown")


def _create_again(draft: Draft, remote: Remote, *, why: str) -> None:
    again = open_remote(draft, remote.kind, previous=remote.previous, parent=remote.parent_id)
    draft.event(
        EventKind.create_authorised,
        source=Source.policy,
        remote=again.n,
        detail={"instead_of": remote.n, "why": why},
    )
    draft.calm(Attention.unknown_create)


def _unresolved(draft: Draft, remote: Remote, target: State, code: str) -> None:
    end(
        draft,
        target,
        kind=EventKind.ended,
        source=Source.policy,
        remote=remote.n,
        origin=ErrorOrigin.transport,
        code=code,
        message="the create was sent and no reply came; upstream may have done the work",
        restartable=False,
    )
    draft.attend(Attention.unknown_create, remote=remote.n)
