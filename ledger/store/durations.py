"""Reading how long runs took, for the policy that learns from it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.lifecycle import FINAL
from ledger.core.pacing.experience import RunClass, class_of
from ledger.core.pacing.lasting import lasted, taught
from ledger.core.record import record
from ledger.store.facts import REMOTE, RUN

RECENT_RUNS: Final = 2_000
TIMED: Final = (
    REMOTE.c.observed_status,
    REMOTE.c.round,
    REMOTE.c.sent_at,
    REMOTE.c.live_at,
    REMOTE.c.observed_at,
    REMOTE.c.remote_created_at,
    REMOTE.c.remote_ended_at,
)
"""What says how long an object took."""


@record
class Spent:
    """One upstream object: how long it took, or since when it has been going; else neither is."""

    run_id: int
    n: int
    account_id: int
    of: RunClass
    created_at: datetime
    seconds: float | None = None
    since: datetime | None = None


def recent(connection: sa.Connection, runs: int = RECENT_RUNS) -> list[Spent]:
    """The objects of the newest runs, ended or not."""
    newest = sa.select(sa.func.max(RUN.c.id)).scalar_subquery()
    return _read(connection, RUN.c.id > sa.func.coalesce(newest, 0) - runs)


def of_class(connection: sa.Connection, of: RunClass, runs: int) -> list[Spent]:
    """The objects of a class's newest runs that have a verdict."""
    provider, *words = of
    columns = (RUN.c.model, RUN.c.assistant, RUN.c.kind)
    same = [
        column == word if word else column.is_(None)
        for column, word in zip(columns, words, strict=True)
    ]
    newest = (
        sa.select(RUN.c.id)
        .where(RUN.c.finished_at.is_not(None), RUN.c.provider == provider, *same)
        .order_by(RUN.c.id.desc())
        .limit(runs)
    )
    return _read(connection, RUN.c.id.in_(newest))


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Spent]:
    statement = (
        sa.select(
            RUN.c.id,
            RUN.c.account_id,
            RUN.c.provider,
            RUN.c.model,
            RUN.c.assistant,
            RUN.c.kind,
            RUN.c.created_at,
            RUN.c.state,
            REMOTE.c.n,
            *TIMED,
        )
        .join_from(RUN, REMOTE, REMOTE.c.run_id == RUN.c.id)
        .where(which, REMOTE.c.observed_status.is_not(None))
        .order_by(RUN.c.id)
    )
    return [_spent(row) for row in connection.execute(statement)]


def _spent(row: Any) -> Spent:
    over = lasted(row) is not None or row.state in FINAL or row.round
    return Spent(
        run_id=row.id,
        n=row.n,
        account_id=row.account_id,
        of=class_of(row.provider, row.model, row.assistant, row.kind),
        created_at=row.created_at,
        seconds=taught(row),
        since=None if over else row.sent_at,
    )
