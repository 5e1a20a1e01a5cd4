"""What people decide about a run's records: keep them, destroy their contents."""

from __future__ import annotations

from ledger.core.alphabet import EventKind
from ledger.core.decide.draft import Draft
from ledger.core.decide.operator import Command, with_reason
from ledger.core.model import Run
from ledger.errors import NotAllowed


def pin(reason: str | None) -> Command:
    """Keep the run from being pruned or erased, until somebody unpins it."""

    def command(draft: Draft) -> None:
        if draft.run.pinned_at is None:
            draft.set_run(pinned_at=draft.now)
            draft.event(EventKind.pinned, detail=with_reason(reason))

    return command


def unpin(reason: str | None) -> Command:
    """Let the run be pruned and erased again."""

    def command(draft: Draft) -> None:
        if draft.run.pinned_at is not None:
            draft.set_run(pinned_at=None)
            draft.event(EventKind.unpinned, detail=with_reason(reason))

    return command


def erase(reason: str | None, payloads: int) -> Command:
    """Record that the contents of so many payloads are destroyed; the store destroys them in the
    same transaction. A run that still moves needs them."""

    def command(draft: Draft) -> None:
        if refusal := erase_refusal(draft.run, watched=draft.facts.watched):
            raise refusal
        tags = dict.fromkeys(draft.run.tags, "")
        draft.set_run(erased_at=draft.now, error_message=None, tags=tags)
        draft.event(EventKind.erased, detail={"payloads": payloads, **with_reason(reason)})

    return command


def erase_refusal(run: Run, *, watched: bool) -> NotAllowed | None:
    """Why the contents of a run may not be destroyed now; None where they may."""
    if run.pinned_at is not None:
        return NotAllowed(f"run {run.id} is pinned", hint=f"runward pin {run.id} --off")
    if not run.final:
        return NotAllowed(
            f"run {run.id} is {run.state}, and still needs its request",
            hint=f"runward cancel {run.id}, and erase it once it has its verdict",
        )
    if watched:
        return NotAllowed(
            f"run {run.id} has objects upstream that are not settled yet",
            hint="try again later: they are given up in the end",
        )
    return None


def imported(ledger: str, run: int, sha256: str) -> Command:
    """Record that the history so far was written elsewhere; what follows is written here."""

    def command(draft: Draft) -> None:
        detail = {"ledger": ledger, "run": run, "file_sha256": sha256}
        draft.set_run(imported_at=draft.now)
        draft.event(EventKind.imported, detail=detail)

    return command
