"""Where a life touches the world: each touch is a point at which it can die.

From the moment of its death every seam of a life raises and does nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ledger.store.lives import FileLock, Life, LifeLock, Lives


class Crashed(BaseException):
    """This life is dead. No handler of the product may take it for an error."""


def unwatched(mortal: Mortal, what: str) -> None:
    """Nothing happens at this life's points."""
    del mortal, what


class Mortal:
    """What a life's seams ask before and after each touch. `on_point` may kill or pause it."""

    def __init__(self, name: str, on_point: Callable[[Mortal, str], None]) -> None:
        self.name, self.dead = name, False
        self._on_point = on_point
        self.connections: list[SimConnection] = []
        self.locks: list[FileLock] = []
        self.life_id: Callable[[], str] = lambda: ""

    def point(self, what: str) -> None:
        """A touch of the world. Raises Crashed when the life is dead, or dies here."""
        if not self.dead:
            self._on_point(self, what)
        if self.dead:
            raise Crashed(what)

    def bury(self) -> None:
        """What the kernel does for a dead process: close its files, commit nothing."""
        for connection in self.connections:
            sqlite3.Connection.close(connection)
        for lock in self.locks:
            lock.close()

    def forget(self) -> None:
        """Let go of the play. A pool remembers connections that were never given back for as long
        as anything of them is in use, and through a life's connections all of it would be."""
        self._on_point = unwatched
        self.life_id = str
        self.connections, self.locks = [], []


class SimConnection(sqlite3.Connection):
    """A connection whose every statement is a seam."""

    mortal: Mortal

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """A cursor that belongs to the same life."""
        kwargs.setdefault("factory", SimCursor)
        return super().cursor(*args, **kwargs)

    def execute(self, *args: Any) -> Any:
        """Run a statement."""
        self.mortal.point("sql")
        return super().execute(*args)

    def commit(self) -> None:
        """Commit, with a point on either side: the reply to a COMMIT can be lost with the life."""
        if self.in_transaction:
            self.mortal.point("before commit")
            super().commit()
            self.mortal.point("after commit")

    def rollback(self) -> None:
        """Roll back; a dead life does not even do that."""
        if not self.mortal.dead:
            super().rollback()

    def close(self) -> None:
        """Close; a dead life's files are closed by the kernel."""
        if not self.mortal.dead:
            super().close()


class SimCursor(sqlite3.Cursor):
    """A cursor whose statements are points between the statements of a commit."""

    def execute(self, *args: Any) -> Any:
        """Run a statement."""
        _mortal(self.connection).point("sql")
        return super().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """Run a statement for many rows."""
        _mortal(self.connection).point("sql many")
        return super().executemany(*args)


def _mortal(connection: sqlite3.Connection) -> Mortal:
    assert isinstance(connection, SimConnection)
    return connection.mortal


def attach(engine: sa.Engine, mortal: Mortal) -> None:
    """Make all connections of an engine those of one life."""
    kind = type("LifeConnection", (SimConnection,), {"mortal": mortal})

    def connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        del record
        made = dialect.connect(*arguments, **(options | {"factory": kind}))
        # No disk is being tested here, only the order of writes: a crash loses what was not
        # committed, which is decided by where the write-ahead log ends.
        mortal.connections.append(made)
        return made

    event.listen(engine, "do_connect", connect)


def mortal_clock(mortal: Mortal, clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """A clock whose every reading is a point."""

    def read() -> datetime:
        mortal.point("clock")
        return clock()

    return read


class SimLock:
    """A life's lock, with points around what it does."""

    def __init__(self, lock: FileLock, mortal: Mortal) -> None:
        self._lock, self._mortal = lock, mortal
        mortal.locks.append(lock)

    def alive(self) -> bool:
        """Whether it is held."""
        self._mortal.point("lock")
        return self._lock.alive()

    def release(self) -> None:
        """Give it up."""
        self._mortal.point("lock")
        self._lock.release()


class SimLives(Lives):
    """The worker table and lock files of one life's view."""

    mortal: Mortal

    def lock(self, life: Life) -> LifeLock:
        """Take a lock, with a point on either side."""
        self.mortal.point("lock")
        lock = super().lock(life)
        assert isinstance(lock, FileLock)
        made = SimLock(lock, self.mortal)
        self.mortal.point("lock")
        return made

    def clear(self, life_id: str) -> None:
        """Remove the file of a dead life."""
        self.mortal.point("lock")
        super().clear(life_id)
