"""Webhook deliveries: taken in once each, parked while nobody knows whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ledger.core.alphabet import DeliveryState, Receipt, RemoteState
from ledger.core.delivery import WEBHOOK, Delivery
from ledger.store.direct import among, execute, execute_many, listed
from ledger.store.evidence import Fact, Filing, watch_again
from ledger.store.facts import EVIDENCE, REMOTE
from ledger.store.heads import lock_heads
from ledger.store.rows import Bulk, table_of
from ledger.store.tables import DeliveryRow

DELIVERY = table_of(DeliveryRow)


class Intake:
    """Takes deliveries in, many in one transaction. Nothing is read after it was written."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._rows = Bulk(DELIVERY, ("webhook_id",), dialect)
        self._filing = Filing(dialect)
        name = dialect.name
        self._known = f"SELECT webhook_id FROM delivery WHERE webhook_id {among(name, 'text')}"
        self._runs = (
            f"SELECT remote_id, run_id FROM remote WHERE remote_id {among(name, 'text')} "
            "ORDER BY run_id"
        )
        mark = "?" if name == "sqlite" else "%s"
        self._again = f"UPDATE delivery SET duplicates = duplicates + 1 WHERE webhook_id = {mark}"
        self._dialect = name

    def take_in(
        self, connection: sa.Connection, deliveries: Sequence[Delivery], park_until: datetime
    ) -> list[Receipt]:
        """Insert what is new, with what it is about, and make the owners of those runs look."""
        fresh, results = self._sort(connection, deliveries)
        # In one order, so that two receivers with the same ones wait for each other, not both.
        fresh.sort(key=lambda item: item.webhook_id)
        repeated = [d for d, r in zip(deliveries, results, strict=True) if r == Receipt.duplicate]
        runs = self._runs_of(connection, fresh)
        lock_heads(connection, sorted(set(runs.values())))
        rows = [_row(item, runs.get(item.announced.object_id), park_until) for item in fresh]
        self._rows.insert(connection, rows, ignore=True)
        execute_many(connection, self._again, [(item.webhook_id,) for item in repeated])
        if fresh:
            self._filing.add(connection, [_fact(d, runs) for d in fresh], fresh[0].received_at)
        return results

    def _sort(
        self, connection: sa.Connection, deliveries: Sequence[Delivery]
    ) -> tuple[list[Delivery], list[Receipt]]:
        names = listed(self._dialect, [item.webhook_id for item in deliveries])
        known = {row[0] for row in execute(connection, self._known, (names,), rows=True)}
        fresh: list[Delivery] = []
        results = []
        for item in deliveries:
            new = item.webhook_id not in known
            known.add(item.webhook_id)
            results.append(Receipt.accepted if new else Receipt.duplicate)
            if new:
                fresh.append(item)
        return fresh, results

    def _runs_of(self, connection: sa.Connection, fresh: Sequence[Delivery]) -> dict[str, int]:
        if not fresh:
            return {}
        ids = listed(self._dialect, [item.announced.object_id for item in fresh])
        return {row[0]: row[1] for row in execute(connection, self._runs, (ids,), rows=True)}


def _row(item: Delivery, run_id: int | None, park_until: datetime) -> dict[str, Any]:
    parked = run_id is None and item.announced.watched
    state = DeliveryState.parked if parked else DeliveryState.foreign
    return {
        "webhook_id": item.webhook_id,
        "event_id": item.announced.event_id,
        "type": item.announced.type,
        "object_id": item.announced.object_id,
        "profile": item.profile,
        "secret": item.secret,
        "via": item.via,
        "created_at": item.announced.created_at,
        "sent_at": item.sent_at,
        "received_at": item.received_at,
        "state": DeliveryState.matched if run_id is not None else state,
        "run_id": run_id,
        "tries": 0,
        "next_at": park_until if parked else None,
        "duplicates": 0,
    }


def _fact(item: Delivery, runs: dict[str, int]) -> Fact:
    object_id = item.announced.object_id
    return Fact(WEBHOOK, item.webhook_id, runs.get(object_id), item.body, object_id)


class Parked(NamedTuple):
    """A delivery whose object nobody knows yet."""

    id: int
    webhook_id: str
    object_id: str
    profile: str
    received_at: datetime
    tries: int
    next_at: datetime


_PARKED = (
    sa.select(*(DELIVERY.c[name] for name in Parked._fields))
    .where(DELIVERY.c.state == DeliveryState.parked, DELIVERY.c.next_at <= sa.bindparam("now"))
    .order_by(DELIVERY.c.next_at)
    .limit(sa.bindparam("most"))
)


def parked(connection: sa.Connection, now: datetime, most: int) -> list[Parked]:
    """Parked deliveries whose turn it is, the longest due first."""
    bound = _PARKED.params(now=now, most=most)
    return [Parked(*row) for row in connection.execute(bound)]


def take_parked(connection: sa.Connection, item: Parked, until: datetime) -> bool:
    """Reserve a parked delivery until then; false when another life was quicker."""
    statement = (
        sa.update(DELIVERY)
        .where(
            DELIVERY.c.id == item.id,
            DELIVERY.c.state == DeliveryState.parked,
            DELIVERY.c.tries == item.tries,
        )
        .values(next_at=until, tries=item.tries + 1)
    )
    return connection.execute(statement).rowcount == 1


def postpone(connection: sa.Connection, delivery_id: int, until: datetime) -> None:
    """Leave a delivery parked until then."""
    where = sa.and_(DELIVERY.c.id == delivery_id, DELIVERY.c.state == DeliveryState.parked)
    connection.execute(sa.update(DELIVERY).where(where).values(next_at=until))


def settle(
    connection: sa.Connection, delivery_id: int, state: DeliveryState, run_id: int | None = None
) -> None:
    """Say what a parked delivery turned out to be."""
    values = {"state": state, "run_id": run_id, "next_at": None}
    connection.execute(sa.update(DELIVERY).where(DELIVERY.c.id == delivery_id).values(values))


class Holder(NamedTuple):
    """A remote that an object may belong to."""

    run_id: int
    n: int
    state: RemoteState


_HOLDER = sa.select(REMOTE.c.run_id, REMOTE.c.n, REMOTE.c.state)


def holder_of(connection: sa.Connection, object_id: str) -> Holder | None:
    """The remote that has this id."""
    row = connection.execute(_HOLDER.where(REMOTE.c.remote_id == object_id)).first()
    return None if row is None else Holder(*row)


def marked(connection: sa.Connection, marker: str) -> Holder | None:
    """The remote that was created under this marker."""
    row = connection.execute(_HOLDER.where(REMOTE.c.marker == marker)).first()
    return None if row is None else Holder(*row)


def hand_over(
    connection: sa.Connection, item: Parked, state: DeliveryState, fact: Fact, now: datetime
) -> None:
    """A parked delivery has found its run: the fact is filed, and the run is looked at."""
    assert fact.run_id is not None
    lock_heads(connection, [fact.run_id])
    Filing(connection.dialect).add(connection, [fact], now)
    watch_again(connection, fact.run_id, now)
    settle(connection, item.id, state, fact.run_id)


def delivery_body(connection: sa.Connection, webhook_id: str) -> bytes | None:
    """The bytes of a delivery."""
    theirs = sa.and_(EVIDENCE.c.source == WEBHOOK, EVIDENCE.c.key == webhook_id)
    found: bytes | None = connection.execute(sa.select(EVIDENCE.c.body).where(theirs)).scalar()
    return found
