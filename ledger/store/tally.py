"""Counts rolled up by the hour: what several processes add to at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.store.rows import table_of, upserting
from ledger.store.tables import ApiUsageRow, ReceiptRow

USAGE, RECEIPT = table_of(ApiUsageRow), table_of(ReceiptRow)


def add_usage(
    connection: sa.Connection, rows: Sequence[tuple[datetime, int, str, str, int, float]]
) -> None:
    """Add calls made: (hour, account, operation, outcome, calls, seconds)."""
    for *key, calls, seconds in sorted(rows):
        more = {"calls": calls, "latency_seconds": seconds}
        _add(connection, USAGE, ("hour", "account_id", "operation", "outcome"), key, more)


def add_receipts(connection: sa.Connection, rows: Sequence[tuple[datetime, str, str, int]]) -> None:
    """Add requests to the receiver, and ends told or missed: (hour, profile, result, requests)."""
    for *key, requests in sorted(rows):
        _add(connection, RECEIPT, ("hour", "profile", "result"), key, {"requests": requests})


def _add(
    connection: sa.Connection,
    table: sa.Table,
    names: Sequence[str],
    key: Sequence[Any],
    more: Mapping[str, float],
) -> None:
    """In one statement: two processes may be the first of an hour at once."""
    row = upserting(connection, table).values(**dict(zip(names, key, strict=True)), **more)
    sums = {name: table.c[name] + amount for name, amount in more.items()}
    connection.execute(row.on_conflict_do_update(index_elements=names, set_=sums))
