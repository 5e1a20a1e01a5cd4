"""The baseline: what the drivers do alone, without any library of ours in between.

One record is the update of a run row by key and version and the insert of one event with a
165-byte payload, durable when the call returns.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAYLOAD = b"x" * 165
RUNS = 1_000
TABLES = (
    "CREATE TABLE raw_run (id {big} PRIMARY KEY, version {big} NOT NULL, state text NOT NULL)",
    "CREATE TABLE raw_event (id {serial}, run_id {big} NOT NULL, seq {big} NOT NULL, "
    "kind text NOT NULL, payload {bytes} NOT NULL)",
)
SQLITE = {"big": "integer", "serial": "integer PRIMARY KEY AUTOINCREMENT", "bytes": "blob"}
POSTGRES = {"big": "bigint", "serial": "bigserial PRIMARY KEY", "bytes": "bytea"}

UPDATE = (
    "UPDATE raw_run SET version = version + 1, state = 'in_progress' WHERE id = ? AND version = ?"
)
INSERT = "INSERT INTO raw_event (run_id, seq, kind, payload) VALUES (?, ?, ?, ?)"
BOTH = (
    "WITH moved AS (UPDATE raw_run SET version = version + 1, state = 'in_progress' "
    "WHERE id = %s AND version = %s) "
    "INSERT INTO raw_event (run_id, seq, kind, payload) VALUES (%s, %s, %s, %s)"
)
UPDATE_MANY = (
    "UPDATE raw_run AS t SET version = t.version + 1, state = 'in_progress' "
    "FROM unnest(%s::bigint[], %s::bigint[]) AS u(id, version) "
    "WHERE t.id = u.id AND t.version = u.version"
)
INSERT_MANY = (
    "INSERT INTO raw_event (run_id, seq, kind, payload) "
    "SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bytea[])"
)


def rate(url: str, *, per_commit: int, seconds: float) -> float:
    """Records per second of the raw driver on an empty database."""
    make = _sqlite if url.startswith("sqlite") else _postgres
    with make(url) as commit:
        done, started = 0, time.perf_counter()
        end = started + seconds
        version = 0
        while time.perf_counter() < end:
            for first in range(0, RUNS, per_commit):
                commit(range(first, first + per_commit), version)
                done += per_commit
                if time.perf_counter() >= end:
                    break
            version += 1
        return done / (time.perf_counter() - started)


@contextmanager
def _sqlite(url: str) -> Iterator[Any]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    for table in TABLES:
        connection.execute(table.format(**SQLITE))
    connection.executemany(
        "INSERT INTO raw_run VALUES (?, 0, 'queued')", [(i,) for i in range(RUNS)]
    )

    def commit(ids: range, version: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(UPDATE, [(i, version) for i in ids])
        connection.executemany(INSERT, [(i, version + 1, "observed", PAYLOAD) for i in ids])
        connection.execute("COMMIT")

    yield commit
    connection.close()


@contextmanager
def _postgres(url: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:
            connection.execute(table.format(**POSTGRES))
        connection.execute(
            "INSERT INTO raw_run SELECT i, 0, 'queued' FROM generate_series(0, %s) AS i",
            (RUNS - 1,),
        )

        def commit(ids: range, version: int) -> None:
            if len(ids) == 1:
                run = ids[0]
                connection.execute(BOTH, (run, version, run, version + 1, "observed", PAYLOAD))
                return
            with connection.transaction():
                connection.execute(UPDATE_MANY, (list(ids), [version] * len(ids)))
                connection.execute(
                    INSERT_MANY,
                    (
                        list(ids),
                        [version + 1] * len(ids),
                        ["observed"] * len(ids),
                        [PAYLOAD] * len(ids),
                    ),
                )

        yield commit
