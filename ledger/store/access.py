"""Tokens and the audit log: who may ask over HTTP, and who did what that is no run's history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import Role
from ledger.errors import Conflict, NotAllowed
from ledger.store.rows import table_of
from ledger.store.tables import AuditRow, TokenRow

TOKEN, AUDIT = table_of(TokenRow), table_of(AuditRow)
TOKENS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One bearer token, as far as it is known: its hash alone."""

    id: int
    name: str
    role: Role
    hash: bytes
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    used_at: datetime | None

    def over(self, now: datetime) -> str | None:
        """`revoked` or `expired`; None for one that counts."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else None


def add_token(connection: sa.Connection, **fields: Any) -> None:
    """Write a token down. Raises Conflict for a name that was ever used, and NotAllowed."""
    name = fields["name"]
    if connection.execute(sa.select(TOKEN.c.id).where(TOKEN.c.name == name)).first():
        raise Conflict(
            f"there is a token {name!r} already; the history names its bearer so",
            hint="choose another name; runward token list shows those that are taken",
        )
    if connection.execute(sa.select(sa.func.count()).select_from(TOKEN)).scalar_one() >= TOKENS_MAX:
        raise NotAllowed(f"there are {TOKENS_MAX} tokens, and no more are taken")
    connection.execute(sa.insert(TOKEN).values(fields))


def tokens(connection: sa.Connection) -> list[Token]:
    """All tokens, those that count no more included; the newest first."""
    rows = connection.execute(sa.select(TOKEN).order_by(TOKEN.c.id.desc()).limit(TOKENS_MAX))
    return [_token(row) for row in rows]


def token_of(connection: sa.Connection, digest: bytes) -> Token | None:
    """The token with this hash, whether or not it counts."""
    row = connection.execute(sa.select(TOKEN).where(TOKEN.c.hash == digest)).one_or_none()
    return None if row is None else _token(row)


def token_named(connection: sa.Connection, name: str) -> Token | None:
    """The token of this name, whether or not it counts."""
    row = connection.execute(sa.select(TOKEN).where(TOKEN.c.name == name)).one_or_none()
    return None if row is None else _token(row)


def any_token(connection: sa.Connection) -> bool:
    """Whether there is a token that nobody has revoked."""
    statement = sa.select(TOKEN.c.id).where(TOKEN.c.revoked_at.is_(None)).limit(1)
    return connection.execute(statement).first() is not None


def revoke_token(connection: sa.Connection, name: str, actor: str, now: datetime) -> bool:
    """End a token; says whether there was one that counted or had expired."""
    statement = (
        sa.update(TOKEN)
        .where(TOKEN.c.name == name, TOKEN.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=actor)
    )
    return connection.execute(statement).rowcount == 1


def token_used(connection: sa.Connection, token_id: int, now: datetime) -> None:
    """Note when a token was last shown."""
    connection.execute(sa.update(TOKEN).where(TOKEN.c.id == token_id).values(used_at=now))


def audit(
    connection: sa.Connection,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append who did what, in the transaction in which it is done."""
    row = {"at": at, "actor": actor, "action": action, "subject": subject, "detail": detail}
    connection.execute(sa.insert(AUDIT).values(row))


def _token(row: Any) -> Token:
    return Token(**row._mapping)
