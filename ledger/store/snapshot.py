"""Reads for a transactional tool: one consistent state, over a connection that cannot write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from ledger.clock import monotonic
from ledger.core.model import Scalar
from ledger.errors import DatabaseError, InvalidInput
from ledger.store.effects import PROGRESS_STEPS, READS
from ledger.store.statements import judge_query

ROWS_MAX: Final = 1_000
QUERY_SECONDS_MAX: Final = 5.0
BUSY_SECONDS: Final = 5.0
OWN_ACTIONS: Final = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT})


class Snapshot:
    """The database as it stood at the first query. For one thread at a time; close it."""

    def __init__(self, connect: Callable[[], sa.Connection]) -> None:
        self._connect = connect
        self._connection: sa.Connection | None = None
        self._closed = False

    def query(self, sql: str, params: Mapping[str, Scalar] | None = None) -> list[dict[str, Any]]:
        """The rows of one SELECT with `:name` parameters, 1000 at most, within 5 seconds.

        Raises InvalidInput for a statement that cannot be allowed and for more rows, DatabaseError
        for one that the database refuses.
        """
        values = judge_query(sql, params)
        try:
            connection = self._open()
            with connection.begin_nested(), _limited(connection):
                result = connection.execute(sa.text(sql), values)
                rows = [dict(row) for row in result.mappings().fetchmany(ROWS_MAX + 1)]
        except sa.exc.DBAPIError as error:
            lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
            raise DatabaseError(f"the query failed: {lines[0]}"[:500]) from None
        if len(rows) > ROWS_MAX:
            raise InvalidInput(f"the query has more than {ROWS_MAX} rows; end it with LIMIT")
        return rows

    def close(self) -> None:
        """Let the state go. Further queries raise DatabaseError."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sa.Connection:
        if self._closed:
            raise DatabaseError("the call has ended, and its view of the database with it")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection


@contextmanager
def _limited(connection: sa.Connection) -> Iterator[None]:
    """A time limit: SQLite asks us while it works, PostgreSQL was told when it was opened."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    until = monotonic() + QUERY_SECONDS_MAX
    driver.set_progress_handler(lambda: monotonic() > until, PROGRESS_STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def sqlite_snapshot(path: Path) -> Snapshot:
    """A view of a SQLite file: opened read-only, `query_only`, and asked about every statement."""

    def connect() -> sa.Connection:
        engine = sa.create_engine("sqlite+pysqlite://", creator=make, poolclass=sa.NullPool)
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        connection = engine.connect()
        connection.execute(sa.text("SELECT 1 FROM sqlite_master LIMIT 1")).close()
        driver: Any = connection.connection.driver_connection
        driver.set_authorizer(_permit)
        return connection

    def make() -> sqlite3.Connection:
        address = path.absolute().as_uri() + "?mode=ro"
        driver = sqlite3.connect(address, BUSY_SECONDS, uri=True, check_same_thread=False)
        driver.isolation_level = None
        driver.execute("PRAGMA query_only = ON").close()
        return driver

    return Snapshot(connect)


def _permit(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in READS | OWN_ACTIONS else sqlite3.SQLITE_DENY


def postgres_snapshot(engine: sa.Engine) -> Snapshot:
    """A view of a PostgreSQL database: one READ ONLY transaction over a connection of its own.

    The engine is one without a pool: a tool at work must not keep connections from its life.
    """

    def connect() -> sa.Connection:
        connection = engine.connect().execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        milliseconds = str(round(QUERY_SECONDS_MAX * 1000))
        # The first statement also takes the snapshot; from then on READ ONLY cannot be undone.
        setting = sa.text("SELECT set_config('statement_timeout', :time, true)")
        connection.execute(setting, {"time": milliseconds}).close()
        return connection

    return Snapshot(connect)
