"""Passing on what happened: followers of the event log, each in a task of its own beside the runs.

A follower belongs to one life at a time, which its row says. What it does happens after the
commit that it tells of, is bounded in each pass, and holds up nothing but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ledger.clock import pause
from ledger.core.passing_on import Notice, NoticeType
from ledger.core.retrying import TELLING, Schedule
from ledger.errors import DatabaseError, LeaseLost
from ledger.service.heart import Heart, unexpected
from ledger.service.threads import hint_loop, to_its_end
from ledger.store import following, outbox
from ledger.store.following import Cursor, Page, Place
from ledger.store.store import Store
from ledger.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("runward")
SWEEP_SECONDS: Final = 2.0
REST_SECONDS: Final = 0.05
"""Between two passes, so that a busy log is read in pages and not event by event."""
BLOCKED_SECONDS: Final = 0.2
"""So soon the log is looked at again whose end cannot be read yet; no hint will tell of it."""
WRITE_SECONDS: Final = 60.0
"""A place that only skipped events is written so often; a crash reads them again."""
FAILED_SECONDS_MAX: Final = 30.0
END_SECONDS_MAX: Final = 5.0
"""So long a life that ends goes on passing on what has happened."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How many notices a consumer has taken, and what stopped it at the next one, if anything."""

    count: int
    error: Exception | None = None


class Consumer:
    """Whoever is told. `name` is the follower's, and durable."""

    name: str
    types: frozenset[NoticeType]
    schedule: Schedule = TELLING

    async def take(self, notices: Sequence[Notice]) -> Taken:
        """Act upon notices, in order. What is taken may come again after a crash."""
        return Taken(len(notices))

    def write(self, connection: Connection, notices: Sequence[Notice], now: datetime) -> None:
        """Write what goes with having taken them, in the transaction that moves the cursor."""

    async def work(self, now: datetime) -> datetime | None:
        """What else there is to do, bounded; says when there is more, or None."""
        del now
        return None

    async def close(self) -> None:
        """Give back what is held."""


class Follower:
    """One consumer and its place in the log."""

    def __init__(
        self, store: Store, writer: Writer, heart: Heart, consumer: Consumer, rng: random.Random
    ) -> None:
        self._store, self._writer, self._heart = store, writer, heart
        self._consumer, self._rng = consumer, rng
        self._ahead: Place | None = None
        """How far this life has read without writing it down."""
        self._written: datetime | None = None
        self.blocked = False
        """Whether there is news that cannot be read yet, behind a transaction that still runs."""

    @property
    def name(self) -> str:
        """The follower's name."""
        return self._consumer.name

    async def begin(self) -> None:
        """Make the row if it is new: it then starts at the present end of the log."""
        await self._writer.transact(lambda c: following.begin(c, self.name))

    async def step(self, now: datetime) -> datetime | None:
        """One bounded pass; says when the next is due, or None if only news can make it so."""
        life = self._heart.life.id
        cursor, page = await to_its_end(self._store.read, self._read)
        if cursor is None:
            await self.begin()
            return now
        self.blocked = page is not None and page.blocked
        if page is None:
            self._ahead = None
            mine = cursor.free and await self._writer.transact(
                lambda c: following.take(c, self.name, life)
            )
            return now if mine else None
        if not self._heart.may_act():
            return None
        try:
            dues = [await self._follow(life, cursor, page, now), await self._consumer.work(now)]
        except LeaseLost as lost:
            log.warning("%s", lost.message)
            self._ahead = None
            return None
        if self.blocked:
            dues.append(now + timedelta(seconds=BLOCKED_SECONDS))
        return min((due for due in dues if due is not None), default=None)

    def _read(self, connection: Connection) -> tuple[Cursor | None, Page | None]:
        life = self._heart.life.id
        cursor = following.cursor_of(connection, self.name, life)
        if cursor is None or cursor.owner != life:
            return cursor, None
        place = cursor.place if self._ahead is None else max(cursor.place, self._ahead)
        return cursor, following.page_after(connection, place)

    async def _follow(
        self, life: str, cursor: Cursor, page: Page, now: datetime
    ) -> datetime | None:
        longest = timedelta(seconds=2 * self._consumer.schedule.seconds_max)
        # A time further off than any pause is one of a clock that was set back since.
        if cursor.next_at is not None and now < cursor.next_at <= now + longest:
            return cursor.next_at
        wanted = [item for item in page.notices if item[1].type in self._consumer.types]
        if not wanted:
            return await self._skip(life, page, now)
        notices = [notice for _, notice in wanted]
        taken = await self._consumer.take(notices)
        if taken.error is not None:
            return await self._failed(life, cursor, wanted, taken, now)
        whole = taken.count == len(notices)
        done = page.end if whole else wanted[taken.count - 1][0]
        await self._move(life, done, notices[: taken.count], now)
        return now if page.more or not whole else None

    async def _skip(self, life: str, page: Page, now: datetime) -> datetime | None:
        """Nothing here for this consumer: a write now and then is enough."""
        self._ahead = page.end
        self._written = self._written or now
        if page.more or now - self._written >= timedelta(seconds=WRITE_SECONDS):
            await self._move(life, page.end, (), now)
        return now if page.more else None

    async def _failed(
        self,
        life: str,
        cursor: Cursor,
        wanted: Sequence[tuple[Place, Notice]],
        taken: Taken,
        now: datetime,
    ) -> datetime:
        """Keep the place before what failed, or after the last try go on behind it."""
        done = [notice for _, notice in wanted[: taken.count]]
        place, notice = wanted[taken.count]
        tries = 1 if taken.count else cursor.tries + 1
        said = str(taken.error) or type(taken.error).__name__
        next_at = self._consumer.schedule.next_at(now, tries=tries, spread=self._rng.random())
        what = f"{notice.type} of run {notice.run}"
        if next_at is not None:
            log.warning("%s: %s failed (try %s): %s", self.name, what, tries, said)
            before = wanted[taken.count - 1][0] if taken.count else self._ahead or cursor.place
            await self._move(
                life, max(before, cursor.place), done, now, tries=tries, next_at=next_at, error=said
            )
            return next_at
        log.error("%s gave up on %s after %s tries: %s", self.name, what, tries, said)
        record = functools.partial(
            outbox.put, endpoint=self.name, notices=[notice], now=now, given_up=said, tries=tries
        )
        await self._move(life, place, done, now, error=f"gave up on {what}: {said}", work=record)
        return now

    async def _move(
        self,
        life: str,
        place: Place,
        notices: Sequence[Notice],
        now: datetime,
        *,
        work: Callable[[Connection], None] | None = None,
        tries: int = 0,
        next_at: datetime | None = None,
        error: str | None = None,
    ) -> None:
        def write(connection: Connection) -> None:
            self._consumer.write(connection, notices, now)
            if work is not None:
                work(connection)

        await self._writer.transact(
            lambda c: following.move(
                c, self.name, life, place, work=write, tries=tries, next_at=next_at, error=error
            )
        )
        self._ahead, self._written = place, now

    async def end(self) -> None:
        """Let the consumer go, and write the place down."""
        await self._consumer.close()
        life, ahead = self._heart.life.id, self._ahead
        if ahead is None:
            return
        cursor = await to_its_end(
            self._store.read, lambda c: following.cursor_of(c, self.name, life)
        )
        if cursor is not None and cursor.place < ahead and cursor.tries == 0:
            await self._writer.transact(lambda c: following.move(c, self.name, life, ahead))


class Followers:
    """What one life passes on. Nothing at all, as long as there are no consumers."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        heart: Heart,
        *,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._store, self._writer, self._heart = store, writer, heart
        self._clock, self._rng = clock, rng
        self.consumers: list[Consumer] = []
        self._followers: list[Follower] = []
        self._tasks: dict[asyncio.Task[None], asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    async def begin(self) -> None:
        """Make the rows of new followers, and start following."""
        self._loop = asyncio.get_running_loop()
        for consumer in self.consumers:
            follower = Follower(self._store, self._writer, self._heart, consumer, self._rng)
            await follower.begin()
            self._followers.append(follower)
            wake = asyncio.Event()
            self._tasks[asyncio.create_task(self._drive(follower, wake))] = wake
        if self._tasks:
            self._writer.on_written.append(self._poke)

    def _poke(self) -> None:
        """Called from the writer's thread; a loop that has ended needs no news."""
        if self._loop is not None:
            hint_loop(self._loop, self.wake)

    def wake(self) -> None:
        """Something was committed. Only a hint: the log is looked at all the same."""
        for wake in self._tasks.values():
            wake.set()

    async def _drive(self, follower: Follower, wake: asyncio.Event) -> None:
        failures = 0
        while True:
            wake.clear()
            try:
                due = await follower.step(self._clock())
                failures = 0
            except Exception as error:
                # A database that is away, or an error of ours: this follower waits, nobody else.
                failures, due = failures + 1, None
                log.error("%s: a pass failed: %s", follower.name, error, exc_info=unexpected(error))
            if self._closing and not follower.blocked and (due is None or due > self._clock()):
                return
            if failures:
                await pause(min(FAILED_SECONDS_MAX, 2.0 ** min(failures, 10)))
            await self._wait(wake, due)

    async def _wait(self, wake: asyncio.Event, due: datetime | None) -> None:
        seconds = SWEEP_SECONDS
        if due is not None:
            seconds = min(seconds, (due - self._clock()).total_seconds())
        if seconds <= 0:
            await pause(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()
        await pause(REST_SECONDS)

    async def end(self, seconds: float) -> None:
        """Pass on what there is, for so long at most; the rest is for the next life."""
        if self._poke in self._writer.on_written:
            self._writer.on_written.remove(self._poke)
        self._closing = True
        self.wake()
        tasks = list(self._tasks)
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=min(seconds, END_SECONDS_MAX))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for follower in self._followers:
            try:
                await follower.end()
            except (DatabaseError, LeaseLost) as error:
                log.warning("%s: its place was not written: %s", follower.name, error)
        self._tasks.clear()
        self._followers.clear()
