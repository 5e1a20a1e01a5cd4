"""What a person should settle: counted by kind, with the oldest run of each and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import Attention, RemoteKind, RemoteState
from ledger.store.facts import REMOTE, RUN

EXPIRING_SECONDS: Final = 300.0
"""A result that nobody has fetched is worth a finding so long before upstream may drop it."""


@dataclass(frozen=True, slots=True)
class Flagged:
    """One kind of finding: runs that are flagged for these reasons."""

    name: str
    reasons: tuple[Attention, ...]
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Pending:
    """How many runs a finding is about, and the oldest of them."""

    count: int
    run_id: int
    since: datetime


FLAGGED: Final = (
    Flagged(
        "set aside",
        (Attention.poison,),
        "runs that no life drives any more, because one after the other died in them",
        "runward events {run} names the lives; then runward release {run}, or runward cancel {run}",
    ),
    Flagged(
        "tails",
        (Attention.tail_unsettled, Attention.cancel_unconfirmed),
        "objects that were given up and may still run, and cost, upstream",
        "runward recheck {run}; then runward resolve {run} --reason TEXT",
    ),
    Flagged(
        "contradictions",
        (Attention.contradiction,),
        "verdicts that upstream contradicts",
        "runward accept {run} --reason TEXT takes upstream's word; runward resolve {run} "
        "--reason TEXT keeps ours",
    ),
    Flagged(
        "results lost",
        (Attention.result_unreadable, Attention.remote_missing),
        "objects that upstream no longer shows",
        "runward events {run} has the proof; then runward restart {run} --dry-run, or "
        "runward resolve {run} --reason TEXT",
    ),
    Flagged(
        "restarts held",
        (Attention.restart_has_effects, Attention.restart_over_tokens),
        "restarts that the policy allows and something forbids",
        "runward restart {run} --dry-run",
    ),
)


def flagged(connection: sa.Connection, kind: Flagged) -> Pending | None:
    """The runs of one kind; None where there are none."""
    reasons = [reason.value for reason in kind.reasons]
    return _pending(connection, sa.select(RUN.c.id).where(RUN.c.needs_attention.in_(reasons)))


def unresolved_creates(connection: sa.Connection) -> Pending | None:
    """Runs with a create of unknown outcome that is open, or that nobody has resolved yet."""
    looked_at = sa.and_(REMOTE.c.settled, RUN.c.needs_attention.is_(None))
    return _pending(
        connection,
        sa.select(RUN.c.id)
        .join(REMOTE, REMOTE.c.run_id == RUN.c.id)
        .where(REMOTE.c.state == RemoteState.unknown, REMOTE.c.kind != RemoteKind.thread)
        .where(sa.not_(looked_at)),
    )


def expiring(connection: sa.Connection, now: datetime) -> Pending | None:
    """Runs without a verdict whose newest object upstream may drop soon, or has dropped."""
    soon = now + timedelta(seconds=EXPIRING_SECONDS)
    return _pending(
        connection,
        sa.select(RUN.c.id)
        .join(REMOTE, REMOTE.c.run_id == RUN.c.id)
        .where(RUN.c.finished_at.is_(None), REMOTE.c.attempt == RUN.c.attempts)
        .where(REMOTE.c.state == RemoteState.confirmed, REMOTE.c.readable_until < soon),
    )


def _pending(connection: sa.Connection, ids: sa.Select[Any]) -> Pending | None:
    which = ids.distinct().subquery()
    count, oldest = connection.execute(
        sa.select(sa.func.count(), sa.func.min(which.c.id)).select_from(which)
    ).one()
    if not count:
        return None
    times = sa.select(RUN.c.finished_at, RUN.c.created_at).where(RUN.c.id == oldest)
    finished, created = connection.execute(times).one()
    return Pending(int(count), int(oldest), finished or created)
