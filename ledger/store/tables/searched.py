"""What runs are found by: indexes of `run`, tags, fingerprints; see store/leads.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from ledger.core.alphabet import ErrorOrigin
from ledger.store.tables.base import ANY_LENGTH, BYTEWISE, BigId, Table, run_key, words


def _index(name: str, *columns: str, where: str | None = None, prefix: str = "") -> sa.Index:
    """An index, partial with `where`. PostgreSQL finds the beginnings of texts only in an index of
    bytes, which `prefix` names the column for."""
    options: dict[str, Any] = {}
    if where is not None:
        options |= {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    if prefix:
        options["postgresql_ops"] = {prefix: "text_pattern_ops"}
    return sa.Index(name, *columns, **options)


def _searched(column: str, *, where: str | None = None, text: bool = True) -> sa.Index:
    """One value's runs, in the order in which lists show them."""
    order = (column, "created_at", "id")
    return _index(f"ix_run_{column}", *order, where=where, prefix=column if text else "")


SEARCHED = (
    _index("ix_run_created_at", "created_at", "id"),
    # With what is asked for together with it most, so that where the two never meet is seen here.
    _index("ix_run_state", "state", "created_at", "id", "model"),
    _searched("provider"),
    _searched("account_id", text=False),
    *(
        _searched(column, where=f"{column} IS NOT NULL")
        for column in ("model", "assistant", "kind", "error_code", "fingerprint")
    ),
    _searched("error_origin", where="error_origin IS NOT NULL", text=False),
    _searched("took_seconds", where="took_seconds IS NOT NULL", text=False),
    # Most runs need one attempt and few calls: they are not what is looked for by number.
    _searched("attempts", where="attempts > 1", text=False),
    _searched("calls", where="calls > 9", text=False),
    _index(
        "ix_run_said",
        "created_at",
        "id",
        where="error_message IS NOT NULL OR fingerprint IS NOT NULL",
    ),
    # In words that do not follow from those of the index before: SQLite would take that one.
    _index(
        "ix_run_unnamed",
        "created_at",
        "id",
        where="fingerprint IS NULL AND length(error_message) >= 0",
    ),
    _index("ix_run_imported", "created_at", "id", where="imported_at IS NOT NULL"),
    _index("ix_run_pinned", "created_at", "id", where="pinned_at IS NOT NULL"),
    _index(
        "ix_run_attention",
        "created_at",
        "id",
        "needs_attention",
        where="needs_attention IS NOT NULL",
    ),
    # Together they answer how things stood at some time.
    _index("ix_run_open", "created_at", "id", where="finished_at IS NULL"),
    _index(
        "ix_run_finished",
        "finished_at",
        "state",
        "created_at",
        "id",
        where="finished_at IS NOT NULL",
    ),
)
"""In the order of lists, wherever a list may be walked along them."""


class TagRow(Table, table=True):
    """One tag of a run, for finding it; the run has them all as JSON, for reading.

    With the time at which the run was created, so that an index has the newest of a value.
    """

    __tablename__ = "tag"
    __table_args__ = (
        sa.Index("ix_tag_run_id", "run_id", "name"),
        {"sqlite_with_rowid": False},
    )
    name: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    value: str = Field(sa_type=BYTEWISE, primary_key=True)
    created_at: datetime = Field(primary_key=True)
    run_id: int = run_key()


class FingerprintRow(Table, table=True):
    """One way to fail: what its runs have in common."""

    __tablename__ = "fingerprint"
    id: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    provider: str = Field(sa_type=ANY_LENGTH)
    origin: ErrorOrigin | None = Field(default=None, sa_type=words(ErrorOrigin, "origin"))
    code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    http_status: int | None = None
    incomplete_reason: str | None = Field(default=None, sa_type=ANY_LENGTH)
    tool: str | None = Field(default=None, sa_type=ANY_LENGTH)
    message: str | None = Field(default=None, sa_type=ANY_LENGTH)
    """With ids, numbers, quotes, URLs and times masked."""
    first_seen_at: datetime
    first_run: int = Field(sa_type=BigId)
