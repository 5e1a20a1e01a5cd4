"""Bearer tokens: made, listed, revoked, and judged when somebody shows one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.alphabet import Role
from ledger.core.policy import bounded, parse_duration, parse_word
from ledger.entropy import random_bytes
from ledger.errors import InvalidInput, NotFound
from ledger.store.access import (
    Token,
    add_token,
    any_token,
    audit,
    revoke_token,
    token_named,
    token_of,
    token_used,
    tokens,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger
    from ledger.store.store import Store

PREFIX: Final = "rw_"
BEARER: Final = "token:"
"""Before a token's name, where the history names who showed it."""
TOKEN_BYTES: Final = 32
EXPIRES_SECONDS_MAX: Final = 3_650 * 86_400.0
USED_EVERY: Final = timedelta(minutes=1)
"""So often the time of a token's last use is written."""
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the history names them, and what they may do."""

    actor: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether they may do what `role` may."""
        order = list(Role)
        return order.index(self.role) >= order.index(role)


def create_token(
    ledger: Ledger, name: str, *, role: str, expires: str | None, actor: str
) -> tuple[str, dict[str, Any]]:
    """Make a token: its text, which is nowhere kept, and what is kept of it.

    Raises InvalidInput for a name, a role or a duration that is none, Conflict for a known name.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} is no name of a token: use 1 to 64 of a-z A-Z 0-9 _ . -")
    chosen, now = parse_word("role", Role, role), utcnow()
    until = None if expires is None else now + timedelta(seconds=_seconds(expires))
    text = PREFIX + base64.urlsafe_b64encode(random_bytes(TOKEN_BYTES)).decode().rstrip("=")
    detail = {"role": str(chosen), "expires_at": until and until.isoformat()}

    def work(connection: Connection) -> None:
        add_token(
            connection,
            name=name,
            role=chosen,
            hash=digest_of(text),
            created_at=now,
            created_by=actor,
            expires_at=until,
        )
        audit(connection, at=now, actor=actor, action="token.create", subject=name, detail=detail)

    ledger.writer.run(work).result()
    return text, {"name": name, **detail}


def _seconds(expires: str) -> float:
    return bounded("expires", parse_duration(expires), low=1.0, high=EXPIRES_SECONDS_MAX)


def list_tokens(ledger: Ledger) -> list[dict[str, Any]]:
    """All tokens, the newest first; never their text, which nobody has."""
    now = utcnow()
    return [
        {
            "name": token.name,
            "role": str(token.role),
            "state": token.over(now) or "valid",
            "created_at": token.created_at.isoformat(),
            "created_by": token.created_by,
            "expires_at": _time(token.expires_at),
            "used_at": _time(token.used_at),
            "revoked_at": _time(token.revoked_at),
            "revoked_by": token.revoked_by,
        }
        for token in ledger.store.read(tokens)
    ]


def revoke(ledger: Ledger, name: str, *, actor: str) -> None:
    """End a token at once, everywhere. Raises NotFound where no unrevoked token has the name."""
    now = utcnow()

    def work(connection: Connection) -> bool:
        done = revoke_token(connection, name, actor, now)
        if done:
            audit(connection, at=now, actor=actor, action="token.revoke", subject=name)
        return done

    if not ledger.writer.run(work).result():
        raise NotFound(f"no token {name[:80]!r} is in force", hint="runward token list")


def tokens_exist(store: Store) -> bool:
    """Whether there is a token that nobody has revoked."""
    return store.read(any_token)


def bearer_of(ledger: Ledger, text: str) -> Caller | None:
    """Who shows this token; None where it is unknown, revoked or expired. Raises DatabaseError."""
    digest = digest_of(text)
    token = ledger.store.read(lambda c: token_of(c, digest))
    now = utcnow()
    # The index finds by parts of the hash; whether it is the hash is said in constant time.
    if token is None or not hmac.compare_digest(token.hash, digest) or token.over(now):
        return None
    _note_use(ledger, token, now)
    return Caller(BEARER + token.name, token.role)


def still_counts(store: Store, caller: Caller) -> bool:
    """Whether the token that somebody showed counts on; who needed none goes on without."""
    if not caller.actor.startswith(BEARER):
        return True
    token = store.read(lambda c: token_named(c, caller.actor.removeprefix(BEARER)))
    return token is not None and token.over(utcnow()) is None


def _note_use(ledger: Ledger, token: Token, now: datetime) -> None:
    """Written behind the caller's back: that it fails, or comes late, is nobody's trouble."""
    if token.used_at is None or now - token.used_at >= USED_EVERY:
        ledger.writer.run(lambda c: token_used(c, token.id, now))


def digest_of(text: str) -> bytes:
    """What is kept of a token. It is 256 random bits: no salt, no slow hash is needed."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
