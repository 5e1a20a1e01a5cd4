"""Lives and the proof of their death: a lock that dies with the process.

SQLite: one lock file per life beside the database, held by flock. A free lock is proof, and the
dead life's runs are claimed at once. PostgreSQL: a session advisory lock. A free lock proves a dead
*connection* only, so it counts together with a stale heartbeat, or with a process that is gone from
the same host and boot. A lock still held counts as dead once its lease has run out on the one clock
that all lives share: CLOCK_BOOTTIME for a file, the database's clock for a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sys
import weakref
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa

from ledger.clock import boot_id, boottime, monotonic
from ledger.core.alphabet import LifeEventKind
from ledger.errors import DatabaseError, LeaseLost
from ledger.store.life_events import note
from ledger.store.rows import table_of
from ledger.store.storage import remedy
from ledger.store.tables import WorkerRow

WORKER = table_of(WorkerRow)
LEASE_SECONDS: Final = 30.0
STALE_HEARTBEAT_SECONDS: Final = 3.0
ROWS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One start of one worker process."""

    id: str
    role: str
    version: str
    lease_seconds: float = LEASE_SECONDS


class Standing(StrEnum):
    """How the worker table sees a life."""

    alive = "alive"
    draining = "draining"
    dead = "dead"


class LifeLock(Protocol):
    """A lock held as long as this process lives."""

    def alive(self) -> bool:
        """Whether the lock is certainly still held."""
        ...

    def release(self) -> None:
        """Give it up."""
        ...


class FileLock:
    """flock on a file of its own; closed in forked children, which would keep it otherwise."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file: Any = path.open("w")
        fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        _HELD.add(self)

    def alive(self) -> bool:
        """A file lock is lost only with the process."""
        return self._file is not None

    def release(self) -> None:
        """Remove the file and give up the lock."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file; in a forked child, without taking the lock from the parent."""
        if self._file is not None:
            self._file.close()
            self._file = None


_HELD: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_HELD):
        lock.close()


os.register_at_fork(after_in_child=_close_in_child)


class AdvisoryLock:
    """A session advisory lock on a connection that does nothing else."""

    def __init__(self, engine: sa.Engine, life_id: str) -> None:
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # Never waiting: who still holds it may be a session that the server has not given up yet.
        asked = "SELECT pg_try_advisory_lock(%s)"
        if not self._connection.exec_driver_sql(asked, (lock_key(life_id),)).scalar():
            self.release()
            raise LeaseLost("another session holds the lock of this life")

    def alive(self) -> bool:
        """Ask over the lock's own connection: no answer means that the lock may be gone."""
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except sa.exc.SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        """Close the connection; the server drops the lock with it."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._connection.invalidate()
        self._connection.close()


def lock_key(life_id: str) -> int:
    """The advisory lock's number for one life."""
    return int.from_bytes(hashlib.sha256(life_id.encode()).digest()[:8], "big", signed=True)


_END = sa.select(WORKER.c.ended_at).where(WORKER.c.id == sa.bindparam("life")).with_for_update()


def has_ended(connection: sa.Connection, life_id: str) -> bool:
    """Locks the row: who ends the life at this moment waits, and then finds what it took. An ended
    life is not judged again: what it takes would be nobody's for ever."""
    return connection.execute(_END, {"life": life_id}).scalar() is not None


class Lives:
    """The worker table and the locks behind it."""

    def __init__(self, engine: sa.Engine, folder: Path | None) -> None:
        self._engine = engine
        self._folder = folder

    def lock(self, life: Life) -> LifeLock:
        """Take the lock of a new life, before its row is written."""
        if self._folder is not None:
            path = self._folder / f"{life.id}.lock"
            try:
                return FileLock(path)
            except OSError as error:
                what = f"the lock of this life cannot be made: {error.strerror}: {path}"
                database = self._folder.with_suffix("")
                raise DatabaseError(what, hint=remedy(database, str(error))) from None
        return AdvisoryLock(self._engine, life.id)

    def begin(
        self, connection: sa.Connection, life: Life, now: datetime, was: str | None = None
    ) -> None:
        """Write the row of a new life; `was` is its name until others declared it dead."""
        beat = self.lease_clock(connection)
        row = {
            "id": life.id,
            "role": life.role,
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "pid_started": pid_started(os.getpid()),
            "version": life.version,
            "started_at": now,
            "heartbeat_at": now,
            "beat": beat,
            "lease_until": beat + life.lease_seconds,
            "drain": False,
        }
        connection.execute(sa.insert(WORKER), row)
        kind = LifeEventKind.reborn if was else LifeEventKind.started
        detail = {name: row[name] for name in ("role", "version", "pid")}
        note(connection, kind, at=now, life=life.id, detail=detail | ({"was": was} if was else {}))

    def beat(self, connection: sa.Connection, life: Life, now: datetime) -> Standing:
        """Renew the lease, and say how the other lives see this one."""
        beat = self.lease_clock(connection)
        statement = (
            sa.update(WORKER)
            .where(WORKER.c.id == life.id, WORKER.c.ended_at.is_(None))
            .values(heartbeat_at=now, beat=beat, lease_until=beat + life.lease_seconds)
            .returning(WORKER.c.drain)
        )
        drain = connection.execute(statement).scalar()
        if drain is None:
            return Standing.dead
        return Standing.draining if drain else Standing.alive

    def end(self, connection: sa.Connection, life_id: str, how: str, now: datetime) -> None:
        """Write how a life ended by itself; the first account stays."""
        if self._ended(connection, life_id, how, now) is not None:
            note(connection, LifeEventKind.stopped, at=now, life=life_id, detail={"how": how})

    def end_dead(
        self, connection: sa.Connection, life_id: str, now: datetime
    ) -> sa.Row[Any] | None:
        """End a life that is dead for certain; its row, unless another has ended it."""
        return self._ended(connection, life_id, "died", now)

    def _ended(
        self, connection: sa.Connection, life_id: str, how: str, now: datetime, *more: Any
    ) -> sa.Row[Any] | None:
        statement = (
            sa.update(WORKER)
            .where(WORKER.c.id == life_id, WORKER.c.ended_at.is_(None), *more)
            .values(ended_at=now, end=how)
            .returning(WORKER.c.role, WORKER.c.host, WORKER.c.pid, WORKER.c.heartbeat_at)
        )
        return connection.execute(statement).first()

    def end_overdue(
        self, connection: sa.Connection, life_id: str, now: datetime
    ) -> sa.Row[Any] | None:
        """End a life whose lease has run out, unless it has renewed it; its row, if it is over."""
        late = WORKER.c.lease_until < self.lease_clock(connection)
        return self._ended(connection, life_id, "overdue", now, late)

    def forget(self, connection: sa.Connection, before: datetime) -> None:
        """Drop the rows of lives that ended before."""
        connection.execute(sa.delete(WORKER).where(WORKER.c.ended_at < before))

    def clear(self, life_id: str) -> None:
        """Remove the lock file that a dead life left behind."""
        if self._folder is not None:
            (self._folder / f"{life_id}.lock").unlink(missing_ok=True)

    def alive(self, connection: sa.Connection) -> list[sa.Row[Any]]:
        """The rows of lives that nobody has declared ended."""
        return list(connection.execute(sa.select(WORKER).where(WORKER.c.ended_at.is_(None))).all())

    def rows(self, connection: sa.Connection, *, everything: bool) -> list[sa.Row[Any]]:
        """All lives, or those that nobody has declared ended; the newest first."""
        statement = sa.select(WORKER).order_by(WORKER.c.started_at.desc()).limit(ROWS_MAX)
        if not everything:
            statement = statement.where(WORKER.c.ended_at.is_(None))
        return list(connection.execute(statement).all())

    def ask_to_drain(self, connection: sa.Connection, prefix: str) -> list[str]:
        """Ask lives to drain by the beginning of their id; returns whom."""
        statement = (
            sa.update(WORKER)
            .where(WORKER.c.id.startswith(prefix, autoescape=True), WORKER.c.ended_at.is_(None))
            .values(drain=True)
            .returning(WORKER.c.id)
        )
        return [row[0] for row in connection.execute(statement)]

    def judge(self, connection: sa.Connection, life_id: str) -> tuple[list[str], list[str]]:
        """(dead for certain, lease run out) among the other lives."""
        clock = self.lease_clock(connection)
        dead, overdue = [], []
        held = self._held(connection)
        for row in self.alive(connection):
            if row.id == life_id:
                continue
            if self._dead(row, clock, held):
                dead.append(row.id)
            elif clock > row.lease_until:
                overdue.append(row.id)
        return dead, overdue

    def lease_clock(self, connection: sa.Connection) -> float:
        """Seconds on the clock that all lives of this database share."""
        if self._folder is not None:
            return boottime()
        statement = "SELECT extract(epoch FROM clock_timestamp())::float8"
        return float(connection.exec_driver_sql(statement).scalar_one())

    def _held(self, connection: sa.Connection) -> frozenset[int]:
        """The advisory locks that some session holds."""
        if self._folder is not None:
            return frozenset()
        rows = connection.exec_driver_sql(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = "
            "'advisory' AND objsubid = 1 AND granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return frozenset(row[0] for row in rows)

    def _dead(self, row: sa.Row[Any], clock: float, held: frozenset[int]) -> bool:
        here = row.host == socket.gethostname() and row.boot_id == boot_id()
        if self._folder is not None:
            return row.boot_id != boot_id() or lock_is_free(self._folder / f"{row.id}.lock")
        if lock_key(row.id) in held:
            return False
        gone = here and pid_started(row.pid) != row.pid_started
        return bool(gone or clock - row.beat > STALE_HEARTBEAT_SECONDS)


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock; a file that is not there is held by nobody."""
    try:
        with path.open() as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def pid_started(pid: int) -> str:
    """When the process with this number started, in the kernel's ticks; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if sys.platform == "linux" else "unknown"
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


class Pulse:
    """When this life last proved that it may act, on this process's monotonic clock."""

    def __init__(self, lock: LifeLock, lease_seconds: float) -> None:
        self._lock = lock
        self._lease_seconds = lease_seconds
        self._beaten = monotonic()

    def beaten(self) -> None:
        """A heartbeat was committed."""
        self._beaten = monotonic()

    def may_act(self) -> bool:
        """Whether two thirds of the lease have not passed since the last heartbeat."""
        return monotonic() - self._beaten < self._lease_seconds * 2 / 3

    def lock_alive(self) -> bool:
        """Whether the lock is certainly still held."""
        return self._lock.alive()
