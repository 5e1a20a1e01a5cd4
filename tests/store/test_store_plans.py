"""The statements that run all the time keep their indexes, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from support import NOW, Bench

from ledger.store import direct
from ledger.store.claims import claim, owned
from ledger.store.facts import load_facts
from ledger.store.following import Place, page_after
from ledger.store.queries import events_of, find_run
from ledger.store.tables import Table

TABLES = Table.metadata.tables
Query = Callable[[sa.Connection], Any]


def plans(bench: Bench, query: Query) -> list[tuple[str, str]]:
    """The statements that a query sends, each with the database's plan for it."""
    sent: list[tuple[str, Any]] = []
    postgres = bench.store.dialect == "postgresql"
    explain = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA busy_timeout")):
            sent.append((statement, parameters))

    send = direct._run

    def note_direct(connection: Any, statement: str, how: str, values: Any, rows: bool) -> Any:
        note(connection, None, statement, values)
        return send(connection, statement, how, values, rows)

    with (
        pytest.MonkeyPatch.context() as patch,
        bench.store.engine.execution_options(write=True).connect() as connection,
    ):
        if postgres:
            # Small tables are scanned whatever there is; the question is what can be used.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        event.listen(connection, "before_cursor_execute", note)
        patch.setattr(direct, "_run", note_direct)
        query(connection)
        patch.undo()
        event.remove(connection, "before_cursor_execute", note)
        found = []
        for statement, parameters in sent:
            rows = connection.exec_driver_sql(explain + statement, parameters)
            lines = [str(row[-1]) for row in rows]
            # The values themselves come as a list that has no index, and needs none.
            found.append((statement, "\n".join(x for x in lines if "json_each" not in x)))
        connection.rollback()
    return found


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """A bench with enough runs for a plan to matter."""
    bench.submit_many(500)
    bench.execute("UPDATE watch SET owner = 'other' WHERE run_id % 3 <> 0")
    bench.execute("ANALYZE")
    return bench


@pytest.mark.parametrize("dead", [[], ["other", "gone"]], ids=["nobody dead", "two dead"])
def test_the_claim_uses_the_index_of_owners(filled: Bench, dead: list[str]) -> None:
    """A claim finds its runs by the index of owners, never in the table."""
    found = plans(filled, lambda c: claim(c, "me", dead=dead, limit=10, now=NOW))
    [plan] = [plan for statement, plan in found if "UPDATE watch" in statement]

    assert "ix_watch_owner_due_at" in plan
    assert "Seq Scan on watch" not in plan


def test_a_claim_without_dead_lives_reads_only_free_runs(filled: Bench) -> None:
    """The ordinary claim reads its part of the index, in order, and stops at its limit."""
    found = plans(filled, lambda c: claim(c, "me", dead=[], limit=10))
    [plan] = [plan for statement, plan in found if "UPDATE watch" in statement]

    assert "SCAN watch" not in plan
    assert "TEMP B-TREE" not in plan


def test_what_a_life_owns_is_found_by_index(filled: Bench) -> None:
    """The review of a life's own runs reads its part of the index alone."""
    [(_, plan)] = plans(filled, lambda c: owned(c, "other"))

    assert "ix_watch_owner_due_at" in plan


def test_one_run_is_read_by_its_keys(filled: Bench) -> None:
    """Loading facts and events touches the rows of that run alone."""

    def read(connection: sa.Connection) -> None:
        load_facts(connection, [7])
        events_of(connection, 7)
        find_run(connection, "7")

    found = plans(filled, read)
    assert {"run", "attempt", "remote", "tool_call", "evidence", "watch"} <= {
        table for table in TABLES for statement, _ in found if f'FROM "{table}"' in statement
    }
    for statement, plan in found:
        assert "Seq Scan" not in plan, statement
        assert "SCAN" not in plan, statement


def test_the_log_is_followed_along_an_index(filled: Bench) -> None:
    """A follower that is near the end costs little, however long the log is."""
    found = plans(filled, lambda c: page_after(c, Place(1, 1)))
    [plan] = [plan for statement, plan in found if "following" in statement]
    index = {"sqlite": "PRIMARY KEY (rowid>?", "postgresql": "ix_event_txid"}

    assert index[filled.store.dialect] in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan
