"""Rows of what goes out to endpoints of the user's: written, sent, repeated, given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import OutboxState
from ledger.core.passing_on import Notice
from ledger.store.rows import table_of
from ledger.store.tables import OutboxRow

OUTBOX = table_of(OutboxRow)
ERROR_CHARS_MAX: Final = 500
ROWS_MAX: Final = 1_000
PAGE: Final = 500


def put(
    connection: sa.Connection,
    endpoint: str,
    notices: Sequence[Notice],
    now: datetime,
    *,
    given_up: str | None = None,
    tries: int = 0,
) -> None:
    """Write what is to be sent, due at once; what is there already stays as it is. With `given_up`
    (an error) it is written as that, for the record."""
    if not notices:
        return
    ids = [notice.id for notice in notices]
    known = sa.select(OUTBOX.c.event_id).where(
        OUTBOX.c.endpoint == endpoint, OUTBOX.c.event_id.in_(ids)
    )
    there = set(connection.execute(known).scalars())
    rows = [
        {
            "endpoint": endpoint,
            "event_id": notice.id,
            "run_id": notice.run,
            "type": str(notice.type),
            "state": OutboxState.waiting if given_up is None else OutboxState.given_up,
            "created_at": now,
            "tries": tries,
            "next_at": now if given_up is None else None,
            "last_error": None if given_up is None else given_up[:ERROR_CHARS_MAX],
        }
        for notice in notices
        if notice.id not in there
    ]
    if rows:
        connection.execute(sa.insert(OUTBOX), rows)


def due(
    connection: sa.Connection, endpoint: str, now: datetime, limit: int
) -> tuple[list[Any], datetime | None]:
    """What waits for an endpoint and is due, the longest waiting first; and when the next is."""
    waiting = (OUTBOX.c.endpoint == endpoint, OUTBOX.c.state == OutboxState.waiting)
    statement = (
        sa.select(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.tries)
        .where(*waiting, OUTBOX.c.next_at <= now)
        .order_by(OUTBOX.c.next_at, OUTBOX.c.id)
        .limit(limit)
    )
    rows: list[Any] = list(connection.execute(statement).all())
    later = sa.select(sa.func.min(OUTBOX.c.next_at)).where(*waiting, OUTBOX.c.next_at > now)
    return rows, connection.execute(later).scalar()


def sent(
    connection: sa.Connection,
    row_id: int,
    *,
    status: int | None,
    error: str | None,
    tries: int,
    next_at: datetime | None,
    now: datetime,
) -> None:
    """Record how one try went. Without an error it was taken; without a next time given up."""
    state = OutboxState.waiting
    if error is None:
        state = OutboxState.taken
    elif next_at is None:
        state = OutboxState.given_up
    values = {
        "state": state,
        "tries": tries,
        "next_at": next_at if state == OutboxState.waiting else None,
        "last_status": status,
        "last_error": None if error is None else error[:ERROR_CHARS_MAX],
        "taken_at": now if error is None else None,
    }
    waits = OUTBOX.c.state == OutboxState.waiting
    connection.execute(sa.update(OUTBOX).where(OUTBOX.c.id == row_id, waits).values(**values))


def listed(
    connection: sa.Connection,
    *,
    state: OutboxState | None = None,
    endpoint: str | None = None,
    limit: int = ROWS_MAX,
) -> list[sa.Row[Any]]:
    """Rows, the newest first."""
    statement = sa.select(OUTBOX).order_by(OUTBOX.c.id.desc()).limit(min(limit, ROWS_MAX))
    if state is not None:
        statement = statement.where(OUTBOX.c.state == state)
    if endpoint is not None:
        statement = statement.where(OUTBOX.c.endpoint == endpoint)
    return list(connection.execute(statement).all())


def of_ids(connection: sa.Connection, ids: Sequence[int]) -> list[sa.Row[Any]]:
    """The rows with these numbers, in their order."""
    statement = sa.select(OUTBOX).where(OUTBOX.c.id.in_(ids)).order_by(OUTBOX.c.id)
    return list(connection.execute(statement).all())


def ids_since(connection: sa.Connection, endpoint: str, since: datetime) -> list[int]:
    """What was written for an endpoint since then, whether it was taken or not."""
    statement = (
        sa.select(OUTBOX.c.id)
        .where(OUTBOX.c.endpoint == endpoint, OUTBOX.c.created_at >= since)
        .order_by(OUTBOX.c.id)
    )
    return list(connection.execute(statement).scalars())


def redeliver(connection: sa.Connection, ids: Sequence[int], now: datetime) -> int:
    """Have these sent again from their first try, under their old ids; returns how many."""
    again = {"state": OutboxState.waiting, "tries": 0, "next_at": now, "taken_at": None}
    done = 0
    for start in range(0, len(ids), PAGE):
        page = OUTBOX.c.id.in_(ids[start : start + PAGE])
        done += connection.execute(sa.update(OUTBOX).where(page).values(**again)).rowcount
    return done


def given_up(connection: sa.Connection, since: datetime) -> dict[str, int]:
    """How much was given up of what was written since then, by endpoint."""
    statement = (
        sa.select(OUTBOX.c.endpoint, sa.func.count())
        .where(OUTBOX.c.state == OutboxState.given_up, OUTBOX.c.created_at >= since)
        .group_by(OUTBOX.c.endpoint)
        .order_by(OUTBOX.c.endpoint)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def forget(connection: sa.Connection, before: datetime) -> None:
    """Drop rows that were written before; some at a time, from the oldest on."""
    oldest = sa.select(OUTBOX.c.id).order_by(OUTBOX.c.id).limit(PAGE)
    statement = sa.delete(OUTBOX).where(OUTBOX.c.id.in_(oldest), OUTBOX.c.created_at < before)
    connection.execute(statement)
