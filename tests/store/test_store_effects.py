"""What a transactional call writes: with its output or not at all, and never on our own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from support import POSTGRESQL, SQLITE, Bench, function_call, response, seen

from ledger.core.alphabet import Source
from ledger.core.decide import decide
from ledger.core.model import Facts, Write
from ledger.core.outcome import ToolDone, performed
from ledger.core.steps import Context, RunTools, ToolSpec
from ledger.store import effects
from ledger.store.queries import events_of
from ledger.store.records import Decision, Guard, Stale, Written
from ledger.store.statements import judge_write

BOOK = "INSERT INTO booking (name, seats) VALUES (:name, :seats)"
TOOL = ToolSpec(name="f", idempotent=False, timeout_seconds=5, transactional=True)


@pytest.fixture
def desk(bench: Bench) -> Iterator[Bench]:
    """A bench with a table of somebody else's in its database."""
    bench.execute("CREATE TABLE booking (name TEXT UNIQUE, seats INTEGER CHECK (seats > 0))")
    yield bench
    assert () == bench.verify().broken


def write(sql: str, expect_rows: int | None = None, **params: Any) -> Write:
    """A statement as a tool hands it over."""
    return judge_write(sql, params, expect_rows, ())


def started(desk: Bench) -> Facts:
    """A run whose only call was started by `me`."""
    facts = desk.sending()
    body = response("completed", remote_id=f"resp_{facts.run.id}", output=[function_call("c1")])
    facts = desk.take(facts, seen(body), source=Source.create)
    desk.context = lambda: Context(  # type: ignore[method-assign]
        now=desk.now, life="me", tools={"f": TOOL}, look=Bench.context(desk).look
    )
    result = desk.arm(facts, RunTools((1,)))
    assert isinstance(result, Written)
    return result.facts


def record(desk: Bench, facts: Facts, *writes: Write, owner: str = "me") -> Decision:
    """The record of the call's output, with its writes."""
    done, now = ToolDone(n=1, output=b"booked", writes=writes), desk.context()

    def after(fresh: Facts, rows: tuple[int, ...] | str) -> Any:
        return decide(fresh, performed(done, rows), now, source=Source.policy)

    return Decision(
        run_id=facts.run.id,
        decide=lambda fresh: decide(fresh, done, now, source=Source.policy),
        change=decide(facts, done, now, source=Source.policy),
        guard=Guard(owner, facts.fence),
        performed=after,
    )


def booked(desk: Bench) -> list[str]:
    """The names in the table, in order."""
    with desk.store.reading() as connection:
        return list(connection.execute(sa.text("SELECT name FROM booking ORDER BY name")).scalars())


def detail(desk: Bench, facts: Facts) -> Any:
    """What the history says of the call's end."""
    rows = desk.store.read(lambda c: events_of(c, facts.run.id))
    return next(row.detail for row in rows if str(row.kind) == "tool_finished")


def test_writes_are_there_with_the_output(desk: Bench) -> None:
    """All statements take effect together with the record, which has their texts and counts."""
    facts = started(desk)
    more = write("UPDATE booking SET seats = seats + 1 WHERE name = :name", 1, name="ann")

    result = desk.commit(record(desk, facts, write(BOOK, name="ann", seats=2), more))

    assert isinstance(result, Written)
    assert (["ann"], 3) == (booked(desk), desk.scalar("SELECT seats FROM booking"))
    assert [(BOOK, 1), (more.sql, 1)] == [
        (item["sql"], item["rows"]) for item in detail(desk, facts)["statements"]
    ]
    assert ("finished", False) == (result.facts.calls[0].state, result.facts.calls[0].is_error)


def test_a_statement_behind_a_with_is_counted(desk: Bench) -> None:
    """A WITH in front does not hide how many rows were touched."""
    facts = started(desk)
    sql = "WITH s AS (SELECT 4 AS n) INSERT INTO booking SELECT CAST(:name AS TEXT), n FROM s"

    desk.commit(record(desk, facts, write(sql, 1, name="ann")))

    assert [1] == [item["rows"] for item in detail(desk, facts)["statements"]]
    assert ["ann"] == booked(desk)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (write(BOOK, name="ann", seats=1), "statement 2"),
        (write(BOOK, name="bob", seats=-1), "statement 2"),
        (write("UPDATE booking SET seats = 1 WHERE name = :n", 1, n="eve"), "touched 0 rows"),
        (write("INSERT INTO nowhere (x) VALUES (1)"), "nowhere"),
        (write("UPDATE run SET model = 'x'"), "ledger's own"),
        (write('DELETE FROM "event"'), "ledger's own"),
        (write('WITH a AS (SELECT 1) UPDATE "main"."run" SET model = 1'), "statement 2"),
        (write("INSERT INTO Tombstone (key) VALUES (1)"), "ledger's own"),
        (write("UPDATE alembic_version SET version_num = '9'"), "ledger's own"),
    ],
)
def test_one_bad_statement_undoes_all_and_the_model_is_told(
    desk: Bench, bad: Write, words: str
) -> None:
    """A violated constraint, a wrong count or a forbidden table: nothing stays but the error."""
    facts = started(desk)
    result = desk.commit(record(desk, facts, write(BOOK, name="ann", seats=2), bad))

    assert isinstance(result, Written)
    call = result.facts.calls[0]
    told = desk.scalar("SELECT body FROM payload WHERE n = :n", n=call.output)
    assert ([], "finished", True) == (booked(desk), call.state, call.is_error)
    assert words in bytes(told).decode()
    assert words in detail(desk, facts)["refused"]


def test_the_others_of_a_batch_are_not_harmed(desk: Bench) -> None:
    """A refused call and a good one in one batch: each gets what it deserves."""
    first, second, third = started(desk), started(desk), started(desk)
    results = desk.commit_all(
        [
            record(desk, first, write(BOOK, name="ann", seats=2)),
            record(desk, second, write(BOOK, name="bob", seats=0)),
            record(desk, third, write(BOOK, name="eve", seats=1)),
        ]
    )

    assert ["ann", "eve"] == booked(desk)
    assert [False, True, False] == [r.facts.calls[0].is_error for r in results]  # type: ignore[union-attr]


@pytest.mark.problem(1)
def test_a_stale_owner_writes_nothing(desk: Bench) -> None:
    """Under a lost fence no statement is executed."""
    facts = started(desk)
    result = desk.commit(record(desk, facts, write(BOOK, name="ann", seats=2), owner="other"))

    assert (Stale(), []) == (result, booked(desk))
    assert 0 == desk.scalar("SELECT COUNT(*) FROM evidence")


@pytest.mark.problem(11)
def test_the_same_record_twice_writes_once(desk: Bench) -> None:
    """A record that is committed again, as after a lost reply, finds its output there."""
    facts = started(desk)
    same = record(desk, facts, write("UPDATE booking SET seats = seats + 1"))
    desk.execute("INSERT INTO booking VALUES ('ann', 1)")

    desk.commit(same)
    desk.commit(same)

    assert 2 == desk.scalar("SELECT seats FROM booking")


def test_a_trigger_that_reaches_our_tables_is_found(desk: Bench) -> None:
    """A table of others whose trigger changes ours is no way round."""
    facts = started(desk)
    if desk.store.dialect == "sqlite":
        desk.execute(
            "CREATE TRIGGER sly AFTER INSERT ON booking BEGIN UPDATE run SET model = 'sly'; END"
        )
    else:
        desk.execute(
            "CREATE FUNCTION sly() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE run SET model = 'sly'; RETURN NEW; END $$"
        )
        desk.execute(
            "CREATE TRIGGER sly AFTER INSERT ON booking FOR EACH ROW EXECUTE FUNCTION sly()"
        )
    result = desk.commit(record(desk, facts, write(BOOK, name="ann", seats=2)))

    assert isinstance(result, Written)
    assert ([], True) == (booked(desk), result.facts.calls[0].is_error)
    assert 0 == desk.scalar("SELECT COUNT(*) FROM run WHERE model = 'sly'")


@POSTGRESQL
def test_a_view_of_our_tables_is_found(desk: Bench) -> None:
    """An updatable view is our table under another name."""
    facts = started(desk)
    desk.execute("CREATE VIEW harmless AS SELECT * FROM run")
    result = desk.commit(record(desk, facts, write("UPDATE harmless SET model = 'sly'")))

    assert isinstance(result, Written)
    assert result.facts.calls[0].is_error
    assert 0 == desk.scalar("SELECT COUNT(*) FROM run WHERE model = 'sly'")


@POSTGRESQL
def test_a_table_of_the_same_name_in_another_schema_is_not_ours(desk: Bench) -> None:
    """Names are resolved by the server."""
    facts = started(desk)
    desk.execute("CREATE SCHEMA shop")
    desk.execute("CREATE TABLE shop.event (name TEXT)")
    desk.commit(record(desk, facts, write("INSERT INTO shop.event VALUES (:n)", n="sale")))

    assert 1 == desk.scalar("SELECT COUNT(*) FROM shop.event")


@SQLITE
def test_what_could_roll_back_the_whole_batch_is_refused(desk: Bench) -> None:
    """RAISE(ROLLBACK) would take with it what others have written in the transaction."""
    desk.execute(
        "CREATE TRIGGER harsh BEFORE INSERT ON booking WHEN NEW.name = 'bob' "
        "BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    )
    first, second = started(desk), started(desk)
    results = desk.commit_all(
        [
            record(desk, first, write("DELETE FROM booking")),
            record(desk, second, write(BOOK, name="bob", seats=1)),
        ]
    )

    assert [True, True] == [r.facts.calls[0].is_error for r in results]  # type: ignore[union-attr]


def test_a_constraint_that_is_checked_late_is_checked_in_time(desk: Bench) -> None:
    """A deferred foreign key spoils its own call, not everybody's COMMIT."""
    desk.execute("CREATE TABLE room (id INTEGER PRIMARY KEY)")
    desk.execute(
        "CREATE TABLE stay (room INTEGER REFERENCES room (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    stay = write("INSERT INTO stay VALUES (:room)", room=7)
    bad, good = started(desk), started(desk)
    results = desk.commit_all(
        [
            record(desk, bad, stay),
            record(desk, good, stay, write("INSERT INTO room VALUES (:room)", room=7)),
        ]
    )

    assert [True, False] == [r.facts.calls[0].is_error for r in results]  # type: ignore[union-attr]
    assert (1, 1) == (
        desk.scalar("SELECT COUNT(*) FROM stay"),
        desk.scalar("SELECT COUNT(*) FROM room"),
    )


def test_a_statement_that_takes_too_long_is_stopped(
    desk: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer serves others too."""
    monkeypatch.setattr(effects, "SECONDS_MAX", 0.2)
    facts = started(desk)
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) "
        "INSERT INTO booking SELECT 'x', COUNT(*) FROM n"
    )
    result = desk.commit(record(desk, facts, write(endless)))

    assert isinstance(result, Written)
    assert ([], True) == (booked(desk), result.facts.calls[0].is_error)
