"""Many rows of few columns at once: values are decoded column by column, words and JSON each
different one once.

A report reads hundreds of thousands of values, most of them times; handled one by one they would
take longer than all that is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa

R = TypeVar("R")
Make: TypeAlias = Callable[[Sequence[Any]], sa.Select[Any]]


class Columns:
    """Reads rows."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read(self, kind: type[R], columns: Sequence[Any], make: Make, *, keys: int = 0) -> list[R]:
        """The rows of `make(raw columns)`, a statement, as named tuples of this kind.

        In order of their first `keys` columns: what comes nearly so is sorted here in no time, and
        a database would carry all columns through its sort.
        """
        made: Any = kind
        raw = [_raw(column).label(column.name) for column in columns]
        rows = self._connection.execute(make(raw)).fetchall()
        if not rows:
            return []
        if keys:
            rows = sorted(rows, key=itemgetter(*range(keys)))
        values = [
            self._decoded(column.type, found)
            for column, found in zip(columns, zip(*rows, strict=True), strict=True)
        ]
        return list(map(made._make, zip(*values, strict=True)))

    def _decoded(self, kind: Any, found: Sequence[Any]) -> Iterable[Any]:
        sqlite = self._connection.dialect.name == "sqlite"
        if isinstance(getattr(kind, "impl", kind), sa.DateTime):
            return _read_times(found) if sqlite else _in_utc(found)
        if isinstance(kind, sa.Enum):
            words: Any = kind.enum_class
            return _looked_up(found, words)
        if isinstance(kind, sa.Boolean):
            return map(bool, found)
        if isinstance(kind, sa.JSON):
            return _looked_up(found, json.loads)
        return found


def _raw(column: Any) -> sa.ColumnElement[Any]:
    """A column as the driver gives it: as another type, so that SQLAlchemy hands it through, and
    JSON as text."""
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text)
    return sa.type_coerce(column, sa.types.NullType())


def _looked_up(found: Sequence[Any], decode: Callable[[Any], Any]) -> Iterable[Any]:
    known = {value: decode(value) for value in set(found) if value is not None}
    return map({None: None, **known}.__getitem__, found)


def _read_times(found: Sequence[str | None]) -> Iterable[datetime | None]:
    """Times as SQLite has them, in UTC; quicker than setting the zone after. Nearly all differ,
    and to look up which do not would take longer."""
    read = datetime.fromisoformat
    return [None if text is None else read(text + "+00:00") for text in found]


def _in_utc(found: Sequence[datetime | None]) -> Iterable[datetime | None]:
    return [None if at is None else at.astimezone(UTC) for at in found]
