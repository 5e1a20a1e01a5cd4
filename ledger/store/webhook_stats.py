"""Reading deliveries, for people: lists, and what was measured of each profile."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import DeliveryState
from ledger.core.delivery import WEBHOOK
from ledger.store.deliveries import DELIVERY
from ledger.store.facts import EVIDENCE
from ledger.store.tally import RECEIPT

LISTED: Final = (
    "id",
    "webhook_id",
    "type",
    "object_id",
    "state",
    "run_id",
    "profile",
    "secret",
    "via",
    "created_at",
    "sent_at",
    "received_at",
    "duplicates",
)
DELAYS_MAX: Final = 10_000
"""So many of the newest deliveries tell how late they come."""
_COLUMNS: Final = tuple(DELIVERY.c[name] for name in LISTED)


def list_deliveries(
    connection: sa.Connection,
    *,
    limit: int,
    run_id: int | None = None,
    state: DeliveryState | None = None,
    after: int | None = None,
) -> list[dict[str, Any]]:
    """Deliveries, the newest first; those above id `after` in order, to follow them."""
    statement = sa.select(*_COLUMNS).limit(limit)
    if run_id is not None:
        statement = statement.where(DELIVERY.c.run_id == run_id)
    if state is not None:
        statement = statement.where(DELIVERY.c.state == state)
    if after is not None:
        statement = statement.where(DELIVERY.c.id > after).order_by(DELIVERY.c.id)
    else:
        statement = statement.order_by(DELIVERY.c.id.desc())
    return [dict(row._mapping) for row in connection.execute(statement)]


def newest_delivery(connection: sa.Connection) -> int:
    """The newest delivery's id."""
    return int(connection.execute(sa.select(sa.func.max(DELIVERY.c.id))).scalar() or 0)


def receipts(connection: sa.Connection, since: datetime) -> dict[str, dict[str, int]]:
    """What the receiver was sent, and what ended untold, by profile and result."""
    counted = (
        sa.select(RECEIPT.c.profile, RECEIPT.c.result, sa.func.sum(RECEIPT.c.requests))
        .where(RECEIPT.c.hour >= since)
        .group_by(RECEIPT.c.profile, RECEIPT.c.result)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for profile, result, requests in connection.execute(counted):
        found[profile][result] = int(requests)
    return dict(found)


def foreign(connection: sa.Connection, since: datetime) -> dict[str, int]:
    """Deliveries about nobody's objects, by profile."""
    counted = (
        sa.select(DELIVERY.c.profile, sa.func.count())
        .where(DELIVERY.c.state == DeliveryState.foreign, DELIVERY.c.received_at >= since)
        .group_by(DELIVERY.c.profile)
    )
    return {profile: int(count) for profile, count in connection.execute(counted)}


def delays(connection: sa.Connection, since: datetime) -> dict[str, list[float]]:
    """Seconds from upstream's event to our receipt, by profile."""
    newest = (
        sa.select(DELIVERY.c.profile, DELIVERY.c.created_at, DELIVERY.c.received_at)
        .where(DELIVERY.c.created_at.is_not(None), DELIVERY.c.received_at >= since)
        .where(DELIVERY.c.state != DeliveryState.foreign)
        .order_by(DELIVERY.c.id.desc())
        .limit(DELAYS_MAX)
    )
    found: dict[str, list[float]] = defaultdict(list)
    for profile, created, received in connection.execute(newest):
        found[profile].append((received - created).total_seconds())
    return dict(found)


def forget_foreign(connection: sa.Connection, before: datetime) -> None:
    """Drop what was nobody's, with its bytes."""
    old = sa.and_(DELIVERY.c.state == DeliveryState.foreign, DELIVERY.c.received_at < before)
    names = sa.select(DELIVERY.c.webhook_id).where(old)
    theirs = sa.and_(EVIDENCE.c.source == WEBHOOK, EVIDENCE.c.run_id.is_(None))
    connection.execute(sa.delete(EVIDENCE).where(theirs, EVIDENCE.c.key.in_(names)))
    connection.execute(sa.delete(DELIVERY).where(old))
