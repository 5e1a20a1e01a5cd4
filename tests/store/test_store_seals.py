"""Seals: whoever takes a piece of history away, and mends the rest, is found out all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support import NOW, POSTGRESQL, Bench, note

from ledger.clock import wait_until
from ledger.core.anchor import Anchor
from ledger.store.records import Decision, Guard, Written
from ledger.store.seals import Seal, covered, newest_seal, seal
from ledger.store.verify import Verified, verify
from ledger.store.verify_seals import Broken

TABLES = ("event", "run", "seal", "seal_leaf", "attempt")


def make_seal(bench: Bench, **options: int) -> Seal | None:
    """One seal, now."""
    ledger = bench.store.ledger_id
    return bench.committer.run(lambda c: seal(c, ledger, bench.now, **options))


def anchor_of(bench: Bench) -> Anchor:
    """The newest seal as somebody outside notes it."""
    newest = bench.store.read(newest_seal)
    assert newest is not None
    runs, events = bench.store.read(lambda c: covered(c, newest.number))
    return Anchor(
        ledger=bench.store.ledger_id,
        seal=newest.number,
        hash=newest.hash.hex(),
        sealed_at=newest.sealed_at.isoformat(),
        runs=runs,
        events=events,
    )


def forge(bench: Bench, *statements: str, run: int = 0) -> None:
    """Change rows as somebody would who owns the database: its triggers are no obstacle."""
    with bench.store.engine.execution_options(write=True).connect() as connection:
        if bench.store.dialect == "postgresql":
            off = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES]
        else:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            names = [row[0] for row in connection.exec_driver_sql(named)]
            off = [f"DROP TRIGGER {name}" for name in names]
        for statement in (*off, *statements):
            connection.exec_driver_sql(statement.replace(":run", str(run)))
        connection.commit()
        connection.invalidate()


CUT = (
    "DELETE FROM event WHERE run_id = :run AND seq > 2",
    "UPDATE run SET event_seq = 2, state = 'queued', finished_at = NULL, sealed_seq = 2,"
    " head_hash = (SELECT hash FROM event WHERE run_id = :run AND seq = 2) WHERE id = :run",
)
GONE = tuple(
    f"DELETE FROM {table} WHERE {'id' if table == 'run' else 'run_id'} = :run"
    for table in ("event", "payload", "attempt", "remote", "watch", "run")
)
UNSEALED = ("DELETE FROM seal_leaf", "DELETE FROM seal", "UPDATE run SET sealed_seq = 0")


def checked(bench: Bench, *anchors: Anchor) -> Verified:
    """The whole ledger, verified."""
    return bench.store.read(lambda c: verify(c, anchors=anchors))


@pytest.fixture
def run_id(bench: Bench) -> int:
    """A run between two others, all of them sealed."""
    bench.completed()
    made = bench.completed()
    bench.completed()
    make_seal(bench)
    assert ((), 3, 1) == (checked(bench).broken, checked(bench).runs, checked(bench).seals)
    return made.run.id


@pytest.mark.problem(5)
def test_a_seal_covers_every_run_once(bench: Bench) -> None:
    """Runs with unsealed events go under the next seal, in pages; then there is none to make."""
    runs = bench.submit_many(5)
    made = [make_seal(bench, limit=2) for _ in range(4)]

    assert [(1, 2), (2, 2), (3, 1)] == [(s.number, s.leaves) for s in made[:3] if s]
    assert made[3] is None
    assert (5, 5) == bench.store.read(lambda c: covered(c, 3))
    bench.operate(runs[0])
    again = make_seal(bench)
    assert again is not None
    assert (4, 1) == (again.number, again.leaves)
    assert ((), 4) == (checked(bench).broken, checked(bench).seals)


def test_sealing_is_no_news_to_the_owner(bench: Bench) -> None:
    """The version stands still, and what the owner writes next leaves the seal as it is."""
    facts = bench.sending()
    make_seal(bench)
    assert facts.run.version == bench.facts(facts.run.id).run.version

    result = bench.commit(
        Decision(
            run_id=facts.run.id, decide=note, change=note(facts), guard=Guard("me", facts.fence)
        )
    )

    assert isinstance(result, Written)
    after = bench.facts(facts.run.id).run
    assert (facts.run.event_seq, facts.run.event_seq + 1) == (after.sealed_seq, after.event_seq)
    assert () == checked(bench).broken


FORGED: dict[str, tuple[tuple[str, ...], tuple[int | None, int, str, int | None]]] = {
    "a tail cut off, the head mended": (
        CUT,
        (2, 3, "a seal covers the event, and it is missing", None),
    ),
    "a whole run removed": (GONE, (2, 3, "a seal covers the run, and it is gone", None)),
    "an unsealed claim": (
        ("UPDATE run SET sealed_seq = 2 WHERE id = :run",),
        (2, 2, "no seal covers the run up to where it says", None),
    ),
    "a leaf moved back": (
        ("UPDATE seal_leaf SET seq = 2, head = (SELECT hash FROM event WHERE run_id = :run"
         " AND seq = 2) WHERE run_id = :run", "UPDATE run SET sealed_seq = 2 WHERE id = :run"),
        (None, 0, "its leaves are not those that were sealed", 1),
    ),
    "a leaf that names another event": (
        ("UPDATE seal_leaf SET head = (SELECT hash FROM event WHERE run_id = :run AND seq = 1)"
         " WHERE run_id = :run",),
        (2, 3, "a seal covers another event in its place", None),
    ),
    "a leaf removed": (
        ("DELETE FROM seal_leaf WHERE run_id = :run",
         "UPDATE run SET sealed_seq = 0 WHERE id = :run"),
        (None, 0, "its leaves are not those that were sealed", 1),
    ),
    "a whole run removed with its leaf": (
        (*GONE, "DELETE FROM seal_leaf WHERE run_id = :run"),
        (None, 0, "its leaves are not those that were sealed", 1),
    ),
    "a root": (
        ("UPDATE seal SET root = hash",),
        (None, 0, "the seal was changed", 1),
    ),
    "a seal's hash": (
        ("UPDATE seal SET hash = root",),
        (None, 0, "the seal was changed", 1),
    ),
}  # fmt: skip


@pytest.mark.problem(27)
@pytest.mark.parametrize("what", FORGED)
def test_forgery_under_a_seal_is_named(bench: Bench, run_id: int, what: str) -> None:
    """The first broken thing is named, though the forger mended all that a run holds itself."""
    statements, expected = FORGED[what]
    forge(bench, *statements, run=run_id)

    first = checked(bench).broken[0]
    assert Broken(*expected) == first


def test_without_seals_the_same_forgeries_pass(bench: Bench) -> None:
    """What the seals are for: before one covers it, a tail can be cut off unseen."""
    bench.completed()
    made = bench.completed()
    forge(bench, *CUT[:1], CUT[1].replace("sealed_seq = 2", "sealed_seq = 0"), run=made.run.id)

    assert () == checked(bench).broken


def test_a_removed_seal_is_named(bench: Bench) -> None:
    """A chain with a gap, and one whose end an anchor knows."""
    for _ in range(3):
        bench.submit()
        make_seal(bench)
    anchor = anchor_of(bench)
    assert () == checked(bench, anchor).broken
    forge(bench, "DELETE FROM seal_leaf WHERE seal = 2", "DELETE FROM seal WHERE number = 2")

    found = [(b.seal, b.why) for b in checked(bench, anchor).broken if b.seal]
    expected = [(2, "the seal is missing"), (3, "it does not follow the seal before it")]
    assert expected == found


@pytest.mark.problem(27)
@pytest.mark.parametrize("statements", [CUT, GONE], ids=["a tail", "a run"])
def test_rewriting_all_seals_is_found_by_an_anchor(
    bench: Bench, run_id: int, statements: tuple[str, ...]
) -> None:
    """Who rewrites everything passes without an anchor, and not with one."""
    anchor = anchor_of(bench)
    assert (1, 3, 9) == (anchor.seal, anchor.runs, anchor.events)
    forge(bench, *statements, *UNSEALED, run=run_id)
    make_seal(bench)

    assert () == checked(bench).broken
    (found,) = checked(bench, anchor).broken
    assert (None, 1) == (found.run_id, found.seal)
    assert "rewritten" in found.why


def test_a_chain_cut_short_is_found_by_an_anchor(bench: Bench, run_id: int) -> None:
    """All seals taken away: the anchor names one that is missing."""
    anchor = anchor_of(bench)
    forge(bench, *UNSEALED, run=run_id)

    assert [(1, "the seal that an anchor names is missing")] == [
        (b.seal, b.why) for b in checked(bench, anchor).broken
    ]


def test_the_database_refuses_to_change_seals(bench: Bench, run_id: int) -> None:
    """Rules of the database itself stop mistakes, if not attackers."""
    for statement in (
        "UPDATE seal SET root = hash",
        "DELETE FROM seal_leaf",
        "UPDATE run SET sealed_seq = 0",
        "UPDATE run SET sealed_seq = event_seq + 1",
    ):
        with pytest.raises(Exception, match="seal"):
            bench.execute(statement)


def test_chosen_runs_are_held_against_their_own_leaves(bench: Bench, run_id: int) -> None:
    """A run that is asked for by itself is checked under the seals that cover it."""
    forge(bench, *CUT, run=run_id)

    found = bench.store.read(lambda c: verify(c, [run_id]))
    assert (1, 0, [3]) == (found.runs, found.seals, [b.seq for b in found.broken])


def test_values_nobody_wrote_are_named(bench: Bench, run_id: int) -> None:
    """Verify says where it found nonsense, and does not fall over it."""
    forge(bench, "UPDATE event SET payloads = '{\"a\": 1}' WHERE run_id = :run", run=run_id)

    assert [(run_id, 1)] == [(b.run_id, b.seq) for b in checked(bench).broken[:1]]


def test_a_long_history_is_read_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history longer than any page is checked to its end, and counted."""
    monkeypatch.setattr("ledger.store.verify.ROWS", 5)
    monkeypatch.setattr("ledger.store.verify.BODIES", 2)
    facts = bench.submit()
    for _ in range(30):
        bench.operate(bench.facts(facts.run.id))
    bench.submit()
    make_seal(bench)

    found = checked(bench)
    assert ((), 2, 32) == (found.broken, found.runs, found.events)


@POSTGRESQL
def test_a_run_that_changes_meanwhile_is_sealed_as_it_then_is(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """The sealer waits for a commit that holds the row, and reads what it wrote."""
    facts, other = bench.submit(), make_bench()
    before, done = threading.Event(), []

    def work() -> None:
        before.set()
        done.append(make_seal(other))

    thread = threading.Thread(target=work)
    with bench.store.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT id FROM run WHERE id = {facts.run.id} FOR UPDATE")
        thread.start()
        assert before.wait(10)
        connection.exec_driver_sql(
            f"UPDATE run SET event_seq = 7, head_hash = 'x' WHERE id = {facts.run.id}"
        )
    thread.join(10)

    assert 1 == len(done)
    assert 7 == bench.scalar("SELECT seq FROM seal_leaf")


@pytest.mark.problem(23, 27)
def test_sealers_at_once_make_one_chain(bench: Bench, make_bench: Callable[[], Bench]) -> None:
    """Many sealers beside many commits: every seal has one successor, and all runs are covered."""
    runs = bench.submit_many(40)
    others = [make_bench() for _ in range(3)]
    errors: list[BaseException] = []

    def work(one: Bench) -> None:
        try:
            for _ in range(10):
                make_seal(one, limit=7)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for facts in runs:
        bench.operate(bench.facts(facts.run.id))
    for thread in threads:
        thread.join(60)
    while make_seal(bench):
        pass

    assert [] == errors
    assert () == checked(bench).broken
    assert 0 == bench.scalar("SELECT count(*) FROM run WHERE sealed_seq <> event_seq")
    assert NOW == bench.now


@pytest.mark.problem(27)
@POSTGRESQL
def test_sealers_of_different_runs_take_turns(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """Two sealers that share no row must not give one number twice."""
    first, other = bench.submit(), make_bench()
    make_seal(bench)
    bench.submit()
    done: list[object] = []

    def work() -> None:
        try:
            done.append(make_seal(other, limit=1))
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=work)
    with bench.store.engine.begin() as connection:
        seal(connection, bench.store.ledger_id, NOW)
        bench.operate(first)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert wait_until(lambda: bench.scalar(waiting) > 0, seconds=10)
    thread.join(10)

    assert [3] == [one.number for one in done if isinstance(one, Seal)], done
    assert () == checked(bench).broken
