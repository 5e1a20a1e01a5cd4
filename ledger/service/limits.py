"""How much headroom each account has, as its lives saw it: for `runward limits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.providers import open_provider
from ledger.service.accounts import AccountRecord, Accounts
from ledger.service.budgets import KNOWN_FOR
from ledger.service.usage import minute_of
from ledger.store.limits import Known, MinuteRow, known_limits, minutes_since
from ledger.store.queries import accounts as read_accounts

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


def limits(ledger: Ledger, now: datetime | None = None) -> list[dict[str, Any]]:
    """One row an account. Sums are of whole minutes; `left` is what upstream last said."""
    now = now or utcnow()
    rows, (known, lives), minutes = ledger.store.read(
        lambda c: (
            read_accounts(c),
            known_limits(c),
            minutes_since(c, minute_of(now - timedelta(hours=24))),
        )
    )
    accounts = Accounts(ledger.credentials, open_provider)
    by_id = {item.id: item for item in known}
    return [
        _row(
            accounts, row, by_id[row.id], lives, [m for m in minutes if m.account_id == row.id], now
        )
        for row in rows
    ]


def _row(
    accounts: Accounts,
    row: Any,
    known: Known,
    lives: int,
    minutes: Sequence[MinuteRow],
    now: datetime,
) -> dict[str, Any]:
    record = accounts.records[row.id] = accounts.read(row)
    configured = accounts.budget(row.id).configured
    fresh = known.limit_at is not None and now - known.limit_at < KNOWN_FOR
    seen = known.limit if fresh else None
    named = [value for value in (configured, seen) if value is not None]
    limit = min(named, default=None)
    recent = [row for row in minutes if row.minute >= minute_of(now - timedelta(hours=1))]
    lowest = min((m.lowest_left for m in recent if m.lowest_left is not None), default=None)
    return {
        **_place(record),
        "configured": configured,
        "seen": seen,
        "limit": limit,
        "left": known.left if fresh else None,
        "lowest_left": lowest,
        "headroom": None if lowest is None or not seen else round(min(lowest / seen, 1.0), 4),
        "lives": lives,
        "share": None if limit is None else round(limit / max(lives, 1), 3),
        **_sums("1h", recent),
        **_sums("24h", minutes),
        "held_until": _future(known.held_until, now),
        "state": "stopped" if row.stopped_why else known.breaker or "closed",
        "why": row.stopped_why,
    }


def _place(record: AccountRecord) -> Mapping[str, Any]:
    return {
        "account": record.id,
        "profile": record.profile,
        "provider": record.provider,
        "base_url": record.base_url,
        "project": record.project or None,
    }


def _sums(name: str, minutes: Sequence[MinuteRow]) -> dict[str, Any]:
    return {
        f"refused_{name}": sum(row.refused for row in minutes),
        f"throttled_{name}": sum(row.throttled for row in minutes),
        f"throttled_seconds_{name}": round(sum(row.throttled_seconds for row in minutes), 1),
    }


def _future(at: datetime | None, now: datetime) -> str | None:
    return at.isoformat() if at is not None and at > now else None
