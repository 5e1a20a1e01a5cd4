"""Group commit on an event loop: what meets within a moment is one batch."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger.errors import DatabaseError
from ledger.store.commit import Committer
from ledger.store.records import Record, Result
from ledger.store.writer import take_batch

REST_SECONDS: Final = 0.005
T = TypeVar("T")


class LoopWriter:
    """A Writer of one life of the simulation."""

    def __init__(
        self,
        committer: Committer,
        clock: Callable[[], datetime],
        rng: random.Random,
        committed: Callable[[], None],
    ) -> None:
        self._committer, self._clock, self._rng = committer, clock, rng
        self._committed = committed
        self._records: deque[tuple[Record, asyncio.Future[Any]]] = deque()
        self._due = False
        self.on_foreign_commit: Callable[[], None] | None = None
        self.on_command: Callable[[], None] | None = None
        self.on_written: list[Callable[[], None]] = []

    async def commit(self, record: Record) -> Result:
        """Commit a record with the next batch."""
        loop = asyncio.get_running_loop()
        ticket: asyncio.Future[Result] = loop.create_future()
        self._records.append((record, ticket))
        self._plan(loop)
        return await ticket

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one short transaction, after a moment in which others may go first."""
        loop = asyncio.get_running_loop()
        ticket: asyncio.Future[None] = loop.create_future()
        loop.call_later(self._rng.random() * REST_SECONDS, ticket.set_result, None)
        await ticket
        result, changes = self._committer.run(lambda c: _counted(c, work))
        if changes:
            self._committed()
        return result

    def poke(self) -> None:
        """Tell the reconciler of this life."""
        if self.on_command is not None:
            self.on_command()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._due and self._records:
            self._due = True
            loop.call_later(self._rng.random() * REST_SECONDS, self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        batch = take_batch(self._records)
        try:
            results = self._committer.commit([record for record, _ in batch], self._clock())
        except DatabaseError as error:
            for _, ticket in batch:
                if not ticket.done():
                    ticket.set_exception(error)
        else:
            self._committed()
            for (_, ticket), result in zip(batch, results, strict=True):
                if not ticket.done():
                    ticket.set_result(result)
        self._committer.tidy()
        self._plan(loop)


def _counted(connection: sa.Connection, work: Callable[[sa.Connection], T]) -> tuple[T, int]:
    """What `work` gives, and how many rows it wrote: others only notice a commit of some."""
    driver: Any = connection.connection.driver_connection
    before = driver.total_changes
    return work(connection), driver.total_changes - before
