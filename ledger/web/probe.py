"""Asking the database whether it is there, without ever waiting long or asking twice at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ledger.clock import monotonic
from ledger.service.probing import probe

if TYPE_CHECKING:
    from ledger.store.store import Store

PATIENCE_SECONDS: Final = 3.0
"""A database that has not answered by then is away."""
FRESH_SECONDS: Final = 1.0
"""Strangers may ask as often as they like; the database is asked once a second."""
AWAY: Final = {"database": False, "schema": False}


class Probe:
    """One question at a time, in a thread; whoever comes meanwhile waits for the same answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[dict[str, bool]] | None = None

    async def ask(self) -> dict[str, bool]:
        """What the database said less than a second ago, or says now."""
        fresh = monotonic() - self._asked_at < FRESH_SECONDS
        if self._asking is None or (self._asking.done() and not fresh):
            self._asked_at = monotonic()
            self._asking = asyncio.ensure_future(asyncio.to_thread(probe, self._store))
        done, _ = await asyncio.wait([self._asking], timeout=PATIENCE_SECONDS)
        if not done or self._asking.cancelled() or self._asking.exception() is not None:
            return AWAY
        return self._asking.result()
