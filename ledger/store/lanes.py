"""Serial keys: one live thread run per thread, the others in the order they came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from ledger.core.alphabet import RemoteKind, RemoteState, State
from ledger.core.model import Change, Facts
from ledger.store.facts import RUN, WATCH
from ledger.store.rows import table_of
from ledger.store.tables import LaneRow

LANE = table_of(LaneRow)


class Lanes:
    """Lanes as one batch sees them."""

    def __init__(self, connection: sa.Connection) -> None:
        self._sqlite = connection.dialect.name == "sqlite"

    def take(self, connection: sa.Connection, change: Change, now: datetime) -> bool:
        """Take the lane for a run that is about to send; False where it is not its turn."""
        run = change.after.run
        if run.serial_key is None:
            return True
        if not self._sqlite:
            self._lock(connection, run.account_id, run.serial_key)
        earlier = sa.select(RUN.c.id).where(
            RUN.c.account_id == run.account_id,
            RUN.c.serial_key == run.serial_key,
            RUN.c.state == State.queued,
            RUN.c.id < run.id,
        )
        mine = sa.select(LANE.c.run_id).where(
            LANE.c.account_id == run.account_id, LANE.c.serial_key == run.serial_key
        )
        holder = connection.execute(mine).scalar()
        if holder is not None:
            return bool(holder == run.id)
        if connection.execute(earlier.limit(1)).first() is not None:
            return False
        row = {
            "account_id": run.account_id,
            "serial_key": run.serial_key,
            "run_id": run.id,
            "taken_at": now,
        }
        connection.execute(sa.insert(LANE), row)
        return True

    def _lock(self, connection: sa.Connection, account: int, key: str) -> None:
        """Two transactions must not judge the same queue at once."""
        name = sa.func.hashtextextended(f"{account}:{key}", 7)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(name)))

    def release(
        self, connection: sa.Connection, changes: Sequence[Change], now: datetime
    ) -> tuple[int, ...]:
        """Free the lanes that these changes end; returns the runs whose turn it is now."""
        woken: list[int] = []
        for change in changes:
            run = change.after.run
            if run.serial_key is None or not _freed(change):
                continue
            connection.execute(sa.delete(LANE).where(LANE.c.run_id == run.id))
            following = connection.execute(
                sa.select(RUN.c.id)
                .where(
                    RUN.c.account_id == run.account_id,
                    RUN.c.serial_key == run.serial_key,
                    RUN.c.state == State.queued,
                )
                .order_by(RUN.c.id)
                .limit(1)
            ).scalar()
            if following is not None:
                wake = sa.update(WATCH).where(WATCH.c.run_id == following).values(due_at=now)
                connection.execute(wake)
                woken.append(following)
        return tuple(woken)


def _freed(change: Change) -> bool:
    left_queue = change.before.run.state == State.queued and change.after.run.final
    return (_holds(change.before) and not _holds(change.after)) or left_queue


def _holds(facts: Facts) -> bool:
    return any(
        remote.kind == RemoteKind.thread_run
        and not remote.settled
        and remote.state in (RemoteState.sending, RemoteState.confirmed, RemoteState.unknown)
        for remote in facts.remotes
    )
