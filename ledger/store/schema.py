"""Whether a database holds the schema that this program knows. Imports no Alembic: cheap to ask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from ledger.errors import SchemaMismatch
from ledger.store import guards, views
from ledger.store.tables import Table

HEAD = "0001"
"""The newest revision in migrations/versions; a test compares them."""

REVISIONS = ("0001",)


class Fit(StrEnum):
    """How a database's schema relates to the program."""

    empty = "empty"
    current = "current"
    older = "older"
    newer = "newer"
    damaged = "damaged"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The answer of `inspect`, with what is missing where the schema is damaged."""

    fit: Fit
    revision: str | None
    missing: tuple[str, ...] = ()

    def demand_current(self) -> None:
        """Raise SchemaMismatch, naming the remedy, unless the schema is the known one."""
        match self.fit:
            case Fit.current:
                return
            case Fit.empty:
                raise SchemaMismatch("the database holds no ledger yet", hint="runward db upgrade")
            case Fit.older:
                raise SchemaMismatch(
                    f"the database has schema {self.revision}, this runward needs {HEAD}",
                    hint="stop all daemons, then: runward db upgrade",
                )
            case Fit.newer:
                raise SchemaMismatch(
                    f"the database has schema {self.revision}, which is newer than {HEAD}, the "
                    "newest that this runward knows",
                    hint="install the runward version that the other machines run",
                )
            case Fit.damaged:
                raise SchemaMismatch(
                    f"the database lacks guards that history relies on: {', '.join(self.missing)}",
                    hint="find out who dropped them, then: runward db upgrade",
                )


def _refuse_foreign(dialect: str, tables: set[str]) -> None:
    """Leave what others made alone: a file is a ledger or it is not, a schema may be shared."""
    taken = tables if dialect == "sqlite" else tables & set(Table.metadata.tables)
    if taken:
        raise SchemaMismatch(
            f"the database belongs to another program: it has {', '.join(sorted(taken)[:5])}",
            hint="name another database, as in: runward -d sqlite:///runs.db list",
        )


def inspect(engine: sa.Engine) -> SchemaStatus:
    """Look at the database; changes nothing. Raises SchemaMismatch where it is somebody else's."""
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if "alembic_version" not in tables:
            _refuse_foreign(connection.dialect.name, tables)
            return SchemaStatus(Fit.empty, None)
        revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        if revision is None:
            return SchemaStatus(Fit.empty, None)
        if revision not in REVISIONS:
            return SchemaStatus(Fit.newer, revision)
        if revision != HEAD:
            return SchemaStatus(Fit.older, revision)
        gone = (*guards.missing(connection), *views.missing(connection))
        return SchemaStatus(Fit.damaged if gone else Fit.current, revision, gone)
