"""Reading the whole event log in order, behind a cursor that is kept: nothing is skipped.

SQLite has one writer at a time, so ids are in the order of commits. On PostgreSQL a lower id can
commit later than a higher one: there the log is read by (txid, id), and only below the oldest
transaction that is still running, since nothing can be added there any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ledger.core.alphabet import EventKind, State
from ledger.core.passing_on import Notice, type_of
from ledger.errors import DatabaseError, LeaseLost
from ledger.store.facts import RUN
from ledger.store.lives import WORKER, has_ended
from ledger.store.queries import EVENT, restarted_by
from ledger.store.rows import table_of
from ledger.store.tables import FollowerRow

FOLLOWER = table_of(FollowerRow)
PAGE_MAX: Final = 200
ERROR_CHARS_MAX: Final = 500
BEHIND_ALL: Final = 2**62
"""An event id that no event has: the place behind all events of a transaction."""


class Place(NamedTuple):
    """How far a follower has come. `txid` is 0 on SQLite."""

    txid: int
    event_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A follower's row, and whether the life that asks may take it or has it."""

    place: Place
    owner: str | None
    free: bool
    tries: int
    next_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The next part of the log: what is passed on of it, each with the place behind it, and the
    place behind all of it. `more` says that it was cut off at a limit, `blocked` that there are
    events behind a transaction that is still running, somewhere on the server."""

    notices: tuple[tuple[Place, Notice], ...]
    end: Place
    more: bool
    blocked: bool = False


def begin(connection: sa.Connection, name: str, *, at: Place | None = None) -> None:
    """Make a follower, at the present end of the log; one that there is keeps its place."""
    known = sa.select(FOLLOWER.c.name).where(FOLLOWER.c.name == name)
    if connection.execute(known).scalar() is not None:
        return
    place = at or end_of_log(connection)
    row = {"name": name, "txid": place.txid, "event_id": place.event_id, "tries": 0}
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(FOLLOWER), row)
    except sa.exc.IntegrityError:
        # Another life was quicker.
        return


_OLDEST = "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint FROM "
_OLDEST += "pg_current_snapshot() AS s"


def end_of_log(connection: sa.Connection) -> Place:
    """The place behind everything that is certain to be complete."""
    if connection.dialect.name == "postgresql":
        oldest, _ = connection.exec_driver_sql(_OLDEST).one()
        return Place(oldest - 1, BEHIND_ALL)
    return Place(0, connection.execute(sa.select(sa.func.max(EVENT.c.id))).scalar() or 0)


_HELD = sa.exists().where(WORKER.c.id == FOLLOWER.c.owner, WORKER.c.ended_at.is_(None))
"""Whether the life that owns a follower has not ended."""


def cursor_of(connection: sa.Connection, name: str, life_id: str) -> Cursor | None:
    """A follower's row as this life sees it; None if there is none."""
    statement = sa.select(FOLLOWER, _HELD.label("held")).where(FOLLOWER.c.name == name)
    row = connection.execute(statement).first()
    if row is None:
        return None
    return Cursor(
        place=Place(row.txid, row.event_id),
        owner=row.owner,
        free=row.owner == life_id or not row.held,
        tries=row.tries,
        next_at=row.next_at,
        last_error=row.last_error,
    )


def take(connection: sa.Connection, name: str, life_id: str) -> bool:
    """Own a follower that nobody owns, or whose owner has ended; says whether it is ours."""
    if has_ended(connection, life_id):
        return False
    free = sa.or_(FOLLOWER.c.owner.is_(None), FOLLOWER.c.owner == life_id, sa.not_(_HELD))
    statement = sa.update(FOLLOWER).where(FOLLOWER.c.name == name, free).values(owner=life_id)
    return connection.execute(statement).rowcount == 1


def move(
    connection: sa.Connection,
    name: str,
    life_id: str,
    place: Place,
    *,
    work: Callable[[sa.Connection], None] | None = None,
    tries: int = 0,
    next_at: datetime | None = None,
    error: str | None = None,
) -> None:
    """Write how far a follower has come, and in the same transaction do its `work`.

    Raises LeaseLost when another life has it now; then nothing is written.
    """
    statement = (
        sa.update(FOLLOWER)
        .where(FOLLOWER.c.name == name, FOLLOWER.c.owner == life_id)
        .values(
            txid=place.txid,
            event_id=place.event_id,
            tries=tries,
            next_at=next_at,
            last_error=None if error is None else error[:ERROR_CHARS_MAX],
        )
    )
    if connection.execute(statement).rowcount != 1:
        raise LeaseLost(f"follower {name} has another owner now")
    if work is not None:
        work(connection)


_NEXT = EVENT.alias("following")
_EARLIER = EVENT.alias("earlier")
_STATE = (
    sa.select(_EARLIER.c.to_state)
    .where(
        _EARLIER.c.run_id == EVENT.c.run_id,
        _EARLIER.c.seq < EVENT.c.seq,
        _EARLIER.c.to_state.is_not(None),
    )
    .order_by(_EARLIER.c.seq.desc())
    .limit(1)
    .scalar_subquery()
)
_TOLD = sa.or_(
    EVENT.c.to_state.is_not(None),
    EVENT.c.kind.in_([EventKind.accepted, EventKind.attention]),
)
_COLUMNS = (
    EVENT.c.id,
    EVENT.c.txid,
    EVENT.c.run_id,
    EVENT.c.seq,
    EVENT.c.kind,
    EVENT.c.from_state,
    EVENT.c.trigger,
    sa.func.coalesce(EVENT.c.to_state, _STATE, State.queued).label("state"),
    EVENT.c.to_state,
    EVENT.c.attempt,
    EVENT.c.recorded_at,
    EVENT.c.error_code,
    EVENT.c.detail,
    RUN.c.key,
    RUN.c.provider,
    RUN.c.model,
    RUN.c.tags,
    _NEXT.c.id.is_not(None).label("restarted"),
)
_NOTICES = (
    sa.select(*_COLUMNS).join(RUN, RUN.c.id == EVENT.c.run_id).outerjoin(_NEXT, restarted_by(_NEXT))
)


def page_after(connection: sa.Connection, place: Place, *, limit: int = PAGE_MAX) -> Page:
    """What comes behind a place, in order. Raises DatabaseError where the order is lost."""
    statement, blocked = _NOTICES.where(_TOLD), False
    if connection.dialect.name == "postgresql":
        oldest, newest = connection.exec_driver_sql(_OLDEST).one()
        if place.txid >= newest:
            raise DatabaseError(
                f"the log was followed up to transaction {place.txid}, and this server has only "
                f"come to {newest}: the database was restored on another server",
                hint="delete the row from table follower: it then starts at the end of the log",
            )
        where = sa.tuple_(EVENT.c.txid, EVENT.c.id) > sa.tuple_(
            sa.literal(place.txid, sa.BigInteger), sa.literal(place.event_id, sa.BigInteger)
        )
        statement = statement.where(where, EVENT.c.txid < oldest)
        statement = statement.order_by(EVENT.c.txid, EVENT.c.id)
        end = max(place, Place(oldest - 1, BEHIND_ALL))
        beyond = sa.select(EVENT.c.id).where(EVENT.c.txid >= oldest).limit(1)
        blocked = connection.execute(beyond).scalar() is not None
    else:
        end = max(place, end_of_log(connection))
        # What came with an import happened elsewhere, and has a txid (NOT_FOLLOWED) to say so.
        statement = statement.where(EVENT.c.id > place.event_id, EVENT.c.id <= end.event_id)
        statement = statement.where(EVENT.c.txid.is_(None))
        statement = statement.order_by(EVENT.c.id)
    rows = connection.execute(statement.limit(limit)).all()
    more = len(rows) == limit
    told = [(Place(row.txid or 0, row.id), _notice(row)) for row in rows]
    return Page(
        notices=tuple((behind, notice) for behind, notice in told if notice is not None),
        end=told[-1][0] if more else end,
        more=more,
        blocked=blocked,
    )


def notices_of(connection: sa.Connection, event_ids: Sequence[int]) -> dict[int, Notice]:
    """What these events are passed on as, by event id."""
    rows = connection.execute(_NOTICES.where(EVENT.c.id.in_(event_ids)))
    return {row.id: notice for row in rows if (notice := _notice(row)) is not None}


def _notice(row: Any) -> Notice | None:
    kind = type_of(row.kind, row.from_state, row.trigger, row.to_state, restarted=row.restarted)
    if kind is None:
        return None
    detail = row.detail if isinstance(row.detail, dict) else {}
    return Notice(
        id=row.id,
        type=kind,
        run=row.run_id,
        key=row.key,
        state=State(row.state),
        attempt=row.attempt,
        seq=row.seq,
        at=row.recorded_at,
        provider=row.provider,
        model=row.model,
        error_code=row.error_code or (detail.get("code") if row.trigger else None),
        why=detail.get("why") if row.kind == EventKind.attention else None,
        tags=MappingProxyType(dict(row.tags or {})),
    )


def followers(connection: sa.Connection) -> list[sa.Row[Any]]:
    """All followers, by name."""
    return list(connection.execute(sa.select(FOLLOWER).order_by(FOLLOWER.c.name)).all())
