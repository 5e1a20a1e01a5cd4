"""The hash chain: whoever changes history is found out, and where is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import Bench, function_call, response, seen

from ledger.core.alphabet import Source
from ledger.store.queries import events_of
from ledger.store.verify import Broken, verify

TABLES = ("event", "run")


def tamper(bench: Bench, *statements: str, **values: object) -> None:
    """Change rows as somebody would who owns the database and has dropped its triggers."""
    if bench.store.dialect == "postgresql":
        off = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in TABLES]
    else:
        names = ("event_update", "event_erased", "event_delete", "run_seq", "run_state")
        off = [f"DROP TRIGGER IF EXISTS runward_{name}" for name in names]
    for statement in off:
        bench.execute(statement)
    for statement in statements:
        bench.execute(statement, **values)


@pytest.fixture
def run_id(bench: Bench) -> int:
    """A run with a history of several events, between two others."""
    bench.completed()
    facts = bench.sending()
    body = response("completed", remote_id="resp_x", output=[function_call("call_0")])
    made = bench.take(facts, seen(body), source=Source.create)
    bench.completed()
    assert () == bench.verify().broken
    return made.run.id


TAMPERED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an actor": (
        ("UPDATE event SET actor = 'nobody' WHERE run_id = :run AND seq = 2",),
        2,
        "the event was changed",
    ),
    "a time": (
        ("UPDATE event SET recorded_at = '2026-03-01 11:00:00' WHERE run_id = :run AND seq = 1",),
        1,
        "the event was changed",
    ),
    "a state": (
        ("UPDATE event SET to_state = NULL, trigger = NULL, from_state = NULL"
         " WHERE run_id = :run AND seq = 3",),
        3,
        "the event was changed",
    ),
    "a hash": (
        ("UPDATE event SET hash = :junk WHERE run_id = :run AND seq = 2",),
        2,
        "the event was changed",
    ),
    "a link": (
        ("UPDATE event SET prev_hash = :junk WHERE run_id = :run AND seq = 3",),
        3,
        "it does not follow the event before it",
    ),
    "a removed event": (
        ("DELETE FROM event WHERE run_id = :run AND seq = 2",),
        2,
        "the event is missing",
    ),
    "a removed last event": (
        ("DELETE FROM event WHERE run_id = :run AND seq = (SELECT event_seq FROM run"
         " WHERE id = :run)",),
        4,
        "the event is missing",
    ),
    "two events that changed places": (
        ("UPDATE event SET seq = 99 WHERE run_id = :run AND seq = 2",
         "UPDATE event SET seq = 2 WHERE run_id = :run AND seq = 3",
         "UPDATE event SET seq = 3 WHERE run_id = :run AND seq = 99"),
        2,
        "it does not follow the event before it",
    ),
    "payload bytes": (
        ("UPDATE payload SET body = :junk WHERE run_id = :run AND n = 1",),
        1,
        "the bytes of a payload that it names were changed",
    ),
    "payload bytes with their digest": (
        ("UPDATE payload SET digest = :junk WHERE run_id = :run AND n = 1",
         "UPDATE payload SET body = NULL, salt = NULL WHERE run_id = :run AND n = 1"),
        1,
        "the event was changed",
    ),
    "a removed payload": (
        ("DELETE FROM payload WHERE run_id = :run AND n = 1",),
        1,
        "a payload that it names is missing",
    ),
    "the head": (
        ("UPDATE run SET head_hash = :junk WHERE id = :run",),
        4,
        "the run's head names another event",
    ),
    "history and head cut short": (
        ("DELETE FROM event WHERE run_id = :run AND seq > 3",
         "UPDATE run SET event_seq = 3 WHERE id = :run"),
        3,
        "the run's head names another event",
    ),
}  # fmt: skip


@pytest.mark.problem(27)
@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_named(bench: Bench, run_id: int, what: str) -> None:
    """Each way to change a stored history is found, at its event, and at no other run."""
    statements, seq, why = TAMPERED[what]
    for statement in statements:
        names = {"run": run_id, "junk": b"\x01" * 32}
        used = {name: value for name, value in names.items() if f":{name}" in statement}
        tamper(bench, statement, **used)

    assert (Broken(run_id, seq, why),) == bench.verify().broken


def test_erased_bytes_leave_the_chain_whole(bench: Bench, run_id: int) -> None:
    """A payload whose bytes and salt are gone still verifies by its digest, and is counted."""
    bench.execute("UPDATE payload SET body = NULL, salt = NULL WHERE run_id = :run", run=run_id)
    erased = bench.scalar("SELECT count(*) FROM payload WHERE run_id = :run", run=run_id)

    checked = bench.verify()

    assert ((), erased) == (checked.broken, checked.erased)


def test_chosen_runs_alone_are_checked(bench: Bench, run_id: int) -> None:
    """Verifying one run neither reads nor reports the others."""
    tamper(bench, "UPDATE event SET actor = 'nobody' WHERE run_id = :run", run=run_id)
    bad = bench.store.read(lambda c: verify(c, [run_id]))
    good = bench.store.read(lambda c: verify(c, [run_id - 1, run_id + 1]))

    assert (1, [1]) == (bad.runs, [broken.seq for broken in bad.broken])
    assert (2, ()) == (good.runs, good.broken)


@pytest.mark.problem(5)
def test_pages_of_runs_are_all_checked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, make_bench: Callable[[], Bench]
) -> None:
    """More runs than one page holds are checked to the last."""
    monkeypatch.setattr("ledger.store.verify.ROWS", 7)
    last = bench.submit_many(20)[-1].run.id
    tamper(bench, "UPDATE event SET actor = 'nobody' WHERE run_id = :run", run=last)

    checked = bench.verify()

    assert (20, [last]) == (checked.runs, [broken.run_id for broken in checked.broken])


def test_a_forged_detail_is_found(bench: Bench, run_id: int) -> None:
    """What an event shows of its detail is compared with the bytes that were hashed."""
    events = bench.store.read(lambda c: events_of(c, run_id))
    seq = next(row.seq for row in events if row.detail)
    forged = '{"call": "another"}'
    tamper(
        bench,
        "UPDATE event SET detail = :forged WHERE run_id = :run AND detail IS NOT NULL",
        forged=forged,
        run=run_id,
    )

    (broken,) = bench.verify().broken
    assert (run_id, seq) == (broken.run_id, broken.seq)


def test_a_forged_state_is_found(bench: Bench, run_id: int) -> None:
    """A run's state is the one that its history ends in."""
    tamper(bench, "UPDATE run SET state = 'queued' WHERE id = :run", run=run_id)

    assert [run_id] == [broken.run_id for broken in bench.verify().broken]
