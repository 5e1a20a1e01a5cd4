"""What befell lives: written in the transaction in which it is known, read by reports."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import LifeEventKind
from ledger.store.rows import clean_json, table_of
from ledger.store.tables import LifeEventRow

LIFE_EVENT: Final = table_of(LifeEventRow)
ROWS_MAX: Final = 10_000


def note(
    connection: sa.Connection,
    kind: LifeEventKind,
    *,
    at: datetime,
    life: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write one down, as of this host."""
    row = {"at": at, "kind": kind, "life": life, "host": socket.gethostname()}
    connection.execute(sa.insert(LIFE_EVENT), {**row, "detail": clean_json(dict(detail or {}))})


def life_events(connection: sa.Connection, since: datetime, until: datetime) -> list[sa.Row[Any]]:
    """What befell lives from `since` to before `until`, in order, `ROWS_MAX` at most."""
    statement = (
        sa.select(LIFE_EVENT)
        .where(LIFE_EVENT.c.at >= since, LIFE_EVENT.c.at < until)
        .order_by(LIFE_EVENT.c.at, LIFE_EVENT.c.id)
        .limit(ROWS_MAX)
    )
    return list(connection.execute(statement).all())


def note_settings(
    connection: sa.Connection, settings: Mapping[str, object], *, at: datetime, life: str
) -> None:
    """Write down with what settings a life began, unless the one before had the same."""
    before = _last_settings(connection)
    now = clean_json(dict(settings))
    if before == now:
        return
    changed = sorted(
        name for name in {*now, *(before or {})} if (before or {}).get(name) != now.get(name)
    )
    detail = {"settings": now, **({"changed": changed} if before is not None else {})}
    note(connection, LifeEventKind.configured, at=at, life=life, detail=detail)


def _last_settings(connection: sa.Connection) -> dict[str, Any] | None:
    statement = (
        sa.select(LIFE_EVENT.c.detail)
        .where(LIFE_EVENT.c.kind == LifeEventKind.configured)
        .order_by(LIFE_EVENT.c.id.desc())
        .limit(1)
    )
    detail = connection.execute(statement).scalar()
    return None if detail is None else detail.get("settings")
