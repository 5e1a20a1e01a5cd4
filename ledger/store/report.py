"""Reading one window for a report: few statements, columns and no records of the core.

Runs count for a window that were created in it, ended in it, or were open in it. Of those created
earlier and finished later, the ones of the LOOKBACK days before are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger.core.alphabet import EventKind, LifeEventKind
from ledger.core.lifecycle import FINAL
from ledger.core.outcome import error_type
from ledger.core.postmortem import material
from ledger.core.postmortem.cases import FAILED
from ledger.core.postmortem.material import Before, Material, Span
from ledger.core.postmortem.surroundings import DRIVERS
from ledger.core.query import Term
from ledger.store.columns import Columns
from ledger.store.deliveries import DELIVERY
from ledger.store.facts import ATTEMPT, CALL, REMOTE, RUN
from ledger.store.gaps import GAP
from ledger.store.leads import among_ids
from ledger.store.limits import MINUTES
from ledger.store.lives import WORKER
from ledger.store.queries import ACCOUNT, EVENT, PAYLOAD
from ledger.store.rows import table_of
from ledger.store.search import matching
from ledger.store.tables import FingerprintRow, LedgerRow, LifeEventRow, TombstoneRow

FINGERPRINT, LIFE_EVENT = table_of(FingerprintRow), table_of(LifeEventRow)
LEDGER, TOMBSTONE = table_of(LedgerRow), table_of(TombstoneRow)
LOOKBACK: Final = timedelta(days=2)
TOLD: Final = (
    EventKind.restarted,
    EventKind.contradiction,
    EventKind.attention,
    EventKind.set_aside,
    EventKind.released,
    EventKind.held,
    EventKind.noted,
    EventKind.resolved,
    EventKind.create_unknown,
    EventKind.tool_rerun,
)
"""Kinds of events that a report tells of, besides those that end an attempt."""
PASSING: Final = (LifeEventKind.started, LifeEventKind.stopped)
"""Told of daemons alone: commands that wait come and go."""
WRITTEN_AFTER: Final = timedelta(minutes=2)
"""Lives write what they saw of limits once a minute: after so long all have."""
EVENTS_MAX: Final = 5_000
"""So many events of lives, and so many lives, are read at most."""
R = TypeVar("R")


def passed(span: Span, as_of: datetime) -> sa.ColumnElement[bool]:
    """That a minute of limits had passed by the span's end, and had been written by `as_of`."""
    since = span.since.replace(second=0, microsecond=0)
    last = min(span.until, as_of - WRITTEN_AFTER) - timedelta(minutes=1)
    return sa.and_(MINUTES.c.minute >= since, MINUTES.c.minute <= last)


class Reader:
    """Reads the rows that belong to the runs of one window."""

    def __init__(self, connection: sa.Connection, span: Span, terms: Sequence[Term]) -> None:
        self._connection = connection
        self._terms, self._columns = terms, Columns(connection)
        self._ids = connection.execute(_chosen(span, terms)).scalars().all()

    def rows(self, kind: type[R], table: sa.Table, *where: sa.ColumnElement[bool]) -> list[R]:
        """Rows of one table that belong to the runs."""
        own = table.c.id if table is RUN else table.c.run_id
        mine = among_ids(self._connection.dialect.name, own, self._ids)

        def make(columns: Sequence[Any]) -> sa.Select[Any]:
            return sa.select(*columns).where(mine, *where)

        return self._columns.read(kind, _named(kind, table), make, keys=2)

    def within(
        self,
        kind: type[R],
        table: sa.Table,
        *where: sa.ColumnElement[bool],
        order: Sequence[Any],
        limit: int | None = None,
    ) -> list[R]:
        """Rows of a table that knows no runs."""

        def make(columns: Sequence[Any]) -> sa.Select[Any]:
            return sa.select(*columns).where(*where).order_by(*order).limit(limit)

        return self._columns.read(kind, _named(kind, table), make)

    def seen(self, as_of: datetime) -> list[material.SeenRow]:
        """What was seen up to `as_of` of the objects that went on after it."""
        later = sa.exists().where(
            REMOTE.c.run_id == EVENT.c.run_id,
            REMOTE.c.n == EVENT.c.remote,
            REMOTE.c.observed_at > as_of,
        )
        told = (EVENT.c.remote_status.is_not(None), EVENT.c.recorded_at <= as_of)
        return self.rows(material.SeenRow, EVENT, *told, later)

    def tool_errors(self) -> dict[tuple[int, int], str]:
        """The sort of error that tool calls gave to the model, where it can be read."""
        output = sa.and_(PAYLOAD.c.run_id == CALL.c.run_id, PAYLOAD.c.n == CALL.c.output)
        statement = (
            sa.select(CALL.c.run_id, CALL.c.n, PAYLOAD.c.body)
            .join(PAYLOAD, output)
            .where(among_ids(self._connection.dialect.name, CALL.c.run_id, self._ids))
            .where(CALL.c.is_error, PAYLOAD.c.body.is_not(None))
            .order_by(CALL.c.run_id, CALL.c.n)
            .limit(EVENTS_MAX)
        )
        rows = self._connection.execute(statement)
        return {(run_id, n): error_type(bytes(body)) for run_id, n, body in rows}

    def minutes(self, span: Span, as_of: datetime) -> list[material.MinuteRow]:
        """What was seen of limits, minute by minute."""
        order = (MINUTES.c.minute, MINUTES.c.account_id)
        return self.within(material.MinuteRow, MINUTES, passed(span, as_of), order=order)

    def before(self, name: str, span: Span) -> Before:
        """What is read of a window to compare with."""
        where = sa.and_(
            RUN.c.finished_at >= span.since, RUN.c.finished_at < span.until, matching(self._terms)
        )
        sums = (REMOTE.c.tokens_in, REMOTE.c.tokens_cached, REMOTE.c.tokens_out)
        spent = (
            sa.select(RUN.c.model, *(sa.func.coalesce(sa.func.sum(column), 0) for column in sums))
            .join_from(RUN, REMOTE, REMOTE.c.run_id == RUN.c.id)
            .where(where)
            .group_by(RUN.c.model)
            .order_by(RUN.c.model)
        )
        failed = (
            sa.select(sa.func.count())
            .select_from(ATTEMPT.join(RUN, RUN.c.id == ATTEMPT.c.run_id))
            .where(ATTEMPT.c.ended_at >= span.since, ATTEMPT.c.ended_at < span.until)
            .where(ATTEMPT.c.fingerprint.is_not(None), ATTEMPT.c.outcome.in_(sorted(FAILED)))
            .where(matching(self._terms))
        )
        return Before(
            name=name,
            failed_attempts=int(self._connection.execute(failed).scalar_one()),
            span=span,
            pruned=_pruned(self._connection, span),
            ends=self.within(material.EndRow, RUN, where, order=(RUN.c.id,)),
            spent=[
                material.SpentRow(row[0], *(int(n) for n in row[1:]))
                for row in self._connection.execute(spent)
            ],
        )


def read_window(
    connection: sa.Connection,
    span: Span,
    as_of: datetime,
    terms: Sequence[Term],
    *,
    query: str,
    schema: str,
    before: Sequence[tuple[str, Span]] = (),
) -> Material:
    """All that a report on a window is made of."""
    reader = Reader(connection, span, terms)
    ledger = connection.execute(sa.select(LEDGER.c.id, LEDGER.c.created_at)).one()
    found = Material(
        ledger_id=ledger.id,
        ledger_since=ledger.created_at,
        schema=schema,
        span=span,
        as_of=as_of,
        query=query,
        accounts=_accounts(connection),
        runs=reader.rows(material.RunRow, RUN),
        attempts=reader.rows(material.AttemptRow, ATTEMPT),
        remotes=reader.rows(material.RemoteRow, REMOTE),
        calls=reader.rows(material.CallRow, CALL),
        tool_errors=reader.tool_errors(),
        events=reader.rows(
            material.EventRow,
            EVENT,
            sa.or_(EVENT.c.to_state.in_(sorted(FINAL)), EVENT.c.kind.in_(TOLD)),
        ),
        deliveries=reader.rows(material.DeliveryRow, DELIVERY),
        before=[reader.before(name, past) for name, past in before],
        pruned=_pruned(connection, span),
    )
    if any(one.observed_at is not None and one.observed_at > as_of for one in found.remotes):
        found.seen = reader.seen(as_of)
    _surroundings(reader, found)
    found.fingerprints = _fingerprints(connection, found)
    return found


def _named(kind: Any, table: sa.Table) -> list[Any]:
    return [table.c[name] for name in kind._fields]


def _surroundings(reader: Reader, found: Material) -> None:
    """What happened around the runs, in the window and, of lives, until now."""
    span = found.span
    found.gaps = reader.within(
        material.GapRow,
        GAP,
        GAP.c.since < span.until,
        sa.or_(GAP.c.closed_at.is_(None), GAP.c.closed_at > span.since),
        order=(GAP.c.since, GAP.c.id),
        limit=EVENTS_MAX,
    )
    found.lives = reader.within(
        material.LifeRow,
        WORKER,
        WORKER.c.started_at < span.until,
        sa.or_(WORKER.c.ended_at.is_(None), WORKER.c.ended_at > span.since),
        # Each command that waits is a life as well, and there may be thousands.
        order=(WORKER.c.role.not_in(DRIVERS), WORKER.c.started_at, WORKER.c.id),
        limit=EVENTS_MAX,
    )
    found.lives = sorted(found.lives, key=lambda life: (life.started_at, life.id))
    found.life_events = reader.within(
        material.LifeEventRow,
        LIFE_EVENT,
        LIFE_EVENT.c.at >= span.since,
        LIFE_EVENT.c.at < span.until,
        sa.or_(
            LIFE_EVENT.c.kind.not_in(PASSING),
            LIFE_EVENT.c.life.in_(sa.select(WORKER.c.id).where(WORKER.c.role.in_(DRIVERS))),
        ),
        order=(LIFE_EVENT.c.at, LIFE_EVENT.c.id),
        limit=EVENTS_MAX,
    )
    found.minutes = reader.minutes(span, found.as_of)


def _chosen(span: Span, terms: Sequence[Term]) -> sa.Select[Any]:
    """The ids of the runs that count for a window."""
    over = sa.and_(RUN.c.finished_at >= span.since, RUN.c.finished_at < span.until)
    made = sa.and_(
        RUN.c.created_at >= span.since - LOOKBACK,
        RUN.c.created_at < span.until,
        RUN.c.finished_at >= span.since,
    )
    still = sa.and_(RUN.c.finished_at.is_(None), RUN.c.created_at < span.until)
    return sa.select(RUN.c.id).where(sa.or_(over, made, still), matching(terms))


def _accounts(connection: sa.Connection) -> dict[int, material.AccountRow]:
    columns = [ACCOUNT.c[name] for name in material.AccountRow._fields]
    rows = connection.execute(sa.select(*columns).order_by(ACCOUNT.c.id))
    return {row[0]: material.AccountRow._make(row) for row in rows}


def _pruned(connection: sa.Connection, span: Span) -> int:
    """Runs of the window of which only a tombstone is left."""
    theirs = sa.or_(
        sa.and_(TOMBSTONE.c.created_at >= span.since, TOMBSTONE.c.created_at < span.until),
        sa.and_(TOMBSTONE.c.finished_at >= span.since, TOMBSTONE.c.finished_at < span.until),
    )
    statement = sa.select(sa.func.count()).select_from(TOMBSTONE).where(theirs)
    return int(connection.execute(statement).scalar_one())


def _fingerprints(connection: sa.Connection, found: Material) -> dict[str, material.FingerprintRow]:
    """Those of the attempts. All are read: there are few, and many attempts."""
    wanted = {attempt.fingerprint for attempt in found.attempts if attempt.fingerprint}
    columns = [FINGERPRINT.c[name] for name in material.FingerprintRow._fields]
    statement = sa.select(*columns).order_by(FINGERPRINT.c.id)
    if len(wanted) <= 500:
        statement = statement.where(FINGERPRINT.c.id.in_(sorted(wanted)))
    rows = map(material.FingerprintRow._make, connection.execute(statement))
    return {row.id: row for row in rows if row.id in wanted}
