"""Commits that survive bad records, deadlocks and a connection lost in COMMIT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger.clock import rest
from ledger.errors import DatabaseError, RunwardError
from ledger.store.batch import BATCH, Batch, bad_record
from ledger.store.checkpoint import Checkpoints
from ledger.store.engine import file_of
from ledger.store.records import Decision, Record, Rejected, Result
from ledger.store.storage import remedy

TRIES_MAX: Final = 6
RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})
T = TypeVar("T")


class Committer:
    """Owns the connection that writes. One thread at a time."""

    def __init__(
        self, engine: sa.Engine, batch: Batch, checkpoints: Checkpoints | None = None
    ) -> None:
        self._engine = engine.execution_options(write=True)
        self._batch = batch
        self._checkpoints = checkpoints
        self._connection: sa.Connection | None = None

    @property
    def connection(self) -> sa.Connection:
        """The writing connection, opened again after it was lost."""
        if self._connection is None or self._connection.closed:
            self._connection = self._engine.connect()
        return self._connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self, records: Sequence[Record], now: datetime) -> list[Result]:
        """Write the records in one transaction. Raises DatabaseError if none could be written."""
        return self._persist(lambda: self._all(records, now))

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Any other short transaction. Raises DatabaseError."""

        def once() -> T:
            with self.connection.begin():
                return work(self.connection)

        return self._persist(once)

    def data_version(self) -> int | None:
        """SQLite's count of other connections' commits; None elsewhere."""
        if self._engine.dialect.name != "sqlite":
            return None
        # Outside any transaction: inside one the answer is frozen.
        return int(self._driver().execute("PRAGMA data_version").fetchone()[0])

    def tidy(self) -> None:
        """Between two transactions: keep the write-ahead log small."""
        if self._checkpoints is not None:
            self._checkpoints.run_if_due(self._driver())

    def _driver(self) -> Any:
        return self.connection.connection.driver_connection

    def _persist(self, once: Callable[[], T]) -> T:
        for attempt in range(TRIES_MAX):
            try:
                return once()
            except sa.exc.DBAPIError as error:
                if not self._again(error) or attempt == TRIES_MAX - 1:
                    raise failed(self._engine.url, error) from error
                rest(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    def _again(self, error: sa.exc.DBAPIError) -> bool:
        """Whether the transaction is known not to have happened and may succeed next time."""
        self._discard()
        state = getattr(error.orig, "sqlstate", None)
        lost = error.connection_invalidated or state in ("57P01", "57P02", "57P03")
        return lost or state in RETRYABLE or "locked" in str(error.orig)

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _all(self, records: Sequence[Record], now: datetime) -> list[Result]:
        try:
            return self._once(records, now, self._together)
        except Exception as error:
            if not _may_be_one_record(error):
                raise
            # One record is bad: find it, keep the rest.
            return self._once(records, now, self._one_by_one)

    def _once(
        self,
        records: Sequence[Record],
        now: datetime,
        write: Callable[[Sequence[Record], datetime], list[Result]],
    ) -> list[Result]:
        transaction = self.connection.begin()
        try:
            results = write(records, now)
            uid = self._batch.mark(self.connection, now)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except sa.exc.DBAPIError:
            if not self._happened(uid, now):
                raise
        return results

    def _happened(self, uid: str, now: datetime) -> bool:
        """Whether the batch is there, asked over a fresh connection until there is an answer.

        Raises DatabaseError without one: to write again unasked might write twice.
        """
        for attempt in range(TRIES_MAX):
            self._discard()
            rest(0.02 * 2**attempt)
            try:
                return self._taken(uid, now)
            except sa.exc.DBAPIError:
                continue
        raise DatabaseError("the connection broke in COMMIT; whether it happened is not known yet")

    def _taken(self, uid: str, now: datetime) -> bool:
        """Whether another transaction has this uid. Asked by insert: that waits for a COMMIT which
        the server is still at work on, where a read would not see it."""
        transaction = self.connection.begin()
        try:
            self.connection.execute(sa.insert(BATCH), {"uid": uid, "committed_at": now})
        except sa.exc.IntegrityError:
            return True
        finally:
            transaction.rollback()
        return False

    def _together(self, records: Sequence[Record], now: datetime) -> list[Result]:
        return self._batch.write(self.connection, records, now)

    def _one_by_one(self, records: Sequence[Record], now: datetime) -> list[Result]:
        return [self._alone(record, now) for record in records]

    def _alone(self, record: Record, now: datetime) -> Result:
        try:
            with self.connection.begin_nested():
                return self._batch.write(self.connection, [record], now)[0]
        except RunwardError as error:
            return Rejected(error)
        except Exception as error:
            if not _may_be_one_record(error):
                raise
            if isinstance(record, Decision):
                with self.connection.begin_nested():
                    self._batch.flag(self.connection, record, error, now)
            return Rejected(bad_record(error))


def _may_be_one_record(error: Exception) -> bool:
    """Whether the cause may lie in a record, and not in the database or the way to it."""
    if not isinstance(error, sa.exc.DBAPIError):
        return not isinstance(error, DatabaseError)
    state = getattr(error.orig, "sqlstate", None) or ""
    # PostgreSQL's class 54: a value too large for an index, and the like.
    told = not isinstance(error, sa.exc.OperationalError) or state.startswith("54")
    return told and not error.connection_invalidated


def failed(url: sa.URL, error: sa.exc.DBAPIError) -> DatabaseError:
    """What the driver said, without statement and parameters, and what to do about it."""
    text = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else ""
    message = f"the database failed: {type(error.orig).__name__}: {text}"[:300]
    return DatabaseError(message, hint=remedy(file_of(url), text))
