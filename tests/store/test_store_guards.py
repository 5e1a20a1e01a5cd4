"""The database itself refuses what RULES refuses, and any change of history."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support import NOW, POSTGRESQL, Bench, response, seen

from ledger.core.alphabet import Source, State, Trigger
from ledger.core.lifecycle import FINAL, TRIPLES
from ledger.store import guards
from ledger.store.evidence import Fact, Filing


def refused(connection: sa.Connection, statement: str, **values: object) -> bool:
    """Whether the database refuses a statement; what it takes is rolled back."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(sa.text(statement), values)
    except sa.exc.IntegrityError:
        return True
    finally:
        savepoint.rollback()
    return False


@pytest.mark.problem(28)
def test_events_are_append_only(bench: Bench) -> None:
    """UPDATE, DELETE and TRUNCATE of events are refused, of one row and of all."""
    bench.submit()
    bench.submit()
    with bench.store.reading() as connection:
        assert refused(connection, "UPDATE event SET actor = 'me'")
        assert refused(connection, "UPDATE event SET detail = NULL WHERE seq = 1")
        assert refused(connection, "DELETE FROM event")
        if bench.store.dialect == "postgresql":
            assert refused(connection, "TRUNCATE event")
            assert refused(connection, "TRUNCATE run CASCADE")


@pytest.mark.problem(28)
def test_a_tombstone_lets_the_events_that_it_covers_go(bench: Bench) -> None:
    """Events up to a tombstone's last sequence number can be deleted, later ones and others not."""
    facts, other = bench.completed(), bench.completed()
    run_id, last = facts.run.id, facts.run.event_seq
    bench.tombstone(run_id, "k", last - 1)
    with bench.store.reading() as connection:
        delete = "DELETE FROM event WHERE run_id = :run AND seq <= :seq"
        assert not refused(connection, delete, run=run_id, seq=last - 1)
        assert refused(connection, delete, run=run_id, seq=last)
        assert refused(connection, delete, run=other.run.id, seq=1)
        assert refused(connection, "UPDATE event SET actor = 'me' WHERE seq = 1")


@POSTGRESQL
def test_a_deleted_row_does_not_read_all_tombstones(bench: Bench) -> None:
    """Even where there is but one, and a scan would be the cheaper plan: a session keeps its plan
    while tens of thousands come along."""
    facts = bench.completed()
    bench.tombstone(facts.run.id, "k", facts.run.event_seq - 1)
    bench.committer.run(lambda c: c.exec_driver_sql("ANALYZE tombstone"))
    scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'tombstone'"
    with bench.store.reading() as connection:
        assert not refused(
            connection, "DELETE FROM event WHERE run_id = :r AND seq = 1", r=facts.run.id
        )
        assert 0 == connection.exec_driver_sql(scans).scalar_one()


@pytest.mark.problem(2)
def test_every_pair_of_states_is_judged_as_rules_judges_it(bench: Bench) -> None:
    """run.state moves along RULES alone, or stays: the full matrix."""
    runs = dict(zip(State, bench.submit_many(len(State)), strict=True))
    engine = bench.store.engine.execution_options(write=True)
    place = sa.text("UPDATE run SET state = :state, finished_at = :at WHERE id = :id")
    with engine.begin() as connection:
        drop = "DROP TRIGGER runward_run_state"
        on = " ON run" if bench.store.dialect == "postgresql" else ""
        connection.exec_driver_sql(drop + on)
        for state, facts in runs.items():
            at = str(NOW) if state in FINAL else None
            connection.execute(place, {"state": state.value, "at": at, "id": facts.run.id})
        guards.install(connection)
    legal = {(source, target) for source, _, target in TRIPLES}
    legal |= {(state, state) for state in State}
    with bench.store.reading() as connection:
        allowed = {
            (source, target)
            for source in State
            for target in State
            if not refused(
                connection,
                place.text,
                state=target.value,
                at=str(NOW) if target in FINAL else None,
                id=runs[source].run.id,
            )
        }

    assert legal == allowed


def test_every_triple_of_an_event_is_judged_as_rules_judges_it(bench: Bench) -> None:
    """An event's (from, trigger, to) is one of RULES, or empty: the full cube."""
    facts = bench.submit()
    statement = (
        "INSERT INTO event (run_id, seq, kind, from_state, trigger, to_state, source, actor,"
        " recorded_at, attempt, prev_hash, hash) VALUES (:run, 2, 'noted', :a, :t, :b, 'poll',"
        " 'me', '2026-01-01 00:00:00', 1, :empty, :empty)"
    )
    with bench.store.reading() as connection:
        allowed = {
            (source, trigger, target)
            for source in State
            for trigger in Trigger
            for target in State
            if not refused(
                connection, statement, run=facts.run.id, a=source, t=trigger, b=target, empty=b""
            )
        }
        half = {"a": "queued", "t": None, "b": None}
        assert refused(connection, statement, run=facts.run.id, empty=b"", **half)

    assert set(TRIPLES) == allowed


@pytest.mark.parametrize(
    "change",
    [
        "state = 'completed'",
        "finished_at = '2026-01-01 00:00:00'",
        "event_seq = event_seq - 1",
        "version = version - 1",
        "key = 'another'",
        "origin_run = origin_run + 1",
        "state = 'nonsense'",
        "needs_attention = 'nonsense'",
    ],
)
def test_a_run_refuses_what_would_rewrite_it(bench: Bench, change: str) -> None:
    """Final without an end, an end without a verdict, a shorter history, another identity."""
    bench.submit()
    with bench.store.reading() as connection:
        assert refused(connection, f"UPDATE run SET {change}")


@pytest.mark.problem(2, 16)
def test_an_ended_attempt_never_changes(bench: Bench) -> None:
    """An attempt may be changed until it ends, and not after."""
    live, over = bench.submit(), bench.completed()
    change = "UPDATE attempt SET error_message = 'x' WHERE run_id = :run"
    with bench.store.reading() as connection:
        assert not refused(connection, change, run=live.run.id)
        assert refused(connection, change, run=over.run.id)
        assert refused(
            connection, "UPDATE attempt SET ended_at = NULL WHERE run_id = :run", run=over.run.id
        )


def test_the_restarted_attempt_keeps_its_end(bench: Bench) -> None:
    """A restart opens a further attempt and leaves the row of the ended one alone."""
    facts = bench.take(bench.sending(), seen(response("expired")), source=Source.create)

    assert [State.expired, None] == [attempt.outcome for attempt in facts.attempts]
    with bench.store.reading() as connection:
        change = "UPDATE attempt SET outcome = NULL, ended_at = NULL WHERE number = :n"
        assert refused(connection, change, n=1)
        assert not refused(connection, change, n=2)


@pytest.mark.problem(28)
def test_evidence_of_a_run_stays_until_the_run_is_pruned(bench: Bench) -> None:
    """Evidence cannot be deleted as long as its run is there."""
    facts = bench.submit()
    fact = Fact("life", "key", facts.run.id, b"x")
    filing = Filing(bench.store.engine.dialect)
    bench.committer.run(lambda c: filing.add(c, [fact], NOW))
    with bench.store.reading() as connection:
        assert refused(connection, "DELETE FROM evidence")
