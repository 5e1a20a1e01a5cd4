"""Engines: one way to open each database, with the settings that durability rests on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url

from ledger.clock import monotonic, rest
from ledger.errors import ConfigurationError, DatabaseError, UnsupportedDatabase
from ledger.store.direct import execute
from ledger.store.storage import frozen, remedy

BUSY_MILLISECONDS = 30_000
TURN_SECONDS = 0.0005
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "fuse.sshfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
    }
)
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that is gone is noticed in seconds: a half-open connection would hang a life."""
SQLITE_OLDEST = (3, 38, 0)


def parse_url(url: str) -> sa.URL:
    """A database URL as people write it. Raises ConfigurationError, without the password."""
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "the database URL cannot be read; write sqlite:///path/to/runs.db or postgresql://…"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or "\x00" in str(parsed.database):
            raise ConfigurationError("a ledger needs a file: sqlite:///path/to/runs.db")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigurationError(f"{backend} is not supported; use sqlite:/// or postgresql://")


def open_engine(url: str, *, migrating: bool = False, pooled: bool = True) -> sa.Engine:
    """An engine for `url`. Raises ConfigurationError or UnsupportedDatabase.

    Unpooled is for connections that are kept, as locks and LISTEN are: they use up no pool.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, migrating=migrating)
    try:
        if not pooled:
            return sa.create_engine(
                parsed, poolclass=sa.NullPool, connect_args=PATIENCE, hide_parameters=True
            )
        return sa.create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=5,
            connect_args=PATIENCE,
            hide_parameters=True,
        )
    except ModuleNotFoundError:
        raise ConfigurationError(
            "PostgreSQL needs a driver", hint="pip install 'runward[postgres]'"
        ) from None


@contextmanager
def in_words(url: sa.URL) -> Iterator[None]:
    """What goes wrong on opening a database, as one line to show. Raises DatabaseError."""
    try:
        yield
    except (sa.exc.DBAPIError, OSError) as error:
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        line = (str(said).strip().splitlines() or [""])[0]
        hint = remedy(file_of(url), line)
        raise DatabaseError(f"the database cannot be opened: {line}"[:300], hint=hint) from None


def sqlite_path(url: sa.URL) -> Path:
    """The file behind a SQLite URL."""
    return Path(str(url.database)).absolute()


def file_of(url: sa.URL) -> Path | None:
    """The file of a SQLite database; None for a server."""
    return sqlite_path(url) if url.get_backend_name() == "sqlite" else None


def _open_sqlite(url: sa.URL, *, migrating: bool) -> sa.Engine:
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        raise UnsupportedDatabase(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 is needed")
    path = sqlite_path(url)
    if path.is_dir():
        raise ConfigurationError(f"the database {path} is a folder; name a file in it")
    _refuse_network(path)
    _make_folder(path)
    engine = sa.create_engine(
        url.set(database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_MILLISECONDS / 1000},
        hide_parameters=True,
        **_frozen_in_time(path),
    )
    event.listen(engine, "connect", lambda connection, _: _configure(connection, migrating))
    event.listen(engine, "begin", _begin)
    return engine


def _frozen_in_time(path: Path) -> dict[str, Any]:
    """On read-only storage SQLite cannot make the files that readers share. A database that
    nobody has open needs none: it is read as it lies there."""
    if not frozen(path):
        return {}
    address = path.as_uri() + "?immutable=1"
    return {"creator": lambda: sqlite3.connect(address, uri=True, check_same_thread=False)}


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder of the database cannot be made: {path.parent}: {error.strerror}"
        ) from None


def _configure(connection: Any, migrating: bool) -> None:
    connection.isolation_level = None  # the driver no longer guesses where a transaction begins
    enforce = "OFF" if migrating else "ON"
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"foreign_keys={enforce}",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "wal_autocheckpoint=0",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    # A deferred transaction that reads and then writes fails at once, whatever the busy timeout.
    if connection.get_execution_options().get("write", False):
        _take_turn(connection)
    else:
        execute(connection, "BEGIN")


def _take_turn(connection: sa.Connection) -> None:
    """Begin to write, asking every half millisecond. SQLite's own waiting sleeps for up to a tenth
    of a second at a time, and so misses the short rests of a busy writer again and again."""
    execute(connection, "PRAGMA busy_timeout=0")
    end = monotonic() + BUSY_MILLISECONDS / 1000
    try:
        while not _begun(connection, last=monotonic() >= end):
            rest(TURN_SECONDS)
    finally:
        execute(connection, f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")


def _begun(connection: sa.Connection, *, last: bool) -> bool:
    try:
        execute(connection, "BEGIN IMMEDIATE")
    except sa.exc.OperationalError as error:
        if last or getattr(error.orig, "sqlite_errorname", "") != "SQLITE_BUSY":
            raise
        return False
    return True


def _refuse_network(path: Path) -> None:
    kind = _file_system(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UnsupportedDatabase(
            f"{path} lies on a network file system ({kind}): its locks cannot be trusted",
            hint="use a local disk, or PostgreSQL",
        )


def _file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`; empty where the machine does not say."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return ""
    best, kind = "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        _, place, name, *_ = line.split(" ")
        inside = str(folder) == place or str(folder).startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, name
    return kind
