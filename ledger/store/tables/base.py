"""What all tables share: types that travel alike on both databases, and names for constraints."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
ANY_LENGTH = sa.Text()


def words(members: type[enum.Enum], name: str) -> Any:
    """A closed vocabulary: text with a CHECK (see `close`), the members' values as they are."""
    return sa.Enum(
        members,
        native_enum=False,
        length=32,
        name=name,
        validate_strings=True,
        values_callable=lambda cls: [member.value for member in cls],
    )


def partial_index(name: str, *columns: str, where: str) -> sa.Index:
    """An index over the rows for which this holds."""
    condition = sa.text(where)
    return sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


def run_key(primary: bool = True) -> Any:
    """A reference to the run that a row belongs to."""
    return Field(sa_type=BigId, primary_key=primary, foreign_key="run.id", ondelete="RESTRICT")


class Table(SQLModel):
    """Base of all tables: own metadata, so that constraints have names that migrations can use."""

    metadata: ClassVar[sa.MetaData] = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        }
    )


def close(metadata: sa.MetaData) -> None:
    """Give every vocabulary its CHECK.

    As a chain of ORs: for an IN of constants, SQLite builds a table of them for each row.
    """
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, sa.Enum):
                chain = " OR ".join(f"{column.name} = '{word}'" for word in column.type.enums)
                table.append_constraint(sa.CheckConstraint(chain, name=column.type.name))
