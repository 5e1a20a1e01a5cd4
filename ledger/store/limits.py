"""What lives know of the limits of their credentials: on the account's row, and by the minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.store.lives import WORKER
from ledger.store.rows import table_of, upserting
from ledger.store.tables import AccountRow, ApiLimitRow

ACCOUNT, MINUTES = table_of(AccountRow), table_of(ApiLimitRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What an account's row says of its limit. `left` is what upstream last said was left."""

    id: int
    limit: float | None
    left: float | None
    limit_at: datetime | None
    held_until: datetime | None
    breaker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteRow:
    """What one life saw of an account's limit in a minute: added to what others saw."""

    minute: datetime
    account_id: int
    limit_seen: float | None
    lowest_left: float | None
    calls: int = 0
    refused: int = 0
    throttled: int = 0
    throttled_seconds: float = 0.0


_KNOWN = sa.select(
    ACCOUNT.c.id,
    ACCOUNT.c.limit_seen.label("limit"),
    ACCOUNT.c.limit_left.label("left"),
    ACCOUNT.c.limit_at,
    ACCOUNT.c.held_until,
    ACCOUNT.c.breaker,
).order_by(ACCOUNT.c.id)
_LIVES = sa.select(sa.func.count()).select_from(WORKER).where(WORKER.c.ended_at.is_(None))


def known_limits(connection: sa.Connection) -> tuple[list[Known], int]:
    """What is known of all accounts, and how many lives have not ended. One that died counts until
    somebody has noticed, seconds later."""
    rows = connection.execute(_KNOWN).mappings()
    lives = int(connection.execute(_LIVES).scalar_one())
    return [Known(**row) for row in rows], lives


def write_known(connection: sa.Connection, known: Sequence[Known]) -> None:
    """Write what a life knows; of what it knows nothing, others may. A later end of the hold, once
    written, stays."""
    for item in known:
        values: dict[str, Any] = {"breaker": item.breaker}
        if item.limit is not None:
            values |= {"limit_seen": item.limit, "limit_at": item.limit_at}
        if item.left is not None:
            values["limit_left"] = item.left
        if item.held_until is not None:
            longer = (ACCOUNT.c.held_until > item.held_until, ACCOUNT.c.held_until)
            values["held_until"] = sa.case(longer, else_=item.held_until)
        connection.execute(sa.update(ACCOUNT).where(ACCOUNT.c.id == item.id).values(values))


def add_minutes(connection: sa.Connection, rows: Sequence[MinuteRow]) -> None:
    """Add what was seen. In one statement each: two lives may be the first of a minute at once."""
    for row in sorted(rows, key=lambda row: (row.minute, row.account_id)):
        values: dict[str, Any] = {
            name: getattr(row, name) for name in MinuteRow.__dataclass_fields__
        }
        statement = upserting(connection, MINUTES).values(**values)
        new = statement.excluded
        lower = sa.case(
            (new.lowest_left < MINUTES.c.lowest_left, new.lowest_left),
            else_=sa.func.coalesce(MINUTES.c.lowest_left, new.lowest_left),
        )
        merged = statement.on_conflict_do_update(
            index_elements=["minute", "account_id"],
            set_={
                "limit_seen": sa.func.coalesce(new.limit_seen, MINUTES.c.limit_seen),
                "lowest_left": lower,
                "calls": MINUTES.c.calls + new.calls,
                "refused": MINUTES.c.refused + new.refused,
                "throttled": MINUTES.c.throttled + new.throttled,
                "throttled_seconds": MINUTES.c.throttled_seconds + new.throttled_seconds,
            },
        )
        connection.execute(merged)


def minutes_since(
    connection: sa.Connection, since: datetime, until: datetime | None = None
) -> list[MinuteRow]:
    """What was seen since a minute, that one included, and before `until`, in order."""
    statement = (
        sa.select(MINUTES)
        .where(MINUTES.c.minute >= since)
        .order_by(MINUTES.c.minute, MINUTES.c.account_id)
    )
    if until is not None:
        statement = statement.where(MINUTES.c.minute < until)
    return [MinuteRow(**row) for row in connection.execute(statement).mappings()]


def forget_minutes(connection: sa.Connection, before: datetime) -> None:
    """Drop what nobody asks for any more."""
    connection.execute(sa.delete(MINUTES).where(MINUTES.c.minute < before))


def standing(
    connection: sa.Connection, since: datetime
) -> tuple[
    dict[tuple[str, ...], float], dict[tuple[str, ...], float], dict[tuple[str, ...], float]
]:
    """By profile and provider: the limit that upstream named since then, what it said was left, and
    all seconds that something waited for a call."""
    by = (ACCOUNT.c.profile, ACCOUNT.c.provider)
    limits: dict[tuple[str, ...], float] = {}
    left: dict[tuple[str, ...], float] = {}
    lowest = sa.select(*by, sa.func.min(ACCOUNT.c.limit_seen), sa.func.min(ACCOUNT.c.limit_left))
    for profile, provider, limit, remaining in connection.execute(
        lowest.where(ACCOUNT.c.limit_at >= since).group_by(*by)
    ):
        if limit is not None:
            limits[profile, provider] = limit
        if remaining is not None:
            left[profile, provider] = remaining
    waited = (
        sa.select(*by, sa.func.sum(MINUTES.c.throttled_seconds))
        .join(MINUTES, MINUTES.c.account_id == ACCOUNT.c.id)
        .group_by(*by)
    )
    throttled: dict[tuple[str, ...], float] = {}
    for profile, provider, seconds in connection.execute(waited):
        throttled[profile, provider] = float(seconds)
    return limits, left, throttled
