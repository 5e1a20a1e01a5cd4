"""The SQS inbox: deliveries that a Lambda function put on a queue, taken in and then deleted.

A message is deleted after our commit, so a death in between makes a duplicate, which is one effect.
What cannot be believed goes to the dead letters; what cannot be kept now stays where it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeVar

from ledger.core.alphabet import Receipt
from ledger.core.envelope import read_envelope
from ledger.errors import (
    BadRecord,
    DatabaseError,
    DeliveryRefused,
    QueueAway,
    QueueRefused,
)
from ledger.providers.sqs import Message, SqsQueue
from ledger.service.receiving import Receiver
from ledger.store.writer import ThreadWriter

log = logging.getLogger("runward")
AT_ONCE: Final = 4
"""Batches of ten under way: the next poll does not wait for the last commit."""
THREADS: Final = 8
BACKOFF_SECONDS: Final = 1.0
BACKOFF_SECONDS_MAX: Final = 60.0
TOLD_MAX: Final = 10_000
VIA: Final = "sqs"
REFUSED: Final = "refused"
LEFT: Final = "left"
T = TypeVar("T")


class Inbox:
    """Consumes one queue for one ledger, in one event loop. Made for one `run`."""

    def __init__(
        self,
        receiver: Receiver,
        writer: ThreadWriter,
        queue: SqsQueue,
        clock: Callable[[], datetime],
    ) -> None:
        self._receiver, self._writer, self._queue = receiver, writer, queue
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="runward-sqs")
        self._batches: set[asyncio.Task[None]] = set()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._polled = False
        self._failures = 0
        self._database_away: DatabaseError | None = None
        self.counts: Counter[str] = Counter()
        """Messages by what became of them: accepted, duplicate, refused, left."""

    async def run(self, stop: asyncio.Event, *, once: bool = False, patient: bool = False) -> None:
        """Consume until `stop`, or with `once` until the queue is empty.

        Trouble is waited out, within bounds. It is raised, as QueueRefused, QueueAway or
        DatabaseError, with `once`; and without `patient` where the very first poll is refused.
        """
        try:
            while not stop.is_set():
                if not await self._pass(stop, once=once, patient=patient):
                    break
        finally:
            await self._end()
        if once and self._database_away is not None:
            raise self._database_away

    async def _pass(self, stop: asyncio.Event, *, once: bool, patient: bool) -> bool:
        """Poll once, and begin on what came; false when this was the end."""
        if self._database_away is not None:
            if once:
                return False
            await self._probe_database(stop)
            return True
        try:
            messages = await self._call(self._queue.receive)
        except (QueueAway, QueueRefused) as error:
            first = isinstance(error, QueueRefused) and not self._polled
            if once or (first and not patient):
                raise
            log.error("webhook inbox: %s", error.message)
            await self._wait(stop)
            return True
        self._polled = True
        if messages:
            await self._begin(messages)
        else:
            self._failures = 0
        return bool(messages) or not once

    async def _begin(self, messages: Sequence[Message]) -> None:
        self._batches.add(asyncio.create_task(self._batch(messages)))
        if len(self._batches) >= AT_ONCE:
            await asyncio.wait(self._batches, return_when=asyncio.FIRST_COMPLETED)
        self._batches = {task for task in self._batches if not task.done()}

    async def _batch(self, messages: Sequence[Message]) -> None:
        """Take messages in, then delete those that are done with."""
        results = await asyncio.gather(*(self._one(message) for message in messages))
        self.counts.update(results)
        if any(result != LEFT for result in results):
            # Not on every answer to a probe: a full disk answers, and keeps nothing.
            self._failures = 0
        done = [m for m, result in zip(messages, results, strict=True) if result != LEFT]
        if not done:
            return
        try:
            await self._call(functools.partial(self._queue.delete, done))
        except (QueueAway, QueueRefused) as error:
            # They come again, and are duplicates then.
            log.warning("webhook inbox: %s", error.message)

    async def _one(self, message: Message) -> str:
        """What became of one message. One that fails must not stop the others."""
        try:
            return str(await self._take_in(message))
        except DeliveryRefused as refused:
            return await self._bury(message, refused)
        except BadRecord as bad:
            self._tell(message, bad.message)
        except DatabaseError as away:
            self._database_away = away
        except Exception as error:
            self._tell(message, type(error).__name__)
        return LEFT

    async def _take_in(self, message: Message) -> Receipt:
        try:
            envelope = read_envelope(message.body, self._clock())
        except DeliveryRefused as refused:
            self._receiver.refuse(Receipt(refused.result))
            raise
        return await self._receiver.receive(
            envelope.headers, envelope.body, via=VIA, received_at=envelope.received_at
        )

    async def _bury(self, message: Message, refused: DeliveryRefused) -> str:
        """To the dead letters before it is deleted; without those the queue's own policy has it."""
        if self._queue.dead_letter_url is None:
            self._tell(message, refused.message)
            return LEFT
        try:
            name = await self._call(functools.partial(self._queue.send_dead, message))
        except (QueueAway, QueueRefused) as error:
            self._tell(message, f"{refused.message}; {error.message}")
            return LEFT
        log.warning(
            "webhook inbox: message %s is dead letter %s: %s", message.id, name, refused.message
        )
        return REFUSED

    def _tell(self, message: Message, why: str) -> None:
        """Say why a message is left, once for each: it comes again and again."""
        if message.id in self._told:
            return
        self._told[message.id] = None
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        log.warning("webhook inbox: message %s is left on the queue: %s", message.id, why)

    async def _probe_database(self, stop: asyncio.Event) -> None:
        """Ask for no message before the database is back: each asking counts against it."""
        assert self._database_away is not None
        log.error("webhook inbox: %s; messages stay on the queue", self._database_away.message)
        await self._wait(stop)
        try:
            await self._writer.transact(lambda _: None)
        except DatabaseError as error:
            self._database_away = error
        else:
            self._database_away = None

    async def _wait(self, stop: asyncio.Event) -> None:
        """Longer after each failure in a row, and no longer than until `stop`."""
        seconds = min(BACKOFF_SECONDS * 2 ** min(self._failures, 10), BACKOFF_SECONDS_MAX)
        self._failures += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _end(self) -> None:
        """Finish what was handed out to us; then let everything go."""
        if self._batches:
            await asyncio.wait(self._batches)
        await self._receiver.close()
        self._threads.shutdown(wait=False)
        self._queue.close()
