"""Counts of failures and of late starts, ten minutes each, over weeks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ledger.core.postmortem import material
from ledger.core.postmortem.cases import FAILED
from ledger.core.postmortem.material import Span
from ledger.store.columns import Columns
from ledger.store.facts import ATTEMPT, REMOTE, RUN
from ledger.store.gaps import GAP
from ledger.store.limits import MINUTES
from ledger.store.queries import ACCOUNT
from ledger.store.report import EVENTS_MAX, LEDGER, LIFE_EVENT, passed

TEN_MINUTES = 15
"""So many characters of a time, as both databases can write it, name its ten minutes."""
READ_MAX = EVENTS_MAX * 50
"""So many minutes, gaps and events of lives are read at most: the newest ones."""
Counts = Mapping[datetime, int]


def failed_attempts(connection: sa.Connection, span: Span) -> Counts:
    """Attempts that failed, by the ten minutes in which they did."""
    where = sa.and_(
        ATTEMPT.c.ended_at >= span.since,
        ATTEMPT.c.ended_at < span.until,
        ATTEMPT.c.fingerprint.is_not(None),
        ATTEMPT.c.outcome.in_(sorted(FAILED)),
    )
    return _counted(connection, ATTEMPT.c.ended_at, ATTEMPT, where)


def ended_runs(connection: sa.Connection, span: Span) -> Counts:
    """Runs by the ten minutes in which they got their verdict."""
    at = RUN.c.finished_at
    return _counted(connection, at, RUN, sa.and_(at >= span.since, at < span.until))


def late_starts(connection: sa.Connection, span: Span, seconds: float) -> tuple[Counts, Counts]:
    """Runs by the ten minutes of their creation: all that were sent, and those sent so late.

    What waits for its turn on a thread is not counted: that is no want of workers.
    """
    source = RUN.join(REMOTE, sa.and_(REMOTE.c.run_id == RUN.c.id, REMOTE.c.n == 1))
    where = sa.and_(
        RUN.c.created_at >= span.since,
        RUN.c.created_at < span.until,
        RUN.c.serial_key.is_(None),
        REMOTE.c.sent_at.is_not(None),
    )
    late = sa.and_(where, _seconds(connection, RUN.c.created_at, REMOTE.c.sent_at) > seconds)
    at = RUN.c.created_at
    return _counted(connection, at, source, where), _counted(connection, at, source, late)


def _counted(
    connection: sa.Connection, at: Any, source: Any, where: sa.ColumnElement[bool]
) -> Counts:
    if connection.dialect.name == "sqlite":
        text: Any = sa.type_coerce(at, sa.Text)
    else:
        text = sa.func.to_char(sa.func.timezone("UTC", at), "YYYY-MM-DD HH24:MI")
    bucket = sa.func.substr(text, 1, TEN_MINUTES).label("bucket")
    statement = (
        sa.select(bucket, sa.func.count())
        .select_from(source)
        .where(where)
        .group_by(sa.literal_column("bucket"))
        .order_by(sa.literal_column("bucket"))
    )
    rows = connection.execute(statement)
    return {datetime.fromisoformat(f"{name}0:00").replace(tzinfo=UTC): int(n) for name, n in rows}


def _seconds(connection: sa.Connection, since: Any, until: Any) -> sa.ColumnElement[float]:
    if connection.dialect.name == "sqlite":
        days = sa.func.julianday(until) - sa.func.julianday(since)
        return sa.type_coerce(days * 86_400.0, sa.Float)
    return sa.cast(sa.func.extract("epoch", until - since), sa.Float)


def around(connection: sa.Connection, span: Span, as_of: datetime) -> dict[str, Any]:
    """What the rules are asked about: minutes of accounts that had 429s, gaps, events of lives,
    accounts. Of minutes no others than a report made at `as_of` is told of."""
    columns = Columns(connection)

    def read(kind: Any, table: sa.Table, where: sa.ColumnElement[bool], order: Any) -> list[Any]:
        # The newest, where there are too many: the last night is asked about, not the first.
        named, newest = [table.c[name] for name in kind._fields], [one.desc() for one in order]
        found: list[Any] = columns.read(
            kind, named, lambda raw: sa.select(*raw).where(where).order_by(*newest).limit(READ_MAX)
        )
        return found[::-1]

    # With the calm ones: the calls that were let through between 429s belong to a storm.
    within = passed(span, as_of)
    refused = sa.select(MINUTES.c.account_id).where(within, MINUTES.c.refused > 0)
    theirs = sa.and_(within, MINUTES.c.account_id.in_(refused))
    order = (MINUTES.c.minute, MINUTES.c.account_id)
    still = sa.or_(GAP.c.closed_at.is_(None), GAP.c.closed_at > span.since)
    told = sa.and_(LIFE_EVENT.c.at >= span.since, LIFE_EVENT.c.at < span.until)
    gaps = sa.and_(GAP.c.since < span.until, still)
    profiles = sa.select(ACCOUNT.c.id, ACCOUNT.c.profile)
    return {
        "minutes": read(material.MinuteRow, MINUTES, theirs, order),
        "gaps": read(material.GapRow, GAP, gaps, (GAP.c.since, GAP.c.id)),
        "events": read(material.LifeEventRow, LIFE_EVENT, told, (LIFE_EVENT.c.at, LIFE_EVENT.c.id)),
        "accounts": {row.id: row.profile for row in connection.execute(profiles)},
    }


def ledger_since(connection: sa.Connection) -> datetime:
    """When this ledger was made."""
    at: datetime = connection.execute(sa.select(LEDGER.c.created_at)).scalar_one()
    return at
