"""The head of a run's history, read and locked before anything is appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ledger.store.direct import among, execute, listed

# Written out, because every batch begins with them: SQLAlchemy's compiler, even with its cache,
# costs more than the reading. SQLite has one writer, so a join needs no order of locks.
SQLITE: Final = (
    "SELECT r.id, r.version, r.event_seq, r.head_hash, w.run_id, w.owner, w.fence, w.why "
    "FROM run AS r LEFT JOIN watch AS w ON w.run_id = r.id "
    f"WHERE r.id {among('sqlite', 'bigint')}"
)
RUNS: Final = (
    "SELECT id, version, event_seq, head_hash FROM run "
    f"WHERE id {among('postgresql', 'bigint')} ORDER BY id FOR UPDATE"
)
WATCHES: Final = (
    "SELECT run_id, owner, fence, why FROM watch "
    f"WHERE run_id {among('postgresql', 'bigint')} ORDER BY run_id FOR UPDATE"
)
UNWATCHED: Final = (None, None, None, None)


class Head(NamedTuple):
    """Where a run's history stands, and who owns it."""

    version: int
    event_seq: int
    head_hash: bytes
    watched: bool
    owner: str | None
    fence: int
    why: str | None


def lock_heads(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Head]:
    """Read and lock the runs, then their watches, in id order: the one lock order there is."""
    if not ids:
        return {}
    if connection.dialect.name == "sqlite":
        found = execute(connection, SQLITE, (listed("sqlite", ids),), rows=True)
        return {row[0]: _head(row[1:4], row[4:]) for row in found}
    runs = execute(connection, RUNS, (list(ids),), rows=True)
    watches = {row[0]: row for row in execute(connection, WATCHES, (list(ids),), rows=True)}
    return {row[0]: _head(row[1:], watches.get(row[0], UNWATCHED)) for row in runs}


def _head(run: Sequence[Any], watch: Sequence[Any]) -> Head:
    version, seq, hashed = run
    run_id, owner, fence, why = watch
    return Head(version, seq, bytes(hashed), run_id is not None, owner, fence or 0, why)
