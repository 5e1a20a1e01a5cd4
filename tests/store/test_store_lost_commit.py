"""Connections that break at the worst moment, deadlocks, and who is told what."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from support import POSTGRESQL, Bench, note, response, seen

from ledger.clock import wait_until
from ledger.core.alphabet import EventKind, Source
from ledger.core.model import Change, Facts
from ledger.errors import DatabaseError
from ledger.store.queries import events_of
from ledger.store.records import Decision, Written

Commit = Callable[[Any], None]


class BrokenCommits:
    """Breaks the next COMMITs of a bench's engine, before or after the server did them."""

    def __init__(self, bench: Bench, patch: pytest.MonkeyPatch) -> None:
        self.after: list[bool] = []
        self._real: Commit = bench.store.engine.dialect.do_commit
        patch.setattr(bench.store.engine.dialect, "do_commit", self._commit)

    def _commit(self, connection: Any) -> None:
        if not self.after:
            self._real(connection)
            return
        if self.after.pop(0):
            self._real(connection)
        else:
            connection.rollback()
        driver = connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            raise sqlite3.OperationalError("database is locked")
        driver.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.fixture
def broken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> BrokenCommits:
    return BrokenCommits(bench, monkeypatch)


def kinds(bench: Bench, run_id: int) -> list[EventKind]:
    """The kinds of a run's events."""
    return [event.kind for event in bench.store.read(lambda c: events_of(c, run_id))]


@pytest.mark.problem(13, 22)
@pytest.mark.parametrize("happened", [True, False], ids=["happened", "did not happen"])
def test_a_connection_lost_in_commit_loses_and_doubles_nothing(
    bench: Bench, broken: BrokenCommits, happened: bool
) -> None:
    """After a lost COMMIT the batch is there exactly once, and its callers are told so."""
    [noted] = bench.submit_many(1)
    broken.after = [happened]
    results = bench.commit_all(
        [
            bench.submission(key="k"),
            Decision(run_id=noted.run.id, decide=note, change=note(noted)),
        ]
    )

    submitted, decided = results
    assert isinstance(submitted, Written)
    assert submitted.created
    assert isinstance(decided, Written)
    assert [EventKind.accepted, EventKind.noted] == kinds(bench, noted.run.id)
    assert 2 == bench.scalar("SELECT count(*) FROM run")
    assert () == bench.verify().broken


@pytest.mark.problem(22)
def test_a_create_is_journalled_once_although_commits_break(
    bench: Bench, broken: BrokenCommits
) -> None:
    """Neither the intent nor the confirmation of a create is doubled by broken commits."""
    facts = bench.owned()
    broken.after = [True, False]
    armed = bench.arm(facts)
    assert isinstance(armed, Written)
    broken.after = [False, True]
    after = bench.take(armed.facts, seen(response()), source=Source.create)

    wanted = [EventKind.accepted, EventKind.create_sending, EventKind.create_confirmed]
    assert wanted == kinds(bench, facts.run.id)
    assert after == bench.facts(facts.run.id)


@pytest.mark.problem(22)
def test_a_batch_is_not_written_again_before_its_fate_is_known(
    bench: Bench, broken: BrokenCommits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the question also fails, it is asked again; nothing is written meanwhile."""
    facts = bench.submit()
    failures = [sa.exc.OperationalError("ask", {}, Exception("connection refused"))] * 2
    asked = bench.committer._taken

    def ask(*args: Any) -> bool:
        if failures:
            raise failures.pop()
        return asked(*args)

    monkeypatch.setattr(bench.committer, "_taken", ask)
    broken.after = [True]
    [result] = bench.commit_all([Decision(run_id=facts.run.id, decide=note, change=note(facts))])

    assert isinstance(result, Written)
    assert [EventKind.accepted, EventKind.noted] == kinds(bench, facts.run.id)


def test_an_error_that_is_not_a_lost_connection_is_raised_without_parameters(bench: Bench) -> None:
    """What cannot be retried becomes a DatabaseError that shows no values."""

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT nothing FROM nowhere WHERE a = :a"), {"a": "secret"})

    with pytest.raises(DatabaseError) as caught:
        bench.committer.run(fail)
    assert "secret" not in str(caught.value)
    assert 1 == bench.committer.run(lambda c: c.execute(sa.text("SELECT 1")).scalar())


# PostgreSQL alone: SQLite has one writer, hence no deadlocks, and no server to lose.


@pytest.mark.problem(22)
@POSTGRESQL
def test_a_backend_that_is_terminated_costs_nothing(bench: Bench) -> None:
    """A connection killed in the middle of a transaction is replaced, and the batch written."""
    facts = bench.submit()
    killed: list[int] = []

    def decide(fresh: Facts) -> Change:
        if not killed:
            driver = bench.committer.connection.connection.driver_connection
            killed.append(driver.info.backend_pid)  # type: ignore[union-attr]
            bench.scalar("SELECT pg_terminate_backend(:pid)", pid=killed[0])
        return note(fresh)

    [result] = bench.commit_all([Decision(run_id=facts.run.id, decide=decide)])

    assert isinstance(result, Written)
    assert [EventKind.accepted, EventKind.noted] == kinds(bench, facts.run.id)


@pytest.mark.problem(24)
@POSTGRESQL
def test_a_deadlock_is_retried(bench: Bench, make_bench: Callable[[], Bench]) -> None:
    """The victim of a deadlock does its transaction again, whole."""
    low, high = (facts.run.id for facts in bench.submit_many(2))
    name = bench.scalar("SELECT current_database()")
    bench.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    ours, tries = make_bench(), []
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = :n"
    )

    def lock(connection: sa.Connection, run_id: int) -> None:
        statement = (
            "UPDATE run SET error_message = coalesce(error_message, '') || 'x' WHERE id = :id"
        )
        connection.execute(sa.text(statement), {"id": run_id})

    def victim(connection: sa.Connection) -> None:
        tries.append(1)
        lock(connection, low)
        locked.set()
        assert wait_until(lambda: len(tries) > 1 or bench.scalar(waiting, n=name) == 1, seconds=9)
        lock(connection, high)

    def other() -> None:
        with bench.store.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '60s'")
            lock(connection, high)
            locked.wait(9)
            lock(connection, low)

    locked = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    ours.committer.run(victim)
    thread.join()

    assert 2 == len(tries)
    assert ["xx", "xx"] == [bench.facts(run_id).run.error_message for run_id in (low, high)]


@POSTGRESQL
def test_a_serialization_failure_is_retried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that the server could not order is written again."""
    facts = bench.submit()
    dialect = bench.store.engine.dialect
    real, failures = dialect.do_commit, [psycopg.errors.SerializationFailure("retry")]

    def commit(connection: Any) -> None:
        if failures:
            connection.rollback()
            raise failures.pop()
        real(connection)

    monkeypatch.setattr(dialect, "do_commit", commit)
    [result] = bench.commit_all([Decision(run_id=facts.run.id, decide=note, change=note(facts))])

    assert isinstance(result, Written)
    assert [EventKind.accepted, EventKind.noted] == kinds(bench, facts.run.id)
