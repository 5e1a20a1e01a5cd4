"""The tables of who may do what over HTTP, and of who did what that is no run's history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Field

from ledger.core.alphabet import Role
from ledger.store.tables.base import ANY_LENGTH, BigId, Json, Table, words


class TokenRow(Table, table=True):
    """One bearer token: only its hash, since it is shown once."""

    __tablename__ = "token"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    name: str = Field(sa_type=ANY_LENGTH, unique=True)
    role: Role = Field(sa_type=words(Role, "role"))
    hash: bytes = Field(unique=True)
    created_at: datetime
    created_by: str = Field(sa_type=ANY_LENGTH)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = Field(default=None, sa_type=ANY_LENGTH)
    used_at: datetime | None = None


class AuditRow(Table, table=True):
    """One action that no run's history holds. Append-only."""

    __tablename__ = "audit"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    at: datetime
    actor: str = Field(sa_type=ANY_LENGTH)
    action: str = Field(sa_type=ANY_LENGTH)
    subject: str = Field(sa_type=ANY_LENGTH)
    detail: dict[str, Any] | None = Field(default=None, sa_type=Json)
