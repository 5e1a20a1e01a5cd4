"""Cancels, and remotes that live on after they decide nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ledger.core.alphabet import RemoteState, State
from ledger.core.model import Facts, Remote
from ledger.core.plan.timing import at_once, later, resolve_unknown, when_due
from ledger.core.steps import (
    CANCEL_FAILED_SECONDS,
    CANCEL_SECONDS,
    CANCELS_MAX,
    RESEND_SECONDS,
    TAIL_SECONDS,
    UNCANCELLED_SECONDS,
    Cancel,
    Context,
    Observe,
    Settle,
    Step,
    Wait,
)


def cancel_due(remote: Remote, now: datetime) -> bool:
    """Whether to send a cancel, or to send it once more: a crash may lie between its record and
    its POST, and a second one does no harm."""
    if remote.cancel_sent_at is None:
        return True
    taken = remote.observed_status == State.cancelling or remote.cancels >= CANCELS_MAX
    return not taken and now >= later(remote.cancel_sent_at, RESEND_SECONDS * 2**remote.cancels)


def cancel_over_at(facts: Facts) -> datetime | None:
    """When a cancel is given up that cannot be sent at all."""
    asked = facts.run.cancel_requested_at
    return later(asked, CANCEL_SECONDS) if asked is not None else None


def ends_at(facts: Facts, now: datetime) -> datetime:
    """When the ledger itself may end the run, whatever upstream or its account does."""
    over_at = cancel_over_at(facts)
    return facts.run.deadline_at if over_at is None or over_at <= now else over_at


def cancel_given_up(facts: Facts, remote: Remote, context: Context) -> bool:
    """Whether a cancel has had all the time that it gets."""
    sent, now, over_at = remote.cancel_sent_at, context.now, cancel_over_at(facts)
    if context.refused and over_at is not None and now >= over_at:
        return True
    done = remote.observed_status == State.cancelling or remote.cancels >= CANCELS_MAX
    return sent is not None and done and now >= later(sent, CANCEL_SECONDS)


def cancel_overdue(facts: Facts, now: datetime) -> bool:
    """Whether a run without a verdict is to be called off for so long that trouble ends it."""
    asked = facts.run.cancel_requested_at
    if asked is None or facts.run.final:
        return False
    return now >= later(asked, CANCEL_FAILED_SECONDS)


def tail_overdue(facts: Facts, remote: Remote, now: datetime) -> bool:
    """Whether a remote that decides nothing any more has been watched long enough.

    One that holds up a restart is given up sooner; one that was found late, or after a long time
    without a life, is called off first, because it costs money.
    """
    ended = facts.attempts[remote.attempt - 1].ended_at or facts.run.finished_at or now
    if remote.state == RemoteState.confirmed and remote.cancel_sent_at is None:
        return now >= later(ended, UNCANCELLED_SECONDS)
    since = max(ended, remote.cancel_sent_at or ended)
    return now >= later(since, TAIL_SECONDS if facts.run.final else CANCEL_SECONDS)


def tail_step(facts: Facts, remotes: Sequence[Remote], context: Context) -> Step:
    """One step towards settling remotes that no longer decide anything."""
    waits = [_one(facts, remote, context) for remote in remotes]
    acts = [step for step in waits if not isinstance(step, Wait)]
    if acts:
        return acts[0]
    if not waits:
        return Settle("nothing left to watch")
    return min((step for step in waits if isinstance(step, Wait)), key=lambda wait: wait.until)


def rechecking(remote: Remote) -> bool:
    """Whether somebody asked for one more read of an object that had been settled."""
    return remote.state == RemoteState.confirmed and remote.settle_until is not None


def _recheck(remote: Remote, context: Context) -> Step:
    if remote.settle_until and context.now >= remote.settle_until:
        return Settle("recheck given up")
    return when_due(Observe(remote.n), "recheck", context)


def _one(facts: Facts, remote: Remote, context: Context) -> Step:
    if remote.state == RemoteState.intended:
        return Settle("never sent")
    if rechecking(remote):
        return _recheck(remote, context)
    if tail_overdue(facts, remote, context.now):
        return Settle("tail given up")
    if remote.state == RemoteState.unknown:
        return resolve_unknown(remote, context)
    if cancel_due(remote, context.now):
        return at_once(Cancel(remote.n), "cancel what is left", context)
    return when_due(Observe(remote.n), "tail", context)
