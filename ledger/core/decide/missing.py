"""An object that upstream answers 404 for, read after read: what that proves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger.core.alphabet import Attention, ErrorOrigin, EventKind, RemoteState, State
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end
from ledger.core.model import Remote
from ledger.core.outcome import Failed
from ledger.core.pacing import Look

LOST: Final = ("remote_never_confirmed", "remote_past_retention", "remote_deleted")
"""The codes of runs whose object upstream no longer shows."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One way for an object to be missing: the code and the words for it."""

    code: str
    message: str


def judge(draft: Draft, remote: Remote, look: Look) -> Loss:
    """Never there, dropped when its time was up, or deleted before."""
    seen = last_seen(remote, look)
    if seen is None:
        return Loss(
            "remote_never_confirmed",
            "upstream answers 404 for this id and has never confirmed it: it is mistyped, or of "
            "another project",
        )
    kept = draft.run.policy.result_retention_seconds
    until = remote.readable_until
    passed = (draft.now - seen).total_seconds()
    if (kept is not None and passed > kept) or (until is not None and draft.now > until):
        return Loss(
            "remote_past_retention",
            f"upstream answers 404; it was last seen {passed:.0f} s ago, and results are kept for "
            f"{kept or 0:.0f} s",
        )
    return Loss(
        "remote_deleted",
        f"upstream answers 404 for an object that it had confirmed, and showed {passed:.0f} s ago: "
        "it was deleted",
    )


def last_seen(remote: Remote, look: Look) -> datetime | None:
    """When upstream last showed the object, as far as this life or the record knows."""
    times = [time for time in (remote.observed_at, look.seen) if time is not None]
    return max(times) if remote.observed_at is not None else None


def missing(draft: Draft, remote: Remote, outcome: Failed, look: Look) -> None:
    """Read after read says 404, under a credential that sees other objects of the account."""
    loss = judge(draft, remote, look)
    # Not `absent`: an id that a person gave may be a wrong one, and the create have made another.
    draft.set_remote(remote.n, state=RemoteState.lost, settled=True)
    seen = last_seen(remote, look)
    detail = {
        "found": loss.code,
        "looks": look.failures + 1,
        "confirmed": remote.remote_id,
        "last_seen": seen.isoformat() if seen else None,
        "readable_until": remote.readable_until.isoformat() if remote.readable_until else None,
    }
    current = draft.facts.current
    if draft.run.final or current is None or current.n != remote.n:
        draft.event(EventKind.settled, remote=remote.n, attempt=remote.attempt, detail=detail)
        return
    completed = remote.observed_status == State.completed
    end(
        draft,
        State.completed if completed else State.failed,
        kind=EventKind.ended,
        remote=remote.n,
        origin=ErrorOrigin.remote,
        code="result_unreadable" if completed else loss.code,
        message=loss.message,
        last_error=outcome.reply.body,
        http_status=outcome.reply.status,
        restartable=False,
        detail=detail,
    )
    draft.attend(Attention.result_unreadable if completed else Attention.remote_missing)
