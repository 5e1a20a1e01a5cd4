"""Seals: who makes them, and what an anchor needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.merkle import MerkleTree, leaf_hash, seal_genesis, seal_hash
from ledger.store.direct import execute
from ledger.store.facts import RUN
from ledger.store.rows import Bulk, table_of
from ledger.store.tables import LedgerRow, SealLeafRow, SealRow

LEDGER, SEAL, LEAF = table_of(LedgerRow), table_of(SealRow), table_of(SealLeafRow)
SEAL_RUNS_MAX: Final = 2_000
"""Runs under one seal: so many are locked, and so long others wait, at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One link of the chain over the whole ledger."""

    number: int
    sealed_at: datetime
    leaves: int
    hash: bytes


# In id order, as every commit locks them; a row that changes while this waits is read as changed.
_UNSEALED = (
    "SELECT id, origin_ledger, origin_run, event_seq, head_hash FROM run "
    "WHERE event_seq > sealed_seq ORDER BY id LIMIT "
)


def seal(
    connection: sa.Connection, ledger: str, now: datetime, *, limit: int = SEAL_RUNS_MAX
) -> Seal | None:
    """Put the runs with unsealed events under one seal, at most `limit`; None if there are none.

    In a write transaction. Two sealers at once take turns: SQLite has one writer, and on
    PostgreSQL the ledger's row is their lock.
    """
    take_turn(connection)
    lock = " FOR NO KEY UPDATE" if connection.dialect.name == "postgresql" else ""
    rows = execute(connection, f"{_UNSEALED}{int(limit)}{lock}", rows=True)
    if not rows:
        return None
    made = seal_heads(connection, ledger, now, rows)
    sealed = [{"id": run_id, "sealed_seq": seq} for run_id, _, _, seq, _ in rows]
    Bulk(RUN, ("id",), connection.dialect).update(connection, sealed)
    return made


def take_turn(connection: sa.Connection) -> None:
    """Be the only sealer until the end of the transaction; before any run is locked."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(LEDGER.c.id).with_for_update())


def seal_heads(connection: sa.Connection, ledger: str, now: datetime, rows: Sequence[Any]) -> Seal:
    """Put these heads under the next seal: run, origin ledger, origin run, seq, hash; in order of
    run. For whoever has taken their turn."""
    number, previous = _last(connection, ledger)
    root = MerkleTree(
        leaf_hash(origin, run, seq, bytes(head)) for _, origin, run, seq, head in rows
    ).root()
    made = Seal(
        number=number + 1,
        sealed_at=now,
        leaves=len(rows),
        hash=seal_hash(
            ledger=ledger,
            number=number + 1,
            sealed_at=now,
            leaves=len(rows),
            root=root,
            previous=previous,
        ),
    )
    connection.execute(
        sa.insert(SEAL).values(
            number=made.number,
            sealed_at=now,
            leaves=made.leaves,
            root=root,
            prev_hash=previous,
            hash=made.hash,
        )
    )
    leaves = [
        {"seal": made.number, "run_id": run_id, "seq": seq, "head": bytes(head)}
        for run_id, _, _, seq, head in rows
    ]
    Bulk(LEAF, ("seal", "run_id"), connection.dialect).insert(connection, leaves)
    return made


def _last(connection: sa.Connection, ledger: str) -> tuple[int, bytes]:
    newest = sa.select(SEAL.c.number, SEAL.c.hash).order_by(SEAL.c.number.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return (0, seal_genesis(ledger)) if row is None else (row.number, bytes(row.hash))


def newest_seal(connection: sa.Connection) -> Seal | None:
    """The newest seal."""
    columns = (SEAL.c.number, SEAL.c.sealed_at, SEAL.c.leaves, SEAL.c.hash)
    statement = sa.select(*columns).order_by(SEAL.c.number.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    number, sealed_at, leaves, hashed = row
    return Seal(number=number, sealed_at=sealed_at, leaves=leaves, hash=bytes(hashed))


def covered(connection: sa.Connection, number: int) -> tuple[int, int]:
    """How many runs and events the seals up to this one cover."""
    newest = (
        sa.select(sa.func.max(LEAF.c.seq).label("seq"))
        .where(LEAF.c.seal <= number)
        .group_by(LEAF.c.run_id)
        .subquery()
    )
    statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(newest.c.seq), 0))
    runs, events = connection.execute(statement.select_from(newest)).one()
    return int(runs), int(events)
