"""Numbers about the whole ledger. What is counted from the event log is counted once: each read
goes on where the one before it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import CallState, DeliveryState, OutboxState, Trigger
from ledger.core.lifecycle import FINAL
from ledger.core.steps import ASIDE
from ledger.store.claims import owner_counts
from ledger.store.deliveries import DELIVERY
from ledger.store.facts import CALL, REMOTE, RUN, WATCH
from ledger.store.gaps import GAP
from ledger.store.limits import standing
from ledger.store.lives import Lives
from ledger.store.outbox import OUTBOX
from ledger.store.queries import EVENT, restarted_by
from ledger.store.spending import tokens, wasted
from ledger.store.tally import RECEIPT, USAGE

LAG_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)
"""The upper ends of the histogram's buckets."""
OVERDUE: Final = timedelta(seconds=30)
"""So long after it was due a run that nobody drives is overdue."""
Counts = dict[tuple[str, ...], float]
_AFTER = EVENT.alias("after")


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the event log was counted.

    SQLite: up to event `floor`. PostgreSQL, where a lower id can commit later: all transactions
    below `txid`, to which every event up to `floor` belongs; `ahead` is (transaction, event) of
    the next floor.
    """

    floor: int = 0
    txid: int = 0
    ahead: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Tally:
    """What happened since a mark. Lag: source to (counts by bucket, the last one beyond all of
    them; sum in seconds)."""

    submitted: Counts = field(default_factory=dict)
    finished: Counts = field(default_factory=dict)
    restarts: Counts = field(default_factory=dict)
    lag: dict[str, tuple[list[int], float]] = field(default_factory=dict)
    tokens: Counts = field(default_factory=dict)
    wasted: Counts = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Gauges:
    """How things stand at one moment."""

    active: Counts
    attention: Counts
    overdue: int
    calls: Counts
    leases: int
    workers: Counts
    requests: Counts
    limits: Counts
    left: Counts
    throttled_seconds: Counts
    request_seconds: Counts
    webhooks: Counts
    webhook_at: datetime | None
    gaps: int
    parked: int
    outbox: int


def tally(connection: sa.Connection, mark: Mark) -> tuple[Tally, Mark]:
    """What happened after `mark`, and the mark of the next call."""
    within, following = _span(connection, mark)
    if within is None:
        return Tally(), following
    found = Tally(
        submitted=_grouped(connection, within, EVENT.c.seq == 1, (RUN.c.provider,)),
        finished=_grouped(
            connection,
            within,
            sa.and_(EVENT.c.to_state.in_(sorted(FINAL)), ~sa.exists().where(restarted_by(_AFTER))),
            (RUN.c.provider, EVENT.c.to_state, sa.func.coalesce(EVENT.c.error_code, "")),
        ),
        restarts=_grouped(
            connection, within, EVENT.c.trigger == Trigger.restart, (EVENT.c.source,)
        ),
        lag=_lag(connection, within),
        tokens=tokens(connection, within),
        wasted=wasted(connection, within),
    )
    return found, following


def _span(connection: sa.Connection, mark: Mark) -> tuple[sa.ColumnElement[bool] | None, Mark]:
    """The events to count now; None where there is nothing new."""
    newest = connection.execute(sa.select(sa.func.max(EVENT.c.id))).scalar() or 0
    if connection.dialect.name == "sqlite":
        if newest <= mark.floor:
            return None, mark
        return EVENT.c.id.between(mark.floor + 1, newest), Mark(floor=newest)
    # A snapshot's xmax is one above the highest transaction that is over: others above it may be
    # under way. Only a number of our own is above all that were given before.
    low, high = connection.exec_driver_sql(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, "
        "pg_current_xact_id()::text::bigint"
    ).one()
    # Ids are drawn by transactions that have their number already: once all below `high` are
    # over and counted, no event up to `newest` is left.
    reached = low >= mark.ahead[0]
    following = Mark(
        floor=mark.ahead[1] if reached else mark.floor,
        txid=low,
        ahead=(high, newest) if reached else mark.ahead,
    )
    within = sa.and_(EVENT.c.id > mark.floor, EVENT.c.txid >= mark.txid, EVENT.c.txid < low)
    return within, following


def _grouped(
    connection: sa.Connection,
    within: sa.ColumnElement[bool],
    what: sa.ColumnElement[bool],
    by: tuple[Any, ...],
) -> Counts:
    statement = (
        sa.select(*by, sa.func.count())
        .select_from(EVENT.join(RUN, RUN.c.id == EVENT.c.run_id))
        .where(within, what)
        .group_by(*by)
    )
    return _counts(connection, statement)


def _lag(
    connection: sa.Connection, within: sa.ColumnElement[bool]
) -> dict[str, tuple[list[int], float]]:
    """From upstream's own end of an object to the event that records it."""
    if connection.dialect.name == "sqlite":
        days = sa.func.julianday(EVENT.c.recorded_at) - sa.func.julianday(EVENT.c.remote_at)
        seconds = sa.type_coerce(days * 86_400.0, sa.Float)
        lag: Any = sa.func.max(seconds, 0.0)
    else:
        apart = sa.func.extract("epoch", EVENT.c.recorded_at - EVENT.c.remote_at)
        lag = sa.func.greatest(sa.cast(apart, sa.Float), 0.0)
    bucket = sa.case(
        *((lag <= high, n) for n, high in enumerate(LAG_SECONDS)), else_=len(LAG_SECONDS)
    ).label("bucket")
    known = sa.and_(
        REMOTE.c.run_id == EVENT.c.run_id,
        REMOTE.c.n == EVENT.c.remote,
        REMOTE.c.remote_ended_at == EVENT.c.remote_at,
    )
    statement = (
        sa.select(EVENT.c.source, bucket, sa.func.count(), sa.func.sum(lag))
        .select_from(EVENT.join(REMOTE, known))
        .where(within, EVENT.c.to_state.in_(sorted(FINAL)))
        .group_by(EVENT.c.source, bucket)
    )
    found: dict[str, tuple[list[int], float]] = {}
    for source, number, count, total in connection.execute(statement):
        buckets, before = found.get(str(source), ([0] * (len(LAG_SECONDS) + 1), 0.0))
        buckets[number] += count
        found[str(source)] = (buckets, before + float(total))
    return found


def gauges(connection: sa.Connection, lives: Lives, now: datetime) -> Gauges:
    """How things stand now."""
    dead, overdue = lives.judge(connection, "")
    gone = {*dead, *overdue}
    alive = [row for row in lives.alive(connection) if row.id not in gone]
    owned = owner_counts(connection)
    workers: Counts = {}
    for row in alive:
        workers[row.role,] = workers.get((row.role,), 0) + 1
    return Gauges(
        active=_by(connection, RUN.c.state, RUN.c.state.not_in(sorted(FINAL))),
        attention=_by(connection, RUN.c.needs_attention, RUN.c.needs_attention.is_not(None)),
        overdue=_overdue(connection, now),
        calls=_by(
            connection, CALL.c.state, CALL.c.state.in_([CallState.requested, CallState.started])
        ),
        leases=sum(owned.get(row.id, 0) for row in alive),
        workers=workers,
        **_requests(connection),
        **_limits(connection, now),
        webhooks=_counts(
            connection,
            sa.select(RECEIPT.c.result, sa.func.sum(RECEIPT.c.requests)).group_by(RECEIPT.c.result),
        ),
        webhook_at=connection.execute(sa.select(sa.func.max(DELIVERY.c.received_at))).scalar(),
        gaps=_count(connection, GAP, GAP.c.closed_at.is_(None)),
        parked=_count(connection, DELIVERY, DELIVERY.c.state == DeliveryState.parked),
        outbox=_count(connection, OUTBOX, OUTBOX.c.state == OutboxState.waiting),
    )


def _overdue(connection: sa.Connection, now: datetime) -> int:
    """Runs past their deadline without a verdict, and runs that are due and nobody's."""
    late = now - OVERDUE
    idle = sa.and_(WATCH.c.owner.is_(None), WATCH.c.due_at < late)
    lapsed = sa.and_(RUN.c.finished_at.is_(None), RUN.c.deadline_at < late)
    statement = (
        sa.select(sa.func.count())
        .select_from(WATCH.join(RUN, RUN.c.id == WATCH.c.run_id))
        .where(sa.or_(idle, lapsed), WATCH.c.owner.is_distinct_from(ASIDE))
    )
    return int(connection.execute(statement).scalar_one())


def _requests(connection: sa.Connection) -> dict[str, Counts]:
    """Calls upstream and their seconds, by operation and outcome."""
    by = (USAGE.c.operation, USAGE.c.outcome)
    calls = sa.select(*by, sa.func.sum(USAGE.c.calls)).group_by(*by)
    seconds = sa.select(*by, sa.func.sum(USAGE.c.latency_seconds)).group_by(*by)
    return {
        "requests": _counts(connection, calls),
        "request_seconds": _counts(connection, seconds),
    }


def _limits(connection: sa.Connection, now: datetime) -> dict[str, Counts]:
    """Limits that upstream named in the last day, what was left, and time spent waiting."""
    limits, left, throttled = standing(connection, now - timedelta(days=1))
    return {"limits": limits, "left": left, "throttled_seconds": throttled}


def _by(connection: sa.Connection, column: Any, where: sa.ColumnElement[bool]) -> Counts:
    return _counts(connection, sa.select(column, sa.func.count()).where(where).group_by(column))


def _count(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    statement = sa.select(sa.func.count()).select_from(table).where(where)
    return int(connection.execute(statement).scalar_one())


def _counts(connection: sa.Connection, statement: Any) -> Counts:
    return {
        tuple(str(part) for part in row[:-1]): float(row[-1])
        for row in connection.execute(statement)
    }
