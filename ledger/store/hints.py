"""Hints between processes: something was committed elsewhere. Hints only; the sweep is the floor.

SQLite tells by `data_version` on the writer's connection, PostgreSQL by NOTIFY.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import sqlalchemy as sa

from ledger.clock import monotonic
from ledger.entropy import new_id
from ledger.store.direct import execute

if TYPE_CHECKING:
    from ledger.store.store import Store
    from ledger.store.writer import Writer

CHANNEL: Final = "runward"
AGAIN_SECONDS: Final = 1.0
SENDER: Final = new_id()
"""This process, so that it does not take its own notifications for news."""


class Hints(Protocol):
    """A subscription."""

    def close(self) -> None:
        """End it."""
        ...


class WriterHints:
    """What the writer itself notices."""

    def __init__(self, writer: Writer, callback: Callable[[], None]) -> None:
        self._writer, self._callback = writer, callback
        writer.on_foreign_commit = writer.on_command = callback

    def close(self) -> None:
        """End the subscription, unless somebody else has taken it over."""
        if self._writer.on_command is self._callback:
            self._writer.on_foreign_commit = self._writer.on_command = None


class Listener:
    """LISTEN on a connection of its own, in a thread of its own; opened again when it is lost."""

    def __init__(self, engine: sa.Engine, writer: Writer, callback: Callable[[], None]) -> None:
        self._engine, self._callback = engine, callback
        self._own = WriterHints(writer, callback)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="runward-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._own.close()
        self._closing.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
                self._listen()
            self._closing.wait(AGAIN_SECONDS)

    def _listen(self) -> None:
        with self._engine.connect() as pooled:
            connection = pooled.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
            driver: Any = connection.connection.driver_connection
            try:
                while not self._closing.is_set():
                    self._wait(driver)
            except Exception:
                connection.invalidate()
                raise
            connection.invalidate()

    def _wait(self, driver: Any) -> None:
        end = monotonic() + 0.1
        for notification in driver.notifies(timeout=0.1):
            if notification.payload != SENDER:
                self._callback()
            if monotonic() >= end or self._closing.is_set():
                return


def subscribe(store: Store, writer: Writer, callback: Callable[[], None]) -> Hints:
    """Call back, from some thread, soon after another life or a command has committed."""
    if store.dialect == "sqlite":
        return WriterHints(writer, callback)
    return Listener(store.direct, writer, callback)


def notify(connection: sa.Connection) -> None:
    """Tell the other processes, with the commit of this transaction."""
    if connection.dialect.name == "postgresql":
        execute(connection, "SELECT pg_notify(%s, %s)", (CHANNEL, SENDER))
