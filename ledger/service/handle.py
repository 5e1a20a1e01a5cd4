"""An open database in one process: its writer, its waits, and when it may not be used any more."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ledger.errors import DatabaseError, ForkedLedger
from ledger.store.store import Store
from ledger.store.writer import ThreadWriter

CLOSE_SECONDS: Final = 10.0
"""So long a close lets the waits of other threads give their runs back."""


class Handle:
    """A store between open and close. Safe for threads; not for forked children."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pid = os.getpid()
        self._writer: ThreadWriter | None = None
        self._closed = threading.Event()
        self._waits, self._waited = 0, threading.Condition()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    @property
    def store(self) -> Store:
        """The database. Raises ForkedLedger in a forked child, DatabaseError once closed."""
        if self._pid != os.getpid():
            raise ForkedLedger(
                "this Ledger was opened before a fork; connections and locks do not survive one",
                hint="call Ledger.open again in the child",
            )
        if self.closed:
            raise DatabaseError("this ledger is closed", hint="call Ledger.open again")
        return self._store

    @property
    def writer(self) -> ThreadWriter:
        """The writer of this process, started on first use. Raises as `store` does."""
        store = self.store
        if self._writer is None:
            self._writer = store.thread_writer()
        return self._writer

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait, which `close` lets end by itself."""
        with self._waited:
            self._waits += 1
        try:
            yield
        finally:
            with self._waited:
                self._waits -= 1
                self._waited.notify_all()

    def close(self) -> None:
        """End the waits of other threads, write what is waiting and close the database.

        In a forked child nothing is closed: the connections are the parent's.
        """
        if self._pid != os.getpid():
            return
        self._closed.set()
        with self._waited:
            self._waited.wait_for(lambda: not self._waits, CLOSE_SECONDS)
        if self._writer is not None:
            self._writer.close()
        self._store.close()
