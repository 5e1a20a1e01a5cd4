"""An inbox over a queue whose every step is written down and can be made to fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from service_rig import Rig
from sqs_queues import Queues

from ledger.clock import utcnow
from ledger.errors import DatabaseError, QueueAway
from ledger.providers.sqs import Message, SqsQueue
from ledger.service.inbox import Inbox
from ledger.service.keyring import Keyring
from ledger.service.receiving import Receiver
from ledger.store.writer import ThreadWriter


class WatchedQueue(SqsQueue):
    """A real queue. `fails` names operations that fail; `waits` holds the next poll back."""

    def __init__(self, url: str, dead_letter_url: str | None = None) -> None:
        super().__init__(url, dead_letter_url)
        self.steps: list[str] = []
        self.handed: list[Message] = []
        self.fails: set[str] = set()
        self.on_poll: Callable[[], None] = lambda: None

    def receive(self, seconds: int | None = 0) -> list[Message]:
        """Without waiting: what is there is there."""
        self._step("receive")
        self.on_poll()
        found = super().receive(seconds)
        self.handed += found
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        """May fail as if the process had died before it."""
        self._step("delete")
        super().delete(messages)

    def send_dead(self, message: Message) -> str:
        """May fail."""
        self._step("send_dead")
        return super().send_dead(message)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fails:
            raise QueueAway(f"{name} failed")


class AwayWriter:
    """The ledger's writer, while `away` without its database."""

    def __init__(self, writer: ThreadWriter) -> None:
        self.writer, self.away, self.asked = writer, True, 0

    async def transact(self, work: Callable[[sa.Connection], Any]) -> Any:
        """Fails while it is away."""
        self.asked += 1
        if self.away:
            raise DatabaseError("the database is away")
        return await self.writer.transact(work)

    def poke(self) -> None:
        """See ThreadWriter."""
        self.writer.poke()


def make_queue(queues: Queues, *, dead_letters: bool = True) -> WatchedQueue:
    """The consumer's side of the queue."""
    return WatchedQueue(queues.url, queues.dead_url if dead_letters else None)


def make_inbox(rig: Rig, queue: SqsQueue, *, writer: Any = None) -> Inbox:
    """An inbox for the rig's ledger."""
    used = writer or rig.ledger.writer
    receiver = Receiver(rig.ledger.store, used, Keyring(rig.ledger.settings), utcnow)
    return Inbox(receiver, used, queue, utcnow)


def drain(rig: Rig, queue: SqsQueue, *, writer: Any = None) -> Counter[str]:
    """Take in what is on the queue, until it is empty."""
    inbox = make_inbox(rig, queue, writer=writer)

    async def work() -> None:
        await inbox.run(asyncio.Event(), once=True)

    asyncio.run(work())
    return inbox.counts


def follow(
    rig: Rig, queue: WatchedQueue, polls: int, *, writer: Any = None, patient: bool = True
) -> Inbox:
    """Consume until the queue has been polled so often."""
    inbox = make_inbox(rig, queue, writer=writer)

    async def work() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def polled() -> None:
            if queue.steps.count("receive") >= polls:
                loop.call_soon_threadsafe(stop.set)

        queue.on_poll = polled
        await asyncio.wait_for(inbox.run(stop, patient=patient), 20)

    asyncio.run(work())
    return inbox
