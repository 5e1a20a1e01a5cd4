"""The heartbeat of a life: its lock, its lease, and whether it may still act."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from ledger.clock import monotonic, pause
from ledger.core.alphabet import LifeEventKind
from ledger.entropy import new_id
from ledger.errors import DatabaseError, LeaseLost
from ledger.store.claims import release
from ledger.store.life_events import note
from ledger.store.lives import Life, LifeLock, Pulse, Standing
from ledger.store.store import Store
from ledger.store.writer import Writer

log = logging.getLogger("runward")
PING_SECONDS: Final = 0.5
BEATS_PER_LEASE: Final = 30


def new_life_id() -> str:
    """A name that no other start of any process ever had."""
    return new_id()


def unexpected(error: Exception) -> bool:
    """Whether an error needs its traceback: a database that is away says all in one line."""
    return not isinstance(error, DatabaseError)


class Heart:
    """Keeps one life's lock and lease, and ends it."""

    def __init__(
        self, store: Store, writer: Writer, life: Life, clock: Callable[[], datetime]
    ) -> None:
        self.life = life
        self._store, self._writer, self._clock = store, writer, clock
        self._lock: LifeLock | None = None
        self._pulse: Pulse | None = None
        self._held = True
        self.draining = False
        self.rebirths = 0
        self._over = False

    async def begin(self) -> None:
        """Take the lock, then write the row: nobody can see a life without its lock."""
        await self._begin(self.life)

    async def _begin(self, life: Life, was: str | None = None) -> None:
        lock = await asyncio.to_thread(self._store.lives.lock, life)
        now = self._clock()
        try:
            await self._writer.transact(lambda c: self._store.lives.begin(c, life, now, was))
        except BaseException:
            await asyncio.to_thread(lock.release)
            raise
        # Only now: what is claimed under a name without a row would be nobody's for ever.
        self.life, self._lock, self._held = life, lock, True
        self._pulse = Pulse(lock, life.lease_seconds)

    def may_act(self) -> bool:
        """Whether an effect may begin: the lock answers and the lease is young."""
        return self._pulse is not None and self._held and self._pulse.may_act()

    async def beat_for_ever(self) -> None:
        """Ping the lock twice a second, renew the lease thirty times per lease."""
        every = self.life.lease_seconds / BEATS_PER_LEASE
        last = monotonic()
        while True:
            await pause(min(PING_SECONDS, every))
            with contextlib.suppress(DatabaseError):
                await self._ping()
            if monotonic() - last >= every:
                last = monotonic()
                try:
                    await self.beat()
                except Exception as error:
                    # A life that stops beating must not stop trying: it only stops acting.
                    what = "the heartbeat failed and is tried again: %s"
                    log.error(what, error, exc_info=unexpected(error))

    async def beat(self) -> None:
        """Renew the lease once. Declared dead by another life: begin again under a new name."""
        now = self._clock()
        standing = await self._writer.transact(lambda c: self._store.lives.beat(c, self.life, now))
        if standing == Standing.dead:
            await self._begin_again()
        elif self._pulse is not None:
            self._pulse.beaten()
        if standing == Standing.draining and not self.draining:
            told = functools.partial(note, kind=LifeEventKind.drained, at=now, life=self.life.id)
            await self._writer.transact(told)
            self.draining = True

    async def _begin_again(self) -> None:
        if self._over:
            # It was ended by itself, between two beats: nobody declared it dead.
            return
        old = self._lock
        await self._begin(replace(self.life, id=new_life_id()), self.life.id)
        self.rebirths += 1
        if old is not None:
            await asyncio.to_thread(old.release)

    async def _ping(self) -> None:
        """A lock that does not answer may be gone: take it again before anything else is done."""
        if self._lock is None:
            return
        self._held = await asyncio.to_thread(self._lock.alive)
        if not self._held:
            try:
                await asyncio.to_thread(self._lock.release)
                self._lock = await asyncio.to_thread(self._store.lives.lock, self.life)
            except LeaseLost:
                await self._begin_again()
            except Exception as error:
                what = "the lock is lost and is tried again: %s"
                log.error(what, error, exc_info=unexpected(error))

    async def end(self, how: str) -> None:
        """Give all runs back and end the life; a database that is gone needs no farewell."""
        now, self._over = self._clock(), True
        with contextlib.suppress(DatabaseError):
            await self._writer.transact(lambda c: release(c, self.life.id))
            await self._writer.transact(lambda c: self._store.lives.end(c, self.life.id, how, now))
        if self._lock is not None:
            await asyncio.to_thread(self._lock.release)
            self._lock = None
