"""Evidence: facts from outside ownership, filed where their run's owner finds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ledger.core.hashing import payload_digest
from ledger.entropy import random_bytes
from ledger.store.direct import among, execute, listed
from ledger.store.facts import EVIDENCE, RUN, WATCH
from ledger.store.hints import notify
from ledger.store.rows import Bulk
from ledger.store.write import FENCE_SHIFT


class Fact(NamedTuple):
    """One fact. `run_id` is None where nobody knows yet whose it is."""

    source: str
    key: str
    run_id: int | None
    body: bytes
    remote_id: str | None = None


class Filing:
    """Files evidence. The same fact twice is one row."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._rows = Bulk(EVIDENCE, ("id",), dialect)
        self._watches = Bulk(WATCH, ("run_id",), dialect)

    def add(self, connection: sa.Connection, facts: Sequence[Fact], now: datetime) -> None:
        """Insert facts and make the owners of their runs look at once."""
        # The watch rows are locked first, so that ids of one run's evidence commit in order.
        runs = sorted({fact.run_id for fact in facts if fact.run_id is not None})
        self._watches.update(connection, [{"run_id": run, "due_at": now} for run in runs])
        erased = _erased(connection, runs)
        rows = [_row(fact, now, kept=fact.run_id not in erased) for fact in facts]
        self._rows.insert(connection, rows, ignore=True)
        notify(connection)


def _erased(connection: sa.Connection, runs: Sequence[int]) -> set[int]:
    """Which of these runs, whose rows the caller has locked, must have no contents any more."""
    if not runs:
        return set()
    kind = connection.dialect.name
    statement = f"SELECT id FROM run WHERE id {among(kind, 'bigint')} AND erased_at IS NOT NULL"
    return {row[0] for row in execute(connection, statement, (listed(kind, runs),), rows=True)}


def watch_again(connection: sa.Connection, run_id: int, now: datetime) -> None:
    """A run that nobody looks at any more is looked at once more, for its evidence; an erased one
    has none that could be read."""
    watched = sa.select(WATCH.c.run_id).where(WATCH.c.run_id == run_id)
    again = sa.select(
        RUN.c.id,
        sa.null(),
        RUN.c.version * (1 << FENCE_SHIFT),
        sa.literal(now, WATCH.c.due_at.type),
        sa.literal("evidence"),
        sa.literal(""),
    ).where(RUN.c.id == run_id, RUN.c.erased_at.is_(None), ~watched.exists())
    names = ["run_id", "owner", "fence", "due_at", "why", "deaths"]
    connection.execute(sa.insert(WATCH).from_select(names, again))


def _row(fact: Fact, now: datetime, *, kept: bool) -> dict[str, object]:
    """Of a fact that is not `kept`, the digest stays: that it came, and nothing of what it said."""
    salt = random_bytes(16)
    return {
        "source": fact.source,
        "key": fact.key,
        "run_id": fact.run_id,
        "remote_id": fact.remote_id,
        "received_at": now,
        "salt": salt if kept else None,
        "digest": payload_digest(salt, fact.body),
        "body": fact.body if kept else None,
    }
