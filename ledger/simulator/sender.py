"""Sends webhook deliveries over HTTP, as the plan in ``deliveries`` says."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp

from .deliveries import Try, Webhooks

#: How long an endpoint may take to answer; the provider's own bound is not known.
PATIENCE_SECONDS: Final = 15.0
#: Tries under way to one endpoint at once. Further ones wait, and only those to that endpoint.
AT_ONCE: Final = 50

#: A clock that is moved by hand wakes nobody, so look from time to time.
_LOOK_SECONDS = 0.05
#: Shorter than receivers keep a connection, or a try would run into one that is just closing.
_IDLE_SECONDS = 1.0


class Sender:
    """One task that waits for what becomes due, and one for each try under way."""

    def __init__(self, plan: Callable[[], Webhooks], clock: Callable[[], float]) -> None:
        self._plan = plan
        self._clock = clock
        self._changed = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE)
        )

    def wake(self) -> None:
        """Look again: a request may have changed what becomes due next."""
        self._changed.set()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Send while the block runs; at its end tries under way are broken off."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            loop = asyncio.create_task(self._work(), name="webhook sender")
            try:
                yield
            finally:
                ending = [loop, *self._under_way]
                for task in ending:
                    task.cancel()
                await asyncio.gather(*ending, return_exceptions=True)
                if not loop.cancelled():
                    loop.result()  # It never ends by itself: it has failed.

    async def send(self, plan: Webhooks, sent: Try) -> int | None:
        """Make one try and tell the plan; the status of the answer, None if there was none."""
        status = await self._post(sent)
        plan.answered(sent, status, self._clock())
        self.wake()
        return status

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            plan = self._plan()
            for sent in plan.deliveries_due(self._clock()):
                self._start(plan, sent)
            await self._wait(plan)

    async def _wait(self, plan: Webhooks) -> None:
        now = self._clock()
        at = plan.next_delivery_at(now)
        patience = None if at is None else min(max(at - now, 0.0), _LOOK_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), patience)

    def _start(self, plan: Webhooks, sent: Try) -> None:
        task = asyncio.create_task(self._take_turn(plan, sent))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _take_turn(self, plan: Webhooks, sent: Try) -> None:
        turns = self._turns[sent.delivery.endpoint.id]
        waits = turns.locked()
        async with turns:
            await self.send(plan, plan.renewed(sent, self._clock()) if waits else sent)

    async def _post(self, sent: Try) -> int | None:
        try:
            async with self._session.post(
                sent.url, data=sent.body, headers=sent.headers, allow_redirects=False
            ) as reply:
                return reply.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
