"""Views for people who prefer SQL: what they show, who may read them, and that they are there."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from support import NOW, POSTGRESQL, SQLITE, Bench, response, seen

from ledger.core.alphabet import Source
from ledger.errors import SchemaMismatch
from ledger.store import views
from ledger.store.engine import open_engine
from ledger.store.migrate import upgrade
from ledger.store.schema import Fit, inspect
from ledger.store.schema_page import ROLE
from ledger.store.store import Store


def failed(bench: Bench) -> int:
    """A run that upstream failed a minute after it was sent."""
    facts = bench.sending(model="gpt-5", tags={"team": "search"}, key="memo:1")
    bench.now = NOW + timedelta(seconds=60)
    error = {"code": "server_error", "message": "it broke"}
    bench.take(facts, seen(response("failed", error=error)), source=Source.create)
    return facts.run.id


def test_the_views_show_runs_attempts_and_failures(bench: Bench) -> None:
    """With plain names, and numbers and times that both databases read alike."""
    run_id = failed(bench)
    bench.completed(model="gpt-5")
    names = "run_id, run_key, status, profile, model, attempts, error_code, took_seconds"
    with bench.store.reading() as connection:
        runs = connection.exec_driver_sql(f"SELECT {names} FROM v_runs ORDER BY run_id").all()
        [attempt, _] = connection.exec_driver_sql(
            "SELECT run_id, attempt, outcome, error_code, error_origin, seconds FROM v_attempts "
            "ORDER BY run_id"
        ).all()
        [failure] = connection.exec_driver_sql(
            "SELECT run_id, outcome, error_message, run_status, model FROM v_failures "
            "WHERE failed_at >= '2026-03-01 12:01:00'"
        ).all()

    wanted = (run_id, "memo:1", "failed", "default", "gpt-5", 1, "server_error", 60.0)
    assert wanted == tuple(runs[0])
    assert 2 == len(runs)
    assert (run_id, 1, "failed", "server_error", "remote", 60.0) == tuple(attempt)
    assert (run_id, "failed", "it broke", "failed", "gpt-5") == tuple(failure)


def test_a_view_that_is_gone_or_another_is_named_and_made_anew(database_url: str) -> None:
    """Opening compares them, and an upgrade mends them."""
    for change in ("DROP VIEW v_failures", "CREATE VIEW v_failures AS SELECT 1 AS one"):
        engine = open_engine(database_url)
        with engine.execution_options(write=True).begin() as connection:
            connection.exec_driver_sql("DROP VIEW v_failures")
            if change.startswith("CREATE"):
                connection.exec_driver_sql(change)
        status = inspect(engine)
        assert (Fit.damaged, ("v_failures",)) == (status.fit, status.missing)
        with pytest.raises(SchemaMismatch, match="v_failures"):
            Store.open(database_url)
        upgrade(database_url)
        assert Fit.current == inspect(engine).fit
        engine.dispose()


@POSTGRESQL
def test_the_role_of_the_page_reads_the_views_alone(bench: Bench, database_url: str) -> None:
    """It sees runs, and neither the tables nor a way to write; an upgrade leaves it its rights."""
    run_id = failed(bench)
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS runward_reader")
        connection.exec_driver_sql(ROLE)
        views.install(connection)
    engine.dispose()
    reader = open_engine(str(make_url(database_url).set(username="runward_reader")))
    try:
        with reader.connect() as connection:
            assert run_id == connection.exec_driver_sql("SELECT run_id FROM v_failures").scalar()
        for statement in (
            "SELECT id FROM run",
            "SELECT body FROM payload",
            "CREATE TABLE x (y int)",
        ):
            with (
                reader.connect() as connection,
                pytest.raises(sa.exc.DBAPIError, match=r"permission denied|read-only"),
            ):
                connection.exec_driver_sql(statement)
    finally:
        reader.dispose()
        engine = open_engine(database_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY runward_reader")
            connection.exec_driver_sql("DROP ROLE runward_reader")
        engine.dispose()


@SQLITE
def test_a_file_opened_read_only_shows_the_views_and_takes_nothing(bench: Bench) -> None:
    """While the ledger is open, as the page says."""
    run_id = failed(bench)
    connection = sqlite3.connect(f"file:{bench.store.path}?mode=ro", uri=True)
    try:
        assert [(run_id,)] == connection.execute("SELECT run_id FROM v_runs").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("UPDATE run SET calls = 7")
    finally:
        connection.close()
