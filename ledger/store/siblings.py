"""Runs that one run can be compared with: of the same failure, of the same model and hour."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import State
from ledger.core.model import Run
from ledger.store.facts import ATTEMPT, RUN

LISTED_MAX: Final = 10


def same_failure(
    connection: sa.Connection, run: Run, fingerprint: str, since: datetime, until: datetime
) -> tuple[int, list[int]]:
    """How many other runs failed the same way in a time, and the newest of them."""
    where = sa.and_(
        ATTEMPT.c.fingerprint == fingerprint,
        ATTEMPT.c.ended_at >= since,
        ATTEMPT.c.ended_at < until,
        ATTEMPT.c.run_id != run.id,
    )
    count = sa.select(sa.func.count(sa.distinct(ATTEMPT.c.run_id))).where(where)
    newest = (
        sa.select(ATTEMPT.c.run_id)
        .where(where)
        .group_by(ATTEMPT.c.run_id)
        .order_by(sa.func.max(ATTEMPT.c.ended_at).desc(), ATTEMPT.c.run_id.desc())
        .limit(LISTED_MAX)
    )
    listed = [int(row[0]) for row in connection.execute(newest)]
    return int(connection.execute(count).scalar_one()), listed


def same_hour(
    connection: sa.Connection, run: Run, since: datetime, until: datetime
) -> list[tuple[State, datetime, datetime | None]]:
    """State, creation and end of the other runs of the same model that were created in a time."""
    model: Any = RUN.c.model
    statement = (
        sa.select(RUN.c.state, RUN.c.created_at, RUN.c.finished_at)
        .where(RUN.c.created_at >= since, RUN.c.created_at < until, RUN.c.id != run.id)
        .where(model.is_(None) if run.model is None else model == run.model)
        .where(RUN.c.provider == run.provider)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(statement)]
