"""The store: the only floor that knows SQL, as verbs of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from ledger.clock import utcnow
from ledger.core.intent import AccountProfile
from ledger.errors import DatabaseError
from ledger.store.batch import BATCH, Batch
from ledger.store.checkpoint import Checkpoints
from ledger.store.commit import Committer, failed
from ledger.store.engine import BUSY_MILLISECONDS, in_words, open_engine, sqlite_path
from ledger.store.lives import Lives
from ledger.store.queries import ACCOUNT
from ledger.store.records import Record, Rejected, Result
from ledger.store.rows import table_of
from ledger.store.schema import Fit, inspect
from ledger.store.snapshot import Snapshot, postgres_snapshot, sqlite_snapshot
from ledger.store.tables import LedgerRow
from ledger.store.writer import ThreadWriter

T = TypeVar("T")
LEDGER = table_of(LedgerRow)


class Store:
    """One ledger's database."""

    def __init__(self, url: str, engine: sa.Engine, direct: sa.Engine | None = None) -> None:
        self.url = url
        self.engine = engine
        self.direct = direct or engine
        with self.reading() as connection:
            self.ledger_id: str = connection.execute(sa.select(LEDGER.c.id)).scalar_one()
        self.lives = Lives(self.direct, self.lives_folder)

    @classmethod
    def open(cls, url: str, *, migrate: bool = False, direct_url: str | None = None) -> Store:
        """Open a database. An empty one is migrated; an older one only with `migrate`.

        Behind a pooling proxy `direct_url` goes past it: locks and LISTEN need a session.

        Raises SchemaMismatch, UnsupportedDatabase, ConfigurationError or DatabaseError.
        """
        engine = open_engine(url)
        try:
            with in_words(engine.url):
                status = inspect(engine)
            if status.fit == Fit.empty or (migrate and status.fit in (Fit.older, Fit.damaged)):
                from ledger.store.migrate import upgrade

                upgrade(url)
            else:
                status.demand_current()
            with in_words(engine.url):
                server = engine.dialect.name == "postgresql"
                kept = open_engine(direct_url or url, pooled=False) if server else None
                return cls(url, engine, kept)
        except BaseException:
            engine.dispose()
            raise

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @property
    def path(self) -> Path | None:
        """The file of a SQLite ledger."""
        return sqlite_path(self.engine.url) if self.dialect == "sqlite" else None

    @property
    def lives_folder(self) -> Path | None:
        """Where the lock files of lives are, beside a SQLite file."""
        return self.path.with_name(self.path.name + ".lives") if self.path else None

    def committer(self) -> Committer:
        """What a writer commits with."""
        batch = Batch(self.ledger_id, self.engine.dialect)
        path = self.path
        return Committer(self.engine, batch, Checkpoints(path, BUSY_MILLISECONDS) if path else None)

    def thread_writer(self, clock: Callable[[], datetime] = utcnow) -> ThreadWriter:
        """Group commit in a thread of its own."""
        return ThreadWriter(self.committer(), clock)

    def all_or_none(
        self, records: Sequence[Record], clock: Callable[[], datetime] = utcnow
    ) -> Callable[[sa.Connection], list[Result]]:
        """Work for a writer's own transaction: if one record is refused, none is written.

        Raises the refused record's error.
        """
        batch = Batch(self.ledger_id, self.engine.dialect)

        def work(connection: sa.Connection) -> list[Result]:
            results = batch.write(connection, records, clock())
            for result in results:
                if isinstance(result, Rejected):
                    raise result.error
            return results

        return work

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state."""
        engine = self.engine
        if self.dialect == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            yield connection

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run one query. Raises DatabaseError when the database fails."""
        try:
            with self.reading() as connection:
                return query(connection)
        except sa.exc.DBAPIError as error:
            raise failed(self.engine.url, error) from error
        except sa.exc.TimeoutError:
            raise DatabaseError("all connections to the database are busy") from None

    def snapshot(self) -> Snapshot:
        """A read-only view for one call of a tool, opened by its first query."""
        return sqlite_snapshot(self.path) if self.path else postgres_snapshot(self.direct)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self.direct.dispose()


def ensure_account(
    connection: sa.Connection, name: str, profile: AccountProfile, fingerprint: str, now: datetime
) -> int:
    """The id of the account that a profile resolves to, made when it is new."""
    identity = {
        "provider": profile.provider,
        "base_url": profile.base_url,
        "project": profile.project or "",
        "fingerprint": fingerprint,
    }
    where = sa.and_(*(ACCOUNT.c[column] == value for column, value in identity.items()))
    found = connection.execute(sa.select(ACCOUNT.c.id).where(where)).scalar()
    if found is not None:
        return int(found)
    try:
        with connection.begin_nested():
            row = {**identity, "profile": name, "created_at": now}
            made = connection.execute(sa.insert(ACCOUNT).values(row).returning(ACCOUNT.c.id))
            return int(made.scalar_one())
    except sa.exc.IntegrityError:
        # Another process was quicker.
        return int(connection.execute(sa.select(ACCOUNT.c.id).where(where)).scalar_one())


def stop_account(
    connection: sa.Connection, account_id: int, why: str | None, now: datetime
) -> None:
    """Record that an account is stopped, or (why None) works again."""
    statement = (
        sa.update(ACCOUNT)
        .where(ACCOUNT.c.id == account_id)
        .values(stopped_at=now if why else None, stopped_why=why)
    )
    connection.execute(statement)


def forget_batches(connection: sa.Connection, before: datetime) -> None:
    """Drop the names of batches that nobody can be in doubt about any more."""
    connection.execute(sa.delete(BATCH).where(BATCH.c.committed_at < before))
