"""The migration runner: one at a time, all or nothing, guards made anew and compared."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from ledger.clock import monotonic, rest, utcnow
from ledger.core.alphabet import LifeEventKind
from ledger.entropy import new_id
from ledger.errors import SchemaMismatch
from ledger.store import guards, life_events, views
from ledger.store.engine import in_words, open_engine, sqlite_path
from ledger.store.rows import table_of
from ledger.store.schema import HEAD, Fit, inspect
from ledger.store.storage import frozen
from ledger.store.tables import LedgerRow, Table

log = logging.getLogger("runward")
LOCK_KEY = 0x72756E77617264
LOCK_SECONDS = 120.0


def migrations_dir() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parents[1] / "migrations"
    return packaged if packaged.is_dir() else packaged.parents[1] / "migrations"


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring the database to HEAD; returns the revisions before and after.

    Raises SchemaMismatch for a newer schema. Any number of processes may call this at once: one
    migrates, the others find it done.
    """
    engine = open_engine(url, migrating=True)
    try:
        with in_words(engine.url), _only_one(engine):
            status = inspect(engine)
            if status.fit == Fit.newer:
                status.demand_current()
            if status.fit != Fit.current:
                _migrate(engine, status.revision)
                log.info("the schema is upgraded to %s", HEAD, extra={"from": status.revision})
            inspect(engine).demand_current()
            return status.revision, HEAD
    finally:
        engine.dispose()


def _migrate(engine: sa.Engine, before: str | None) -> None:
    with engine.execution_options(write=True).begin() as connection:
        views.drop(connection)
        command.upgrade(_config(connection=connection), "head")
        guards.install(connection)
        views.install(connection)
        table = table_of(LedgerRow)
        if connection.execute(sa.select(table)).first() is None:
            row = {"id": new_id(), "created_at": utcnow()}
            connection.execute(sa.insert(table), row)
        detail = {"from": before, "to": HEAD}
        life_events.note(connection, LifeEventKind.migrated, at=utcnow(), detail=detail)
        if engine.dialect.name == "sqlite":
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise SchemaMismatch(f"the upgrade would break references: {broken[:3]}")


def differences(url: str) -> list[str]:
    """What a fully migrated database would have and this one has not."""
    engine = open_engine(url)
    try:
        with in_words(engine.url):
            status = inspect(engine)
        if status.fit != Fit.current:
            return [f"schema is {status.fit}: {status.revision}", *status.missing]
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return [str(item) for item in compare_metadata(context, Table.metadata)]
    finally:
        engine.dispose()


def offline_sql(dialect: str) -> str:
    """The statements of an upgrade from nothing, for people who run them by hand."""
    buffer = io.StringIO()
    command.upgrade(_config(output=buffer, dialect=dialect), "head", sql=True)
    made = guards.statements(dialect) | views.statements(dialect)
    triggers = [f"{statement};" for name in made for statement in made[name]]
    return buffer.getvalue() + "\n" + "\n\n".join(triggers) + "\n"


def _config(
    *,
    connection: sa.Connection | None = None,
    output: io.StringIO | None = None,
    dialect: str | None = None,
) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    if dialect is not None:
        config.attributes["dialect"] = dialect
    return config


@contextlib.contextmanager
def _only_one(engine: sa.Engine) -> Iterator[None]:
    """One migrator at a time, on a lock that dies with its process."""
    if engine.dialect.name == "sqlite":
        path = sqlite_path(engine.url)
        if frozen(path):
            # Nobody can migrate there, and that there is nothing to migrate can still be said.
            yield
            return
        with path.with_name(path.name + ".migrate").open("w") as file:
            _flock(file.fileno())
            yield
        return
    # On a connection of its own: the migration's transaction may end without dropping the lock.
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK_KEY})")
        connection.commit()
        try:
            yield
        finally:
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock({LOCK_KEY})")
            connection.commit()


def _flock(descriptor: int) -> None:
    end = monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > end:
                raise SchemaMismatch("another process has been migrating for two minutes") from None
            rest(0.05)
        else:
            return
