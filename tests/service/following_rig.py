"""One life that follows the log, pass by pass, at times that a test names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from support import Bench, later

from ledger.clock import wait_until
from ledger.core.passing_on import Notice, NoticeType
from ledger.core.retrying import HANDLING, Schedule
from ledger.service.followers import Consumer, Follower, Taken
from ledger.service.heart import Heart
from ledger.store.lives import Life
from ledger.store.writer import ThreadWriter


class Recorder(Consumer):
    """Keeps what it is told, and fails at what it is asked to."""

    def __init__(
        self,
        name: str = "recorder",
        types: frozenset[NoticeType] = frozenset(NoticeType),
        schedule: Schedule = HANDLING,
    ) -> None:
        self.name, self.types, self.schedule = name, types, schedule
        self.told: list[Notice] = []
        self.failing: Callable[[Notice], bool] = lambda _: False

    async def take(self, notices: Sequence[Notice]) -> Taken:
        """One after the other."""
        for done, notice in enumerate(notices):
            if self.failing(notice):
                return Taken(done, RuntimeError("not today"))
            self.told.append(notice)
        return Taken(len(notices))

    @property
    def runs(self) -> list[int]:
        """Of which runs it was told."""
        return [notice.run for notice in self.told]


class Walker:
    """A life, and its followers taken step by step."""

    def __init__(self, bench: Bench, life: str = "walker") -> None:
        self.bench, self.now = bench, later(0)
        self.writer = ThreadWriter(bench.store.committer(), lambda: self.now)
        self.heart = Heart(
            bench.store, self.writer, Life(id=life, role="daemon", version="1"), lambda: self.now
        )
        self.closing: list[Callable[[], Awaitable[None]]] = []
        self._loop = asyncio.new_event_loop()
        self.do(self.heart.begin())

    def do(self, work: Awaitable[Any]) -> Any:
        """Run something to its end."""
        return self._loop.run_until_complete(work)

    def follow(self, consumer: Consumer) -> Follower:
        """A follower that begins at the present end."""
        follower = Follower(self.bench.store, self.writer, self.heart, consumer, random.Random(1))
        self.do(follower.begin())
        return follower

    def step(self, follower: Follower, seconds: float = 0.0) -> datetime | None:
        """One pass, so many seconds after NOW; more where another test's transaction on the
        server hides the end of the log."""
        self.now = later(seconds)
        dues: list[datetime | None] = []

        def passed() -> bool:
            dues.append(self.do(follower.step(self.now)))
            return not follower.blocked

        assert wait_until(passed, seconds=20)
        return dues[-1]

    def run(self, follower: Follower, seconds: float = 0.0, passes: int = 20) -> datetime | None:
        """Passes at one time, until nothing more is due then."""
        for _ in range(passes):
            due = self.step(follower, seconds)
            if due is None or due > self.now:
                return due
        raise AssertionError("it is always due")

    def close(self) -> None:
        """End the life, and give everything back."""
        for close in self.closing:
            self.do(close())
        self.do(self.heart.end("drained"))
        self.writer.close()
        self.do(self._loop.shutdown_default_executor())
        self._loop.close()


MakeWalker = Callable[..., Walker]


@contextmanager
def walkers(bench: Bench) -> Iterator[MakeWalker]:
    """Makes lives, and ends them."""
    made: list[Walker] = []

    def make(life: str = "walker", on: Bench | None = None) -> Walker:
        made.append(Walker(on or bench, life))
        return made[-1]

    yield make
    for walker in made:
        walker.close()
