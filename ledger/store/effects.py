"""The statements of a transactional call, executed in the transaction that records its output.

They run in a savepoint, after the fence has been checked and before any row of the record is
written: either all of them stay, together with the record, or none. What they may touch is judged
twice: by their text, and by the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from ledger.clock import monotonic
from ledger.core.model import Change, Write
from ledger.core.redaction import redact_text
from ledger.errors import InvalidInput
from ledger.store.records import Decision
from ledger.store.statements import target
from ledger.store.tables import Table

SECONDS_MAX: Final = 5.0
"""All statements of one call together: the writer serves others too."""
PROGRESS_STEPS: Final = 10_000
OWN: Final = frozenset({*Table.metadata.tables, "alembic_version"})
READS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
CHANGES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
SQLITE_FAULTS: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_RANGE,
    }
)
"""What a statement can be blamed for; anything else is trouble of the database itself."""
POSTGRES_TROUBLE: Final = ("08", "40", "53", "57", "58", "XX")
CANCELLED: Final = "57014"
_OURS: Final = "SELECT to_regclass(quote_ident(n)) FROM unnest(CAST(:own AS text[])) AS n"
TOUCHED: Final = (
    "SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_all_tables "
    f"WHERE relid IN ({_OURS})"
)
IS_OWN: Final = f"SELECT to_regclass(:name) IS NULL, to_regclass(:name) IN ({_OURS})"
SETTINGS: Final = "SELECT current_setting('statement_timeout'), current_setting('track_counts')"
SUSPECT: Final = (
    "SELECT type, name, LOWER(sql) FROM sqlite_master "
    "WHERE sql LIKE '%rollback%' OR sql LIKE '%deferred%'"
)


class _Refused(Exception):
    """Why the writes are undone, in words for the model."""


def carry_out(connection: sa.Connection, record: Decision, change: Change) -> Change:
    """Execute the writes of a change; returns the change that says what became of them.

    Raises DBAPIError where the database itself is in trouble, so that the batch is tried again.
    """
    assert record.performed is not None, "writes without anybody to hear of them"
    made = record.performed(change.before, perform(connection, change.writes))
    assert not made.writes, "writes are executed once"
    return made


def perform(connection: sa.Connection, writes: Sequence[Write]) -> tuple[int, ...] | str:
    """The row count of each statement; or why all of them are undone."""
    fence = _sqlite if connection.dialect.name == "sqlite" else _postgres
    until = monotonic() + SECONDS_MAX
    try:
        with connection.begin_nested(), fence(connection, until):
            return tuple(_one(connection, n, write, until) for n, write in enumerate(writes, 1))
    except _Refused as refused:
        return str(refused)
    except sa.exc.DBAPIError as error:
        if not _to_blame(error):
            raise
        return _said(error)


def _one(connection: sa.Connection, n: int, write: Write, until: float) -> int:
    postgres = connection.dialect.name != "sqlite"
    try:
        name = target(write.sql)
    except InvalidInput as error:
        raise _Refused(f"statement {n}: {error.message}") from None
    if postgres:
        _demand_foreign(connection, n, name)
        _limit(connection, f"{max(1, round((until - monotonic()) * 1000))}ms")
    elif name[-1].lower() in OWN:
        raise _Refused(f"statement {n}: {name[-1]} is one of the ledger's own tables")
    try:
        result = connection.execute(sa.text(write.sql), dict(write.params))
    except sa.exc.DBAPIError as error:
        if not _to_blame(error):
            raise
        raise _Refused(f"statement {n}: {_said(error)}") from None
    # The driver counts what begins with the keyword, and a WITH does not.
    rows = result.rowcount if postgres else _changes(connection)
    if write.expect_rows is not None and rows != write.expect_rows:
        raise _Refused(f"statement {n} touched {rows} rows, and {write.expect_rows} were expected")
    return rows


# SQLite: the library asks us about every table that a statement, or a trigger of it, would touch.


@contextmanager
def _sqlite(connection: sa.Connection, until: float) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    deferred = _suspects(driver)
    driver.set_authorizer(_permit)
    driver.set_progress_handler(lambda: monotonic() > until, PROGRESS_STEPS)
    try:
        yield
        driver.set_authorizer(None)
        for table in deferred:
            # It would only be seen at COMMIT, and then take the whole batch with it.
            quoted = table.replace('"', '""')
            if driver.execute(f'PRAGMA foreign_key_check("{quoted}")').fetchone():
                raise _Refused(f"a foreign key of {table} would be violated")
    except sqlite3.Error as error:
        raise _Refused(f"the check of foreign keys failed: {error}") from None
    finally:
        driver.set_authorizer(None)
        driver.set_progress_handler(None, 0)


def _permit(action: int, first: str | None, *_: str | None) -> int:
    if action in READS:
        return sqlite3.SQLITE_OK
    table = (first or "").lower()
    foreign = table not in OWN and not table.startswith("sqlite_")
    return sqlite3.SQLITE_OK if action in CHANGES and foreign else sqlite3.SQLITE_DENY


def _suspects(driver: Any) -> list[str]:
    """Tables whose foreign keys are checked late. Raises _Refused where something may roll back
    more than the statement, and with it what others have written in this transaction."""
    deferred = []
    for kind, name, sql in driver.execute(SUSPECT).fetchall():
        if name in OWN or name.startswith("runward_"):
            continue
        if "rollback" in sql:
            raise _Refused(f"the {kind} {name} can roll back the ledger's own transaction")
        if kind == "table":
            deferred.append(name)
    return deferred


def _changes(connection: sa.Connection) -> int:
    driver: Any = connection.connection.driver_connection
    return int(driver.execute("SELECT changes()").fetchone()[0])


# PostgreSQL: names are resolved by the server, and it counts what triggers and functions did.


@contextmanager
def _postgres(connection: sa.Connection, _until: float) -> Iterator[None]:
    usual, counting = connection.execute(sa.text(SETTINGS)).one()
    if counting != "on":
        raise _Refused("track_counts is off: what triggers change could not be seen")
    before = _touched(connection)
    # Checked within the savepoint: at COMMIT a violation would take the whole batch with it.
    connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))
    yield
    connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
    _limit(connection, usual)
    if _touched(connection) != before:
        raise _Refused("a trigger, rule or function of the statements changes the ledger's tables")


def _touched(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text(TOUCHED), {"own": sorted(OWN)}).scalar_one())


def _limit(connection: sa.Connection, time: str) -> None:
    setting = sa.text("SELECT set_config('statement_timeout', :time, true)")
    connection.execute(setting, {"time": time})


def _demand_foreign(connection: sa.Connection, n: int, name: tuple[str, ...]) -> None:
    shown = ".".join(name)
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in name)
    absent, own = connection.execute(sa.text(IS_OWN), {"name": quoted, "own": sorted(OWN)}).one()
    if absent:
        raise _Refused(f"statement {n}: there is no table {shown}")
    if own:
        raise _Refused(f"statement {n}: {shown} is one of the ledger's own tables")


def _to_blame(error: sa.exc.DBAPIError) -> bool:
    """Whether the statement is at fault, and not the database or the way to it."""
    if error.connection_invalidated:
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in SQLITE_FAULTS
    state = getattr(error.orig, "sqlstate", None) or ""
    return state == CANCELLED or not state.startswith(POSTGRES_TROUBLE)


def _said(error: sa.exc.DBAPIError) -> str:
    """The first line of what the database said: details further down quote values."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return redact_text(lines[0])[:500]
