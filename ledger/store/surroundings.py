"""What stands around one run: its owner, its place in the lane, its account."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ledger.core.alphabet import State
from ledger.core.following import Owner, Surroundings
from ledger.core.model import Facts
from ledger.store.facts import RUN
from ledger.store.lanes import LANE
from ledger.store.lives import WORKER, Lives
from ledger.store.queries import ACCOUNT


def surroundings(
    connection: sa.Connection, lives: Lives, facts: Facts, now: datetime
) -> Surroundings:
    """What decides about a run besides its own facts."""
    if not facts.watched:
        return Surroundings(now=now)
    dead, overdue = lives.judge(connection, "")
    gone = {*dead, *overdue}
    alive = [row for row in lives.alive(connection) if row.id not in gone]
    stopped = connection.execute(
        sa.select(ACCOUNT.c.stopped_why, ACCOUNT.c.stopped_at).where(
            ACCOUNT.c.id == facts.run.account_id
        )
    ).one()
    return Surroundings(
        now=now,
        owner=_owner(connection, facts, {row.id for row in alive}),
        driven=any(row.role == "daemon" and not row.drain for row in alive),
        ahead=_ahead(connection, facts),
        stopped=stopped[0],
        stopped_at=stopped[1],
    )


def _owner(connection: sa.Connection, facts: Facts, alive: set[str]) -> Owner | None:
    if facts.owner is None:
        return None
    row = connection.execute(sa.select(WORKER).where(WORKER.c.id == facts.owner)).one_or_none()
    if row is None:
        return None
    return Owner(
        life=row.id,
        role=row.role,
        host=row.host,
        pid=row.pid,
        fence=facts.fence,
        alive=row.id in alive,
        heartbeat_at=row.heartbeat_at,
    )


def _ahead(connection: sa.Connection, facts: Facts) -> int | None:
    """The run that has the lane, or is before this one in its queue."""
    run = facts.run
    if run.serial_key is None or run.state != State.queued:
        return None
    holder = connection.execute(
        sa.select(LANE.c.run_id).where(
            LANE.c.account_id == run.account_id, LANE.c.serial_key == run.serial_key
        )
    ).scalar()
    if holder is not None:
        return None if holder == run.id else int(holder)
    return connection.execute(
        sa.select(sa.func.min(RUN.c.id)).where(
            RUN.c.account_id == run.account_id,
            RUN.c.serial_key == run.serial_key,
            RUN.c.state == State.queued,
            RUN.c.id < run.id,
        )
    ).scalar()
