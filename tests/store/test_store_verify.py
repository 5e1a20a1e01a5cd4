"""The hash chain: whoever changes history is found out, and where is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import Bench, function_call, response, seen

from ledger import Ledger
from ledger.core.alphabet import Source
from ledger.core.hashing import payload_digest
from ledger.store.evidence import Fact, Filing
from ledger.store.queries import events_of
from ledger.store.verify import Broken, verify

TABLES = ("event", "run", "evidence")


def tamper(bench: Bench, *statements: str, **values: object) -> None:
    """Change rows as somebody would who owns the database and has dropped its triggers."""
    if bench.store.dialect == "postgresql":
        off = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in TABLES]
    else:
        names = ("event_update", "event_erased", "event_delete", "run_seq", "run_state",
                 "evidence_update", "evidence_erased", "evidence_delete")  # fmt: skip
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


def test_erased_bytes_leave_the_chain_whole(bench: Bench) -> None:
    """A payload whose bytes and salt are gone still verifies by its digest, and is counted."""
    run = bench.completed().run.id
    bench.completed()
    erased = bench.scalar("SELECT count(*) FROM payload WHERE run_id = :run", run=run)
    with Ledger.open(bench.store.url) as ledger:
        ledger.erase([run])

    checked = bench.verify()

    assert ((), erased) == (checked.broken, checked.erased)


GONE = "UPDATE payload SET body = NULL, salt = NULL WHERE run_id = :run AND n = "
LOST = {
    "one": (f"{GONE} 2", 3, "bytes are gone, and no event destroyed them"),
    "the last": (
        f"{GONE} (SELECT payload_seq FROM run WHERE id = :run)",
        4,
        "the bytes of a payload that it names were changed",
    ),
    "the salt": (
        "UPDATE payload SET salt = NULL WHERE run_id = :run AND n = 1",
        1,
        "the bytes of a payload that it names were changed",
    ),
    "a detail": (
        "UPDATE event SET detail = NULL WHERE run_id = :run AND seq = 4",
        4,
        "the bytes of a payload that it names were changed",
    ),
}


@pytest.mark.problem(27)
@pytest.mark.parametrize("what", LOST)
def test_bytes_that_nobody_erased_are_damage(bench: Bench, run_id: int, what: str) -> None:
    """Bytes are missing: that is no erasure unless the history says so."""
    statement, seq, why = LOST[what]
    tamper(bench, statement, run=run_id)

    assert (Broken(run_id, seq, why),) == bench.verify().broken


def test_what_came_after_an_erasure_is_not_excused_by_it(bench: Bench) -> None:
    """It says of payloads before it that they are destroyed."""
    run = bench.completed().run.id
    with Ledger.open(bench.store.url) as ledger:
        ledger.erase([run])
        last = ledger.note(run, "after that").event_seq
        assert () == bench.verify().broken
    lost = f"{GONE} (SELECT payload_seq FROM run WHERE id = :run)"
    tamper(bench, lost, run=run)
    tamper(bench, f"UPDATE event SET detail = NULL WHERE run_id = {run} AND seq = {last}")

    assert (Broken(run, last, "bytes are gone, and no event destroyed them"),) == (
        bench.verify().broken
    )


@pytest.mark.parametrize("seq", [2, 4])
def test_a_forged_detail_of_an_erased_run_is_found(bench: Bench, run_id: int, seq: int) -> None:
    """Nothing proves it any more, so there must be none; whether there once was one or not."""
    bench.execute("UPDATE remote SET settled = :yes", yes=True)
    bench.execute("DELETE FROM watch")
    bench.execute("UPDATE run SET state = 'completed', finished_at = created_at")
    with Ledger.open(bench.store.url) as ledger:
        ledger.erase([run_id])
    forged = f"UPDATE event SET detail = :forged WHERE run_id = :run AND seq = {seq}"
    tamper(bench, forged, forged='{"by": "me"}', run=run_id)

    assert [(run_id, seq)] == [(fault.run_id, fault.seq) for fault in bench.verify().broken]


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


OTHER = b'{"type":"response.failed"}'
SALT = b"s" * 16
MADE = payload_digest(SALT, OTHER)
WITNESSES: dict[str, tuple[str, str]] = {
    "bytes": ("UPDATE evidence SET body = :other", "the evidence 'wh-1' was changed"),
    "bytes with their digest": (
        "UPDATE evidence SET body = :other, salt = :salt, digest = :made",
        "the evidence 'wh-1' was changed",
    ),
    "gone bytes": (
        "UPDATE evidence SET body = NULL, salt = NULL",
        "bytes of evidence are gone, and no event destroyed them",
    ),
    "a gone row": ("DELETE FROM evidence", "the evidence that it names is missing"),
}


@pytest.mark.parametrize("how", WITNESSES)
def test_a_changed_delivery_is_found(bench: Bench, how: str) -> None:
    """The event that tells of it names its digest, and is chained."""
    facts = bench.announced(bench.completed())
    statement, why = WITNESSES[how]
    seq = bench.scalar("SELECT seq FROM event WHERE kind = 'notified'")
    assert () == bench.verify().broken
    given = {"other": OTHER, "salt": SALT, "made": MADE}
    tamper(bench, statement, **{name: v for name, v in given.items() if f":{name}" in statement})

    assert (Broken(facts.run.id, seq, why),) == bench.verify().broken


def test_evidence_of_an_erased_run_is_accounted_for(bench: Bench) -> None:
    """And what comes after that, of which the digest alone is kept."""
    facts = bench.announced(bench.completed())
    with Ledger.open(bench.store.url, actor="ann") as ledger:
        ledger.erase([facts.run.id])
    late = Fact("webhook", "wh-late", facts.run.id, b"{}")
    bench.committer.run(lambda c: Filing(bench.store.engine.dialect).add(c, [late], bench.now))

    assert 2 == bench.scalar("SELECT count(*) FROM evidence WHERE body IS NULL")
    assert () == bench.verify().broken
