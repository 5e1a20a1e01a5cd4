"""Group commit: one thread writes what many callers wait for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa

from ledger.clock import monotonic, rest
from ledger.errors import DatabaseError
from ledger.store.commit import Committer
from ledger.store.records import Decision, Record, Result, Submission

BATCH_RECORDS_MAX: Final = 1_000
REST_SECONDS: Final = 0.001
IDLE_SECONDS: Final = 0.1
T = TypeVar("T")
K = TypeVar("K")

Work = Callable[[sa.Connection], Any]


class Writer(Protocol):
    """What a life commits through: a thread in production, inline under a seeded scheduler."""

    on_foreign_commit: Callable[[], None] | None
    """Called, from some thread, after another process has committed."""
    on_command: Callable[[], None] | None
    """Called after a command was committed through this very writer."""
    on_written: list[Callable[[], None]]
    """Each called, from some thread, after a batch of records was committed."""

    async def commit(self, record: Record) -> Result:
        """Commit a record with the next batch. Raises DatabaseError."""
        ...

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one short transaction of its own. Raises DatabaseError."""
        ...

    def poke(self) -> None:
        """Tell a reconciler of this process that a command was committed through this writer."""
        ...


class _AsyncTicket:
    """Where one awaiting task gets its result: many are delivered by one call into its loop."""

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()


Ticket = Future[Any] | _AsyncTicket


class ThreadWriter:
    """Collects what is waiting into one batch after the other, and rests in between so that other
    processes on the same file get their turn."""

    def __init__(
        self,
        committer: Committer,
        clock: Callable[[], datetime],
        *,
        on_foreign_commit: Callable[[], None] | None = None,
    ) -> None:
        self._committer, self._clock = committer, clock
        self._records: deque[tuple[Record, Ticket]] = deque()
        self._works: deque[tuple[Work, Ticket]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self.on_foreign_commit = on_foreign_commit
        self.on_command: Callable[[], None] | None = None
        self.on_written: list[Callable[[], None]] = []
        self._data_version = -1
        self._thread = threading.Thread(target=self._loop, name="runward-writer", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> Future[Result]:
        """Commit a record with the next batch."""
        ticket: Future[Result] = Future()
        self._enqueue(self._records, (record, ticket))
        return ticket

    def run(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Run one short transaction of its own between two batches."""
        ticket: Future[T] = Future()
        self._enqueue(self._works, (work, ticket))
        return ticket

    def poke(self) -> None:
        """Tell a reconciler of this process that a command was committed through this writer."""
        if self.on_command is not None:
            self.on_command()

    async def commit(self, record: Record) -> Result:
        """Commit a record with the next batch, from an event loop."""
        ticket = _AsyncTicket()
        self._enqueue(self._records, (record, ticket))
        result: Result = await ticket.future
        return result

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one short transaction, from an event loop."""
        ticket = _AsyncTicket()
        self._enqueue(self._works, (work, ticket))
        value: T = await ticket.future
        return value

    def close(self) -> None:
        """Write what is waiting, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _enqueue(self, queue: deque[Any], item: Any) -> None:
        with self._wake:
            if self._closing:
                raise DatabaseError("this ledger is closed")
            queue.append(item)
            self._wake.notify()

    def _loop(self) -> None:
        while self._wait():
            started = monotonic()
            works, batch = self._take()
            for work, ticket in works:
                _settle_all([(ticket, _call(functools.partial(self._committer.run, work)))])
            if batch:
                self._commit(batch)
            _call(self._committer.tidy)
            if self._records or self._works:
                rest(max(REST_SECONDS, (monotonic() - started) / 10))
        self._committer.close()

    def _wait(self) -> bool:
        """Wait for work; False when closing and done."""
        while True:
            with self._wake:
                if self._records or self._works:
                    return True
                if self._closing:
                    return False
                self._wake.wait(IDLE_SECONDS)
                if self._records or self._works:
                    return True
            self._listen()

    def _take(self) -> tuple[list[tuple[Work, Ticket]], list[tuple[Record, Ticket]]]:
        with self._wake:
            works = [self._works.popleft() for _ in range(len(self._works))]
            return works, take_batch(self._records)

    def _commit(self, batch: list[tuple[Record, Ticket]]) -> None:
        records = [record for record, _ in batch]
        outcome = _call(lambda: self._committer.commit(records, self._clock()))
        if isinstance(outcome, _Failure):
            _settle_all([(ticket, outcome) for _, ticket in batch])
        else:
            _settle_all(list(zip([ticket for _, ticket in batch], outcome, strict=True)))
            for told in tuple(self.on_written):
                _call(told)

    def _listen(self) -> None:
        """Other processes' commits show in data_version on this connection, our own do not."""
        if self.on_foreign_commit is None:
            return
        version = _call(self._committer.data_version)
        if isinstance(version, int) and version != self._data_version:
            first, self._data_version = self._data_version < 0, version
            if not first:
                # A listener's error is not the writer's: this thread must not die of it.
                _call(self.on_foreign_commit)


class _Failure:
    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _call(make: Callable[[], T]) -> T | _Failure:
    try:
        return make()
    except Exception as error:
        return _Failure(error)


def take_batch(waiting: deque[tuple[Record, K]]) -> list[tuple[Record, K]]:
    """Take a batch from the queue, at most one record for each run and key: the others keep their
    places."""
    batch: list[tuple[Record, K]] = []
    later: list[tuple[Record, K]] = []
    seen: set[object] = set()
    while waiting and len(batch) < BATCH_RECORDS_MAX:
        item = waiting.popleft()
        subject = _subject(item[0])
        (later if subject in seen else batch).append(item)
        seen.add(subject)
    waiting.extendleft(reversed(later))
    return batch


def _subject(record: Record) -> object:
    match record:
        case Submission(new=new):
            return new.key
        case Decision(run_id=run_id):
            return run_id


def _settle_all(settled: list[tuple[Ticket, Any]]) -> None:
    """Deliver results: directly to threads, and with one call to each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_AsyncTicket, Any]]] = defaultdict(list)
    for ticket, value in settled:
        if isinstance(ticket, _AsyncTicket):
            loops[ticket.loop].append((ticket, value))
        else:
            # A caller that gave up waiting has cancelled its future.
            with contextlib.suppress(InvalidStateError):
                if isinstance(value, _Failure):
                    ticket.set_exception(value.error)
                else:
                    ticket.set_result(value)
    for loop, items in loops.items():
        # The loop may have been closed meanwhile; then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, items)


def _resolve(items: list[tuple[_AsyncTicket, Any]]) -> None:
    for ticket, value in items:
        if ticket.future.done():
            continue
        if isinstance(value, _Failure):
            ticket.future.set_exception(value.error)
        else:
            ticket.future.set_result(value)
