"""Pruning: which runs may go, and how one batch of them becomes tombstones under a seal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import OutboxState, State
from ledger.core.model import REQUEST_PAYLOAD
from ledger.core.query import Term
from ledger.core.record import evolve
from ledger.core.tombstone import Tombstone, tombstone_head
from ledger.entropy import random_bytes
from ledger.store.direct import among, execute, listed
from ledger.store.erasing import PARKED
from ledger.store.facts import REMOTE, RUN, WATCH
from ledger.store.heads import lock_heads
from ledger.store.outbox import OUTBOX
from ledger.store.rows import Bulk, clean_text
from ledger.store.seals import seal_heads, take_turn
from ledger.store.search import matching
from ledger.store.tables import Table
from ledger.store.tombs import FIELDS, TOMBSTONE

BATCH_RUNS_MAX: Final = 200
KEPT: Final = ("seal_leaf", "tombstone")
"""What of a run stays: the proof that it was there."""
COUNTED: Final = ("payload", "remote", "tool_call", "evidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """Which runs are to be pruned: finished `before`, in one of these states, and matching.

    `flagged` says whether a run may go that a person should look at, and nobody has yet.
    """

    before: datetime
    states: frozenset[State]
    terms: tuple[Term, ...] = ()
    flagged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """What one batch deleted."""

    runs: int = 0
    events: int = 0
    payloads: int = 0


Place = tuple[datetime, int]
"""Where a walk over runs stands: created_at and id of the last one seen."""
_MOVES = sa.or_(
    sa.exists().where(WATCH.c.run_id == RUN.c.id),
    sa.exists().where(REMOTE.c.run_id == RUN.c.id, sa.not_(REMOTE.c.settled)),
)
_UNSENT = sa.exists().where(OUTBOX.c.run_id == RUN.c.id, OUTBOX.c.state == OutboxState.waiting)
HOLDS: Final[Mapping[str, sa.ColumnElement[bool]]] = {
    "pinned": RUN.c.pinned_at.is_not(None),
    "flagged": RUN.c.needs_attention.is_not(None),
    "unsettled": _MOVES,
    "unsent": _UNSENT,
}
"""What keeps a run that is old enough."""


def _aged(old: Old) -> list[sa.ColumnElement[bool]]:
    """Of these, `created_at` alone has an index; what finished before was created before."""
    return [
        RUN.c.created_at < old.before,
        RUN.c.finished_at < old.before,
        RUN.c.state.in_(sorted(old.states)),
        matching(old.terms),
    ]


def _free(old: Old) -> list[sa.ColumnElement[bool]]:
    kept = [name for name in HOLDS if not (old.flagged and name == "flagged")]
    return [*_aged(old), *(sa.not_(HOLDS[name]) for name in kept)]


def prunable(
    connection: sa.Connection, old: Old, after: Place | None, *, limit: int
) -> list[Place]:
    """The next runs that may be pruned, the oldest first."""
    statement = sa.select(RUN.c.created_at, RUN.c.id).where(*_free(old))
    if after is not None:
        place = [sa.literal(v, c.type) for v, c in zip(after, _ORDER, strict=True)]
        statement = statement.where(sa.tuple_(*_ORDER) > sa.tuple_(*place))
    rows = connection.execute(statement.order_by(*_ORDER).limit(limit))
    return [(row[0], row[1]) for row in rows]


_ORDER = (RUN.c.created_at, RUN.c.id)


def census(connection: sa.Connection, old: Old) -> tuple[Buried, dict[str, int]]:
    """What may be pruned, and how many runs that are old enough each reason keeps."""

    def count(*where: sa.ColumnElement[bool]) -> int:
        statement = sa.select(sa.func.count()).select_from(RUN).where(*where)
        return int(connection.execute(statement).scalar_one())

    kept = {name: count(*_aged(old), holds) for name, holds in HOLDS.items()}
    sums = (sa.func.sum(RUN.c.event_seq), sa.func.sum(RUN.c.payload_seq))
    statement = sa.select(sa.func.count(), *sums).select_from(RUN).where(*_free(old))
    runs, events, payloads = (int(n or 0) for n in connection.execute(statement).one())
    return Buried(runs=runs, events=events, payloads=payloads), kept


def bury(
    connection: sa.Connection,
    ledger: str,
    old: Old,
    versions: Mapping[int, int | None],
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> Buried:
    """Delete these runs, as far as they may still be pruned, and leave their tombstones.

    In a write transaction. A run whose version is given and is another by now stays.
    """
    take_turn(connection)
    heads = lock_heads(connection, sorted(versions))
    alike = [run for run, head in heads.items() if versions[run] in (None, head.version)]
    rows = _rows(connection, old, alike)
    if not rows:
        return Buried()
    ids = [row.id for row in rows]
    stones = _stones(connection, rows, actor=actor, reason=clean_text(reason) or "", now=now)
    values = [{name: getattr(stone, name) for name in FIELDS} for stone in stones]
    Bulk(TOMBSTONE, ("run_id",), connection.dialect).insert(connection, values)
    ends = [(s.run_id, s.origin_ledger, s.origin_run, s.last_seq, s.head) for s in stones]
    seal_heads(connection, ledger, now, ends)
    _delete(connection, ids)
    return Buried(
        runs=len(stones),
        events=sum(stone.last_seq - 1 for stone in stones),
        payloads=sum(stone.counts["payloads"] for stone in stones),
    )


def _rows(connection: sa.Connection, old: Old, ids: Sequence[int]) -> list[sa.Row[Any]]:
    statement = sa.select(RUN).where(RUN.c.id.in_(ids), *_free(old)).order_by(RUN.c.id)
    return list(connection.execute(statement))


def _stones(
    connection: sa.Connection, rows: Sequence[Any], *, actor: str, reason: str, now: datetime
) -> list[Tombstone]:
    ids = [row.id for row in rows]
    counts = {name: _counts(connection, name, ids) for name in COUNTED}
    requests = _requests(connection, ids)
    stones = [
        Tombstone(
            run_id=row.id,
            last_seq=row.event_seq + 1,
            prev_hash=bytes(row.head_hash),
            request_digest=requests.get(row.id, b""),
            salt=random_bytes(16),
            counts={
                "events": row.event_seq + 1,
                "attempts": row.attempts,
                **{f"{name}s": counts[name].get(row.id, 0) for name in COUNTED},
            },
            actor=actor,
            reason=reason,
            pruned_at=now,
            **{name: getattr(row, name) for name in ALIKE},
        )
        for row in rows
    ]
    return [evolve(stone, head=tombstone_head(stone)) for stone in stones]


ALIKE: Final = (
    "key", "origin_ledger", "origin_run", "state", "attempts", "provider", "model", "error_code",
    "fingerprint", "created_at", "finished_at",
)  # fmt: skip


def _counts(connection: sa.Connection, table: str, ids: Sequence[int]) -> dict[int, int]:
    kind = connection.dialect.name
    statement = (
        f"SELECT run_id, COUNT(*) FROM {table} WHERE run_id {among(kind, 'bigint')} GROUP BY run_id"
    )
    return dict(execute(connection, statement, (listed(kind, ids),), rows=True))


def _requests(connection: sa.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    kind = connection.dialect.name
    statement = (
        f"SELECT run_id, digest FROM payload WHERE run_id {among(kind, 'bigint')} "
        f"AND n = {REQUEST_PAYLOAD}"
    )
    found = execute(connection, statement, (listed(kind, ids),), rows=True)
    return {run: bytes(digest) for run, digest in found}


def _delete(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Every row that is about these runs, in whatever table; the runs last."""
    kind = connection.dialect.name
    parked = PARKED.format(which=among(kind, "bigint"))
    both = (listed(kind, ids), listed(kind, ids))
    execute(connection, f"DELETE FROM evidence WHERE {parked}", both)
    tables = [
        table.name
        for table in reversed(Table.metadata.sorted_tables)
        if "run_id" in table.columns and table.name not in KEPT
    ]
    for name, column in (*((table, "run_id") for table in tables), ("run", "id")):
        statement = f'DELETE FROM "{name}" WHERE "{column}" {among(kind, "bigint")}'
        execute(connection, statement, (listed(kind, ids),))
