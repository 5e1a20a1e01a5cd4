"""Rows into the core's records, many runs at a time."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from ledger.core.model import Attempt, Evidence, Facts, Remote, Run, ToolCall
from ledger.core.policy import Policy
from ledger.store.rows import table_of
from ledger.store.tables import (
    AttemptRow,
    EvidenceRow,
    RemoteRow,
    RunRow,
    ToolCallRow,
    WatchRow,
)

RUN, ATTEMPT, REMOTE, CALL, EVIDENCE, WATCH = (
    table_of(row) for row in (RunRow, AttemptRow, RemoteRow, ToolCallRow, EvidenceRow, WatchRow)
)
PAGE = 500


def load_facts(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Facts]:
    """The facts of these runs, with unread evidence and present ownership."""
    found: dict[int, Facts] = {}
    for start in range(0, len(ids), PAGE):
        found.update(_page(connection, ids[start : start + PAGE]))
    return found


def _page(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Facts]:
    runs = connection.execute(sa.select(RUN).where(RUN.c.id.in_(ids))).all()
    watches = {
        row.run_id: row
        for row in connection.execute(sa.select(WATCH).where(WATCH.c.run_id.in_(ids)))
    }
    attempts = _grouped(connection, ATTEMPT, ATTEMPT.c.number, Attempt, ids)
    remotes = _grouped(connection, REMOTE, REMOTE.c.n, Remote, ids)
    calls = _grouped(connection, CALL, CALL.c.n, ToolCall, ids)
    evidence = _evidence(connection, ids)
    return {
        row.id: Facts(
            run=run_record(row),
            attempts=tuple(attempts[row.id]),
            remotes=tuple(remotes[row.id]),
            calls=tuple(calls[row.id]),
            evidence=tuple(evidence[row.id]),
            fence=watches[row.id].fence if row.id in watches else 0,
            owner=watches[row.id].owner if row.id in watches else None,
        )
        for row in runs
    }


def run_record(row: sa.Row[Any]) -> Run:
    """One row of `run` as the core's record."""
    values = dict(row._mapping)
    values["policy"] = policy_record(json.dumps(values["policy"], sort_keys=True))
    return Run(**values)


@functools.lru_cache(maxsize=1024)
def policy_record(text: str) -> Policy:
    """A policy from its JSON; most runs share a few."""
    return Policy.from_json(json.loads(text))


def _grouped(
    connection: sa.Connection,
    table: sa.Table,
    order: sa.Column[Any],
    record: type[Any],
    ids: Sequence[int],
) -> dict[int, list[Any]]:
    names = [entry.name for entry in fields(record)]
    columns = [table.c.run_id, *(table.c[name] for name in names)]
    found: dict[int, list[Any]] = defaultdict(list)
    statement = sa.select(*columns).where(table.c.run_id.in_(ids)).order_by(table.c.run_id, order)
    for row in connection.execute(statement):
        found[row[0]].append(record(**dict(zip(names, row[1:], strict=True))))
    return found


def _evidence(connection: sa.Connection, ids: Iterable[int]) -> dict[int, list[Evidence]]:
    statement = (
        sa.select(EVIDENCE)
        .join(RUN, RUN.c.id == EVIDENCE.c.run_id)
        .where(EVIDENCE.c.run_id.in_(ids), EVIDENCE.c.id > RUN.c.evidence_seen)
        .where(EVIDENCE.c.body.is_not(None))
        .order_by(EVIDENCE.c.id)
    )
    found: dict[int, list[Evidence]] = defaultdict(list)
    for row in connection.execute(statement):
        item = Evidence(
            id=row.id, source=row.source, body=bytes(row.body), received_at=row.received_at
        )
        found[row.run_id].append(item)
    return found
