"""When a step is due, and what resolves a create of unknown outcome."""

from __future__ import annotations

from datetime import datetime, timedelta

from ledger.core.alphabet import RemoteKind
from ledger.core.model import Remote
from ledger.core.steps import Context, Search, Settle, Step, Wait


def later(time: datetime, seconds: float) -> datetime:
    return time + timedelta(seconds=seconds)


def when_due(step: Step, why: str, context: Context) -> Step:
    due = context.look.next_at
    return step if context.now >= due else Wait(due, why)


def at_once(step: Step, why: str, context: Context) -> Step:
    """Effects do not wait for the polling interval, only for the backoff after a failure."""
    return when_due(step, why, context) if context.look.failures else step


def resolve_unknown(remote: Remote, context: Context) -> Step:
    if remote.kind == RemoteKind.thread_run:
        return when_due(Search(remote.n), "search for the create", context)
    until = remote.settle_until or context.now
    return Settle("settle window over") if context.now >= until else Wait(until, "settle window")
