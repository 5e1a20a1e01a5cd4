"""Rows of many runs by one prepared statement: the reading twin of `rows`.

For the few reads that every claim and every reload consists of; building them with SQLAlchemy
each time costs several times what the database needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ledger.store.direct import among, execute, listed

Decode = Callable[[Any], Any]


class Fetch:
    """Reads chosen columns of one table, for runs by id."""

    def __init__(
        self,
        table: sa.Table,
        names: Sequence[str],
        *,
        key: str = "run_id",
        more: str = "",
        decoders: dict[str, Decode] | None = None,
    ) -> None:
        self._table, self._names, self._key, self._more = table, tuple(names), key, more
        self._own = decoders or {}
        self._made: dict[str, tuple[str, tuple[tuple[int, Decode], ...]]] = {}

    def rows(self, connection: sa.Connection, ids: Sequence[int]) -> list[list[Any]]:
        """The rows of these runs; each is the values of the columns in order."""
        kind = connection.dialect.name
        if kind not in self._made:
            # By name: a dialect belongs to its engine, and must not be kept alive by a cache.
            self._made[kind] = self._statement(kind), self._decoders(connection.dialect)
        statement, decoders = self._made[kind]
        found = execute(connection, statement, (listed(kind, ids),), rows=True)
        return [_decoded(row, decoders) for row in found]

    def _statement(self, dialect: str) -> str:
        columns = ", ".join(f't."{name}"' for name in self._names)
        return (
            f'SELECT {columns} FROM "{self._table.name}" AS t '
            f'WHERE t."{self._key}" {among(dialect, "bigint")} {self._more}'
        )

    def _decoders(self, dialect: sa.Dialect) -> tuple[tuple[int, Decode], ...]:
        made = (
            (index, self._own.get(name) or _decoder(self._table.c[name].type, dialect))
            for index, name in enumerate(self._names)
        )
        return tuple((index, decode) for index, decode in made if decode is not None)


def _decoded(row: Sequence[Any], decoders: Sequence[tuple[int, Decode]]) -> list[Any]:
    values = list(row)
    for index, decode in decoders:
        if values[index] is not None:
            values[index] = decode(values[index])
    return values


def _decoder(kind: Any, dialect: sa.Dialect) -> Decode | None:
    if isinstance(kind, sa.Enum):
        return kind.enum_class
    if isinstance(kind, sa.LargeBinary):
        return bytes
    if isinstance(getattr(kind, "impl", kind), sa.DateTime) and dialect.name == "sqlite":
        return read_time
    if isinstance(kind, sa.Float):
        return None
    process: Decode | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return process


def read_time(text: str) -> datetime:
    """A time as SQLite has it, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
