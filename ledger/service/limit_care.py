"""What lives tell each other of the limits: read at each sweep, written when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ledger.errors import DatabaseError
from ledger.service.threads import to_its_end
from ledger.store.limits import (
    Known,
    MinuteRow,
    add_minutes,
    known_limits,
    write_known,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.accounts import Accounts
    from ledger.service.turns import Turns
    from ledger.store.store import Store
    from ledger.store.writer import Writer


async def write_news(accounts: Accounts, writer: Writer) -> None:
    """Tell others of a limit, a hold or a breaker that changed; what cannot be told now is told
    later."""
    news, accounts.budgets.news = accounts.budgets.news, set()
    known = [item for n in sorted(news) if (item := _known(accounts, n)) is not None]
    if known:
        try:
            await writer.transact(lambda c: write_known(c, known))
        except DatabaseError:
            accounts.budgets.news |= news


class LimitCare:
    """Keeps one life's budgets and the rows of all alike."""

    def __init__(self, store: Store, writer: Writer, accounts: Accounts, turns: Turns) -> None:
        self._store, self._writer = store, writer
        self._accounts, self._turns = accounts, turns

    async def listen(self, now: datetime) -> None:
        """Take in what others wrote, and how many they are."""
        known, lives = await to_its_end(self._store.read, known_limits)
        budgets, records = self._accounts.budgets, self._accounts.records
        budgets.divide(lives, now)
        for item in known:
            if item.id in records:
                budgets.hear(item, self._accounts.budget(item.id), now)

    async def flush(self, now: datetime) -> None:
        """Write what was counted. Raises DatabaseError, and counts on."""
        budgets = self._accounts.budgets
        throttled, self._turns.throttled = self._turns.throttled, {}
        budgets.throttled(throttled, now)
        minutes, budgets.minutes = budgets.minutes, {}
        rows = [
            MinuteRow(
                minute=minute,
                account_id=account,
                limit_seen=seen.limit,
                lowest_left=seen.lowest,
                calls=seen.calls,
                refused=seen.refused,
                throttled=seen.throttled,
                throttled_seconds=seen.throttled_seconds,
            )
            for (minute, account), seen in minutes.items()
        ]
        known = [_known(self._accounts, row.account_id) for row in rows]
        try:
            await self._writer.transact(lambda c: _write(c, rows, known))
        except DatabaseError:
            budgets.put_back(minutes)
            raise


def _write(
    connection: Connection, rows: Sequence[MinuteRow], known: Sequence[Known | None]
) -> None:
    add_minutes(connection, rows)
    write_known(connection, [item for item in known if item is not None])


def _known(accounts: Accounts, account_id: int) -> Known | None:
    if account_id not in accounts.records:
        return None
    breaker = "open" if accounts.gate(account_id).opened_at is not None else None
    return accounts.budgets.known(account_id, accounts.budget(account_id), breaker)
