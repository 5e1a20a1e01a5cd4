"""Gaps: times in which runs of a profile ended and no webhook told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ledger.core.delivery import TEST_EVENT
from ledger.store.deliveries import DELIVERY
from ledger.store.rows import table_of
from ledger.store.tables import GapRow

GAP = table_of(GapRow)


class Gap(NamedTuple):
    """One gap; `closed_at` is None as long as it lasts."""

    id: int
    profile: str
    since: datetime
    noticed_at: datetime
    missed: int
    closed_at: datetime | None


_GAPS = sa.select(*(GAP.c[name] for name in Gap._fields)).order_by(GAP.c.id.desc())


def open_gaps(connection: sa.Connection) -> list[Gap]:
    """The gaps that last."""
    return [Gap(*row) for row in connection.execute(_GAPS.where(GAP.c.closed_at.is_(None)))]


def recent_gaps(connection: sa.Connection, most: int) -> list[Gap]:
    """The newest gaps, the last one first."""
    return [Gap(*row) for row in connection.execute(_GAPS.limit(most))]


def open_gap(
    connection: sa.Connection, profile: str, since: datetime, now: datetime, missed: int
) -> bool:
    """Write that a gap was noticed; false when another life has done so."""
    row = {"profile": profile, "since": since, "noticed_at": now, "missed": missed}
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(GAP), row)
    except sa.exc.IntegrityError:
        return False
    return True


def close_gap(connection: sa.Connection, profile: str, now: datetime) -> bool:
    """Write that deliveries come again."""
    where = sa.and_(GAP.c.profile == profile, GAP.c.closed_at.is_(None))
    return connection.execute(sa.update(GAP).where(where).values(closed_at=now)).rowcount > 0


def last_delivery(connection: sa.Connection, profile: str) -> datetime | None:
    """When the newest delivery of upstream's to a profile came."""
    newest = sa.select(sa.func.max(DELIVERY.c.received_at)).where(
        DELIVERY.c.profile == profile, DELIVERY.c.type != TEST_EVENT
    )
    found: datetime | None = connection.execute(newest).scalar()
    return found


def told_of(connection: sa.Connection, object_ids: Sequence[str]) -> set[str]:
    """Those of the objects that some delivery spoke of."""
    found: set[str] = set()
    for start in range(0, len(object_ids), 500):
        page = object_ids[start : start + 500]
        asked = sa.select(DELIVERY.c.object_id).where(DELIVERY.c.object_id.in_(page))
        found.update(row[0] for row in connection.execute(asked))
    return found
