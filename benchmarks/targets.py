"""Where a loader puts its rows: straight into the tables, as fast as the database takes them."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from ledger.store.engine import sqlite_path

Row = list[Any]


class Target:
    """Where rows go."""

    def insert(self, name: str, columns: list[str], rows: list[Row]) -> None:
        """Add rows to one table."""
        raise NotImplementedError

    def commit(self) -> None:
        """End a batch."""
        raise NotImplementedError

    def finish(self) -> None:
        """Make it a ledger like any other: statistics are there, files are whole."""
        raise NotImplementedError


class SqliteTarget(Target):
    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(sqlite_path(sa.make_url(url)))
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA cache_size = -500000")

    def insert(self, name: str, columns: list[str], rows: list[Row]) -> None:
        listed = ", ".join(f'"{column}"' for column in columns)
        marks = ", ".join("?" * len(columns))
        statement = f'INSERT INTO "{name}" ({listed}) VALUES ({marks})'
        self._connection.executemany(statement, rows)

    def commit(self) -> None:
        self._connection.commit()

    def finish(self) -> None:
        self._connection.execute("ANALYZE")
        self._connection.commit()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()


class PostgresTarget(Target):
    def __init__(self, url: str) -> None:
        import psycopg

        self._connection = psycopg.connect(
            sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        )
        self._connection.execute("SET synchronous_commit = off")
        self._connection.execute("SET timezone = 'UTC'")

    def insert(self, name: str, columns: list[str], rows: list[Row]) -> None:
        listed = ", ".join(f'"{column}"' for column in columns)
        with self._connection.cursor().copy(f'COPY "{name}" ({listed}) FROM STDIN') as copy:
            for start in range(0, len(rows), 500):
                copy.write("".join(map(_line, rows[start : start + 500])))

    def commit(self) -> None:
        self._connection.commit()

    def finish(self) -> None:
        for name in ("run", "event", "evidence", "account"):
            self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM \"{name}\""
            )
        self._connection.commit()
        self._connection.autocommit = True
        self._connection.execute("VACUUM ANALYZE")
        self._connection.close()


def _line(row: Row) -> str:
    return "\t".join(map(_text, row)) + "\n"


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    if isinstance(value, str):
        if "\\" in value or "\n" in value or "\t" in value or "\r" in value:
            value = value.replace("\\", "\\\\").replace("\n", "\\n")
            return value.replace("\t", "\\t").replace("\r", "\\r")
        return value
    return str(value)
