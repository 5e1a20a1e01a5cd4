"""Rows into the core's records, many runs at a time."""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from ledger.core.counting import shared_counts
from ledger.core.model import Attempt, Evidence, Facts, Remote, Run, ToolCall
from ledger.core.policy import Policy
from ledger.store.fetch import Decode, Fetch
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
    runs = [Run(**dict(zip(RUN_NAMES, row, strict=True))) for row in RUNS.rows(connection, ids)]
    held = {run_id: (fence, owner) for run_id, fence, owner in WATCHES.rows(connection, ids)}
    attempts, remotes, calls, evidence = (parts.of(connection, ids) for parts in PARTS)
    return {
        run.id: Facts(
            run=run,
            attempts=tuple(attempts[run.id]),
            remotes=tuple(remotes[run.id]),
            calls=tuple(calls[run.id]),
            evidence=tuple(evidence[run.id]),
            fence=held.get(run.id, NOBODY)[0],
            owner=held.get(run.id, NOBODY)[1],
        )
        for run in runs
    }


def _policy(value: Any) -> Policy:
    """A policy as the driver gives it: text on SQLite, an object on PostgreSQL."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return policy_record(text)


def _counts(value: Any) -> Mapping[str, int]:
    """Calls by name, as the driver gives them."""
    found = json.loads(value) if isinstance(value, str) else value
    return shared_counts(tuple((sys.intern(name), count) for name, count in found.items()))


def _tags(value: Any) -> Mapping[str, str]:
    """Tags, as the driver gives them; many runs have the same, or none."""
    return _tags_of(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=1024)
def _tags_of(text: str) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(text)
    return found


@functools.lru_cache(maxsize=1024)
def policy_record(text: str) -> Policy:
    """A policy from its JSON; most runs share a few."""
    return Policy.from_json(json.loads(text))


class _Parts:
    """The records of one table that belong to runs, in order."""

    def __init__(
        self, table: sa.Table, record: type[Any], more: str, decoders: dict[str, Decode]
    ) -> None:
        self._record = record
        self._names = [entry.name for entry in fields(record)]
        self._fetch = Fetch(table, ["run_id", *self._names], more=more, decoders=decoders)

    def of(self, connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Any]]:
        """The records of each run."""
        found: dict[int, list[Any]] = defaultdict(list)
        for run_id, *values in self._fetch.rows(connection, ids):
            found[run_id].append(self._record(**dict(zip(self._names, values, strict=True))))
        return found


UNREAD = (
    "AND t.id > (SELECT evidence_seen FROM run WHERE run.id = t.run_id) "
    "AND t.body IS NOT NULL ORDER BY t.id"
)
NOBODY = (0, None)
RUN_NAMES = tuple(entry.name for entry in fields(Run))


def _shared(*names: str) -> dict[str, Decode]:
    """Texts that thousands of runs in memory have in common: one copy of each is enough."""
    return dict.fromkeys(names, sys.intern)


RUNS = Fetch(
    RUN,
    RUN_NAMES,
    key="id",
    decoders={
        **_shared("origin_ledger", "provider", "model", "assistant", "kind"),
        "policy": _policy,
        "call_counts": _counts,
        "tags": _tags,
    },
)
WATCHES = Fetch(WATCH, ("run_id", "fence", "owner"), decoders=_shared("owner"))
PARTS = (
    _Parts(ATTEMPT, Attempt, "ORDER BY t.run_id, t.number", _shared("cause")),
    _Parts(REMOTE, Remote, "ORDER BY t.run_id, t.n", _shared("observed_status")),
    _Parts(CALL, ToolCall, "ORDER BY t.run_id, t.n", _shared("tool")),
    _Parts(EVIDENCE, Evidence, UNREAD, {}),
)
