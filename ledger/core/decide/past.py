"""Runs that other programs made and that were over before this ledger knew of them."""

from __future__ import annotations

from ledger.core.alphabet import ErrorOrigin, EventKind, RemoteKind, RemoteState, State
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end, open_remote
from ledger.core.decide.observations import STATES, count_usage
from ledger.core.lifecycle import FINAL
from ledger.core.outcome import Observation
from ledger.core.redaction import redact_bytes, redact_text
from ledger.errors import InvalidInput


def judge_past(seen: Observation) -> Observation:
    """The observation, if it is of an object that is over. Raises InvalidInput."""
    state = STATES.get(seen.status or "")
    if seen.remote_id is None:
        raise InvalidInput("the object has no id")
    if seen.created_at is None:
        raise InvalidInput("the object has no created_at")
    if state not in FINAL:
        place = f" --provider assistants --thread {seen.parent_id}" if seen.parent_id else ""
        raise InvalidInput(
            f"the object is {str(seen.status)[:40]}: it is not over",
            hint=f"runward adopt {seen.remote_id[:100]}{place}",
        )
    return seen


def past(draft: Draft, seen: Observation) -> None:
    """The verdict that upstream's object shows, at the times that it shows.

    Where it does not say when it ended, it counts as ended when it was created: upstream's own end
    (`remote_ended_at`) stays unknown.
    """
    assert seen.created_at is not None
    remote = open_remote(draft, seen.kind, previous=None, parent=seen.parent_id or "")
    body = draft.keep(redact_bytes(seen.body))
    draft.set_remote(
        remote.n,
        state=RemoteState.confirmed,
        settled=True,
        remote_id=seen.remote_id,
        observed_status=seen.status,
        observed=body,
        observed_at=draft.now,
        changed_at=draft.now,
        remote_created_at=seen.created_at,
        remote_started_at=seen.started_at,
        remote_ended_at=seen.ended_at,
        expires_at=seen.expires_at,
    )
    count_usage(draft, remote.n, seen)
    state = STATES[seen.status or ""]
    shows_result = seen.kind == RemoteKind.response and state in (
        State.completed,
        State.incomplete,
    )
    end(
        draft,
        state,
        kind=EventKind.imported,
        remote=remote.n,
        remote_status=seen.status,
        remote_at=seen.ended_at or seen.created_at,
        remote_at_source="object",
        origin=None if state == State.completed else ErrorOrigin.remote,
        code=seen.error_code,
        message=redact_text(seen.error_message) if seen.error_message else None,
        last_error=redact_bytes(seen.last_error) if seen.last_error else None,
        result=body if shows_result else None,
        restartable=False,
        payloads=(("body", body),),
    )
    finished = max(seen.ended_at or seen.created_at, seen.created_at)
    draft.set_run(finished_at=finished, started_at=seen.started_at)
    draft.set_attempt(ended_at=finished)
