"""What a life does besides its runs, now and then: usage, what may be forgotten, seals."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ledger.errors import DatabaseError
from ledger.service.anchoring import seal_some
from ledger.service.usage import Usage
from ledger.store.limits import forget_minutes
from ledger.store.outbox import forget as forget_outbox
from ledger.store.store import Store, forget_batches
from ledger.store.tally import add_usage
from ledger.store.webhook_stats import forget_foreign
from ledger.store.writer import Writer

KEPT_DAYS: Final = 90
"""So long the row of an ended life says where and in which version it ran, and the outbox what was
passed on."""
FOREIGN_DAYS: Final = 7
"""So long deliveries about other programs' objects are kept."""
SEALS_AT_ONCE: Final = 5
"""More wait for the next tick, so that the runs which are due do not wait for long."""
SEALS_AT_END: Final = 100


class Housekeeping:
    """The chores of one life. `seal_seconds` None leaves sealing to others."""

    def __init__(
        self, store: Store, writer: Writer, usage: Usage, seal_seconds: float | None
    ) -> None:
        self._store, self._writer, self._usage = store, writer, usage
        self._every = seal_seconds
        self._next_seal: datetime | None = None

    async def tidy(self, now: datetime) -> None:
        """Write the calls made, and drop what nobody needs any more."""
        rows = self._usage.take()
        before, old = now - timedelta(hours=1), now - timedelta(days=KEPT_DAYS)
        try:
            await self._writer.transact(lambda c: add_usage(c, rows))
        except DatabaseError:
            self._usage.put_back(rows)
            raise
        await self._writer.transact(lambda c: forget_batches(c, before))
        await self._writer.transact(lambda c: self._store.lives.forget(c, old))
        strange = now - timedelta(days=FOREIGN_DAYS)
        await self._writer.transact(lambda c: forget_foreign(c, strange))
        await self._writer.transact(lambda c: forget_outbox(c, old))
        await self._writer.transact(lambda c: forget_minutes(c, old))

    async def seal_if_due(self, now: datetime) -> None:
        """Make some seals when it is time; the rest at the next call."""
        if self._every is None:
            return
        later = now + timedelta(seconds=self._every)
        if self._next_seal is None:
            self._next_seal = later
        if now < self._next_seal:
            return
        # Set first: what fails is tried again at its time, not in every pass.
        self._next_seal = later
        if not await seal_some(self._store, self._writer, now, seals=SEALS_AT_ONCE):
            self._next_seal = now

    def shift(self, passed: timedelta) -> None:
        """The wall clock was set by so much."""
        if self._next_seal is not None:
            self._next_seal += passed

    async def seal_at_end(self, now: datetime) -> None:
        """Leave nothing unsealed behind, within bounds."""
        if self._every is not None:
            await seal_some(self._store, self._writer, now, seals=SEALS_AT_END)
