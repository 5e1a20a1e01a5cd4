"""What a tool's SQL may look like: one plain change of one plainly named table."""

from __future__ import annotations

from typing import Any

import pytest
from support import Bench

from ledger.errors import DatabaseError, InvalidInput
from ledger.store import snapshot
from ledger.store.statements import judge_query, judge_write, target


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("INSERT INTO stock (id) VALUES (:id)", ("stock",)),
        ("insert into Stock values (1) ON CONFLICT (id) DO UPDATE SET n = 2", ("stock",)),
        ("UPDATE app.stock SET n = 1", ("app", "stock")),
        ('DELETE FROM "App"."My ""stock""" WHERE x = \'it\'\'s; not\'', None),
        ('DELETE FROM "App"."My ""stock""" WHERE x = \'it\'\'s\'', ("App", 'My "stock"')),
        ("WITH a AS (SELECT 'update run' AS x) UPDATE stock SET n = 1", ("stock",)),
        ("WITH RECURSIVE a (i) AS (SELECT ')') DELETE FROM stock", ("stock",)),
        (
            "UPDATE job SET n = 1 WHERE id = (SELECT id FROM job LIMIT 1 FOR UPDATE SKIP LOCKED)",
            ("job",),
        ),
        ("SELECT 1", None),
        ("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE", None),
        ("WITH a AS (DELETE FROM run RETURNING id) INSERT INTO stock SELECT id FROM a", None),
        ("WITH a AS (DELETE FROM run) SELECT 1", None),
        ("WITH update AS (SELECT 1) INSERT INTO stock VALUES (1)", None),
        ("INSERT INTO stock VALUES (1) RETURNING id", None),
        ("INSERT OR ROLLBACK INTO stock VALUES (1)", None),
        ("UPDATE OR ROLLBACK stock SET n = 1", None),
        ("UPDATE ONLY run SET n = 1", None),
        ("UPDATE [run] SET n = 1", None),
        ("UPDATE `run` SET n = 1", None),
        ("UPDATE U&\"!0072un\" UESCAPE '!' SET n = 1", None),
        ("UPDATE db.app.stock SET n = 1", None),
        ("UPDATE /* stock */ run SET n = 1", None),
        ("UPDATE stock SET n = 1 -- where", None),
        ("UPDATE stock SET n = E'\\'' WHERE x = '", None),
        ("UPDATE stock SET n = $$x$$", None),
        ("UPDATE st\u00f6ck SET n = 1", None),
        ("UPDATE stock\u00a0SET n = 1", None),
        ("DELETE FROM stock; DELETE FROM run", None),
        ("REPLACE INTO stock VALUES (1)", None),
        ("MERGE INTO stock USING x ON true", None),
        ("PRAGMA writable_schema = 1", None),
        ("ATTACH 'x' AS y", None),
        ("DROP TABLE stock", None),
        ("COMMIT", None),
        ("TRUNCATE run", None),
        ("INSERT INTO", None),
        ("UPDATE", None),
        ("DELETE FROM stock WHERE x = 'open", None),
        ("", None),
        (" ", None),
    ],
)
def test_the_table_of_a_statement(sql: str, name: tuple[str, ...] | None) -> None:
    """Only what can be read in one way has a table; everything else is refused."""
    if name is not None:
        assert name == target(sql)
        return
    with pytest.raises(InvalidInput):
        target(sql)


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("DELETE FROM stock WHERE id = :id", {}),
        ("DELETE FROM stock", {"id": 1}),
        ("DELETE FROM stock WHERE id = :id", {"id": object()}),
        ("DELETE FROM stock WHERE id = :id", {"id": [1]}),
        ("DELETE FROM stock WHERE id = :id", {"id": float("nan")}),
        ("DELETE FROM stock WHERE id = :id", {"id": 2**64}),
        ("DELETE FROM stock WHERE id = :id", {"id": "\ud800"}),
        ("DELETE FROM stock WHERE id = :id", {"id": "\x00"}),
        ("DELETE FROM stock WHERE id = :id", [1]),
        ("DELETE FROM stock WHERE id = :id", {"id": "x" * 1_048_577}),
        ("DELETE FROM stock WHERE id = '" + "x" * 16_384 + "'", {}),
    ],
)
def test_parameters_are_judged_and_bounded(sql: str, params: Any) -> None:
    """Exactly the marks of the statement, and only values that both databases know."""
    with pytest.raises(InvalidInput):
        judge_write(sql, params, None, ())


@pytest.mark.parametrize("count", [-1, True, 1.0, "1"])
def test_an_expected_count_is_a_count(count: Any) -> None:
    """A row count is a whole number, or none is expected."""
    with pytest.raises(InvalidInput, match="expect_rows"):
        judge_write("DELETE FROM stock", None, count, ())


def test_a_call_has_so_many_statements_and_no_more() -> None:
    """A hundred; the next one is refused."""
    one = judge_write("DELETE FROM stock", None, 0, ())
    judge_write("DELETE FROM stock", None, None, (one,) * 99)
    with pytest.raises(InvalidInput, match="more than 100"):
        judge_write("DELETE FROM stock", None, None, (one,) * 100)


@pytest.mark.parametrize("sql", ["COMMIT", "SET x = 1", "DELETE FROM run", "SELECT 1; SELECT 2"])
def test_a_query_only_asks(sql: str) -> None:
    """A query is one SELECT."""
    with pytest.raises(InvalidInput):
        judge_query(sql, None)


def test_a_snapshot_reads_one_state(bench: Bench) -> None:
    """What is committed after the first query is not seen by the next one."""
    bench.submit(key="first")
    view = bench.store.snapshot()
    sql = "SELECT key, model FROM run WHERE key = :key OR :all ORDER BY id"
    before = view.query(sql, {"key": "first", "all": True})
    bench.submit(key="second")

    assert [{"key": "first", "model": None}] == before == view.query(sql, {"key": "", "all": True})
    view.close()
    with pytest.raises(DatabaseError, match="ended"):
        view.query("SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1) DELETE FROM run",
        "WITH a AS (SELECT 1) UPDATE run SET model = 'sly'",
        "WITH a AS (DELETE FROM event RETURNING id) SELECT * FROM a",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT nextval('run_id_seq')",
        "SELECT nonsense FROM nowhere",
    ],
)
def test_a_snapshot_cannot_write(bench: Bench, sql: str) -> None:
    """The database itself refuses, and the view can be used on."""
    bench.submit()
    view = bench.store.snapshot()
    with pytest.raises(DatabaseError):
        view.query(sql)

    assert [{"n": 1}] == view.query("SELECT COUNT(*) AS n FROM run WHERE model IS NULL")
    view.close()


def test_a_snapshot_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither more rows than a thousand, nor a query without end."""
    count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
    monkeypatch.setattr(snapshot, "QUERY_SECONDS_MAX", 0.2)
    view = bench.store.snapshot()

    assert 1_000 == len(view.query(count.format(1_000) + "SELECT i FROM n"))
    with pytest.raises(InvalidInput, match="more than 1000 rows"):
        view.query(count.format(1_001) + "SELECT i FROM n")
    with pytest.raises(DatabaseError):
        view.query(count.format(2_000_000_000) + "SELECT MAX(i) FROM n")
    view.close()
