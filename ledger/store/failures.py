"""Failed attempts, counted by what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.store.facts import ATTEMPT, RUN
from ledger.store.leads import among_ids
from ledger.store.queries import ACCOUNT
from ledger.store.report import LOOKBACK
from ledger.store.rows import table_of
from ledger.store.tables import FingerprintRow, TombstoneRow

FINGERPRINT, TOMBSTONE = table_of(FingerprintRow), table_of(TombstoneRow)
SAMPLES: Final = 20
COMPARED_MAX: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From `since` to before `until`, in so many equal parts."""

    since: datetime
    until: datetime
    parts: int = 24

    @property
    def part_seconds(self) -> float:
        """The length of one part."""
        return (self.until - self.since).total_seconds() / self.parts

    def before(self) -> Span:
        """The span of equal length that ends where this one begins."""
        return Span(since=self.since - (self.until - self.since), until=self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Attempts of one fingerprint that ended in one part of a span."""

    fingerprint: str
    part: int
    attempts: int
    first_at: datetime
    last_at: datetime


def count_parts(connection: sa.Connection, span: Span) -> list[Part]:
    """How many attempts failed in each part of the span, by fingerprint."""
    part = _part(connection, span)
    statement = (
        sa.select(
            ATTEMPT.c.fingerprint,
            part.label("part"),
            sa.func.count(),
            sa.func.min(ATTEMPT.c.ended_at),
            sa.func.max(ATTEMPT.c.ended_at),
        )
        .where(*_within(span))
        .group_by(ATTEMPT.c.fingerprint, part)
    )
    return [
        Part(fingerprint=name, part=int(part), attempts=attempts, first_at=first, last_at=last)
        for name, part, attempts, first, last in connection.execute(statement)
    ]


def count_in(connection: sa.Connection, span: Span) -> dict[str, tuple[int, int]]:
    """Attempts that failed in a span, and runs that they belong to, by fingerprint."""
    runs = sa.func.count(sa.distinct(ATTEMPT.c.run_id))
    statement = (
        sa.select(ATTEMPT.c.fingerprint, sa.func.count(), runs)
        .where(*_within(span))
        .group_by(ATTEMPT.c.fingerprint)
    )
    return {name: (attempts, runs) for name, attempts, runs in connection.execute(statement)}


def runs_hit(connection: sa.Connection, names: Sequence[str], span: Span) -> int:
    """Runs of which an attempt failed in one of these ways: each once."""
    statement = sa.select(sa.func.count(sa.distinct(ATTEMPT.c.run_id)))
    return int(connection.execute(statement.where(*_hit(connection, names, span))).scalar_one())


def _hit(
    connection: sa.Connection, names: Sequence[str], span: Span
) -> tuple[sa.ColumnElement[bool], ...]:
    """That an attempt failed in one of these ways: a group may have tens of thousands."""
    return among_ids(connection.dialect.name, ATTEMPT.c.fingerprint, names), *_within(span)


def whole(connection: sa.Connection, span: Span) -> bool:
    """Whether all attempts that failed in a span are here: it is not from before the first run,
    and no run that may have had one of them was pruned."""
    firsts = [
        connection.execute(sa.select(sa.func.min(table.c.created_at))).scalar()
        for table in (RUN, TOMBSTONE)
    ]
    if all(first is None or first > span.since for first in firsts):
        return False
    made, ended = TOMBSTONE.c.created_at, TOMBSTONE.c.finished_at
    gone = sa.select(TOMBSTONE.c.run_id).where(
        made >= span.since - LOOKBACK,
        made < span.until,
        ended >= span.since,
        sa.or_(TOMBSTONE.c.fingerprint.is_not(None), TOMBSTONE.c.attempts > 1),
    )
    return connection.execute(gone.limit(1)).first() is None


def _within(span: Span) -> tuple[sa.ColumnElement[bool], ...]:
    at = ATTEMPT.c.ended_at
    return ATTEMPT.c.fingerprint.is_not(None), at >= span.since, at < span.until


def _part(connection: sa.Connection, span: Span) -> sa.ColumnElement[Any]:
    since = sa.literal(span.since, ATTEMPT.c.ended_at.type)
    if connection.dialect.name == "sqlite":
        days = sa.func.julianday(ATTEMPT.c.ended_at) - sa.func.julianday(since)
        # A millisecond on top: a julian day is not exact to the last microsecond.
        seconds = days * 86_400 + 0.001
        return sa.cast(seconds / span.part_seconds, sa.Integer)
    passed = sa.func.extract("epoch", ATTEMPT.c.ended_at - since)
    return sa.cast(sa.func.floor(passed / span.part_seconds), sa.Integer)


def fingerprints(connection: sa.Connection) -> dict[str, sa.Row[Any]]:
    """What each fingerprint was made of, and when it was seen first."""
    return {row.id: row for row in connection.execute(sa.select(FINGERPRINT))}


def samples(connection: sa.Connection, names: list[str], span: Span) -> list[Any]:
    """The newest attempts with one of these fingerprints, and their runs as they stand now."""
    statement = (
        sa.select(
            ATTEMPT.c.run_id,
            RUN.c.key,
            ATTEMPT.c.number,
            ATTEMPT.c.ended_at,
            ATTEMPT.c.error_message,
            RUN.c.model,
            RUN.c.state,
        )
        .join(RUN, RUN.c.id == ATTEMPT.c.run_id)
        .where(*_hit(connection, names, span))
        .order_by(ATTEMPT.c.ended_at.desc(), ATTEMPT.c.run_id.desc())
        .limit(SAMPLES)
    )
    return list(connection.execute(statement).all())


def outcomes(connection: sa.Connection, names: list[str], span: Span) -> dict[str, int]:
    """How the runs that were hit stand now, counted by state."""
    hit = sa.select(ATTEMPT.c.run_id).where(*_hit(connection, names, span))
    statement = (
        sa.select(RUN.c.state, sa.func.count())
        .where(RUN.c.id.in_(hit))
        .group_by(RUN.c.state)
        .order_by(RUN.c.state)
    )
    return {str(state): count for state, count in connection.execute(statement)}


def compared(connection: sa.Connection, names: list[str], span: Span) -> list[tuple[bool, Any]]:
    """The newest runs that ended in the span, `COMPARED_MAX` at most, with what they may have in
    common; and whether each was hit by one of these fingerprints."""
    hit = sa.select(ATTEMPT.c.run_id).where(*_hit(connection, names, span))
    ids = {row[0] for row in connection.execute(hit)}
    statement = (
        sa.select(
            RUN.c.id, RUN.c.provider, RUN.c.model, RUN.c.assistant, RUN.c.kind, RUN.c.tags,
            RUN.c.serial_key, ACCOUNT.c.profile,
        )
        .join(ACCOUNT, ACCOUNT.c.id == RUN.c.account_id)
        .where(RUN.c.finished_at >= span.since, RUN.c.finished_at < span.until)
        .order_by(RUN.c.finished_at.desc())
        .limit(COMPARED_MAX)
    )  # fmt: skip
    return [(row.id in ids, row) for row in connection.execute(statement)]
