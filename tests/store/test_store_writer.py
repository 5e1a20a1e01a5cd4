"""The writer: group commit in a thread that nothing a caller does can stop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest
import sqlalchemy as sa
from support import NOW, SQLITE, Bench, later, note

from ledger.clock import wait_until
from ledger.core.alphabet import EventKind
from ledger.errors import DatabaseError
from ledger.store.queries import events_of
from ledger.store.records import Decision, Result, Written
from ledger.store.writer import ThreadWriter


class Gate:
    """Keeps a writer busy, so that what is put meanwhile meets in one batch."""

    def __init__(self, writer: ThreadWriter) -> None:
        self._open, reached = threading.Event(), threading.Event()

        def hold(connection: sa.Connection) -> None:
            reached.set()
            assert self._open.wait(10)

        self._held = writer.run(hold)
        assert reached.wait(10)

    def open(self) -> None:
        """Let the writer go on."""
        self._open.set()
        self._held.result(10)


def written(future: Future[Result]) -> Written:
    """The result of a record that was to be written."""
    result = future.result(10)
    assert isinstance(result, Written), result
    return result


@pytest.mark.problem(21)
def test_records_that_meet_are_one_batch(bench: Bench, writer: ThreadWriter) -> None:
    """What was put while the writer was busy commits together, and each caller gets its own."""
    gate = Gate(writer)
    futures = [writer.put(bench.submission(key=f"k{n}")) for n in range(50)]
    gate.open()

    assert [f"k{n}" for n in range(50)] == [written(f).facts.run.key for f in futures]
    assert 1 == bench.scalar("SELECT count(*) FROM batch")


def test_two_records_for_one_run_take_their_turns(bench: Bench, writer: ThreadWriter) -> None:
    """The second of two records for one run is decided on what the first made of it."""
    facts, other = bench.submit_many(2)
    gate = Gate(writer)
    record = Decision(run_id=facts.run.id, decide=note, change=note(facts))
    futures = [writer.put(record) for _ in range(3)]
    last = writer.put(Decision(run_id=other.run.id, decide=note, change=note(other)))
    gate.open()

    assert [2, 3, 4] == [written(future).facts.run.version for future in futures]
    assert 2 == written(last).facts.run.version
    kinds = [event.kind for event in bench.store.read(lambda c: events_of(c, facts.run.id))]
    assert [EventKind.accepted, *[EventKind.noted] * 3] == kinds
    assert 1 + 3 == bench.scalar("SELECT count(*) FROM batch")


def test_one_key_put_twice_is_one_run(bench: Bench, writer: ThreadWriter) -> None:
    """The same submission twice in the queue gives one run to both callers."""
    gate = Gate(writer)
    record = bench.submission(key="k")
    first, second = writer.put(record), writer.put(record)
    gate.open()

    assert (True, False) == (written(first).created, written(second).created)
    assert written(first).facts.run.id == written(second).facts.run.id


def test_closing_writes_what_is_waiting(bench: Bench) -> None:
    """Records put before the close are durable after it; later ones are refused."""
    writer = bench.store.thread_writer(lambda: NOW)
    gate = Gate(writer)
    futures = [writer.put(bench.submission()) for _ in range(20)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    gate.open()
    closing.join(10)

    assert 20 == len({written(future).facts.run.id for future in futures})
    with pytest.raises(DatabaseError):
        writer.put(bench.submission())
    with pytest.raises(DatabaseError):
        writer.run(lambda c: None)
    writer.close()


def test_an_idle_writer_closes_at_once(bench: Bench) -> None:
    """A writer that never had anything to do ends its thread."""
    writer = bench.store.thread_writer()
    writer.close()

    assert not writer._thread.is_alive()


def test_what_a_transaction_raises_reaches_its_caller_alone(
    bench: Bench, writer: ThreadWriter
) -> None:
    """An exception of run() comes back, its transaction is undone, and the writer goes on."""

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE account SET profile = 'changed'"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        writer.run(fail).result(10)
    with pytest.raises(DatabaseError):
        writer.run(lambda c: c.execute(sa.text("nonsense"))).result(10)

    assert "default" == bench.scalar("SELECT profile FROM account")
    assert written(writer.put(bench.submission())).created


def test_a_caller_that_gave_up_does_not_stop_the_writer(bench: Bench, writer: ThreadWriter) -> None:
    """A cancelled future is passed over; the record is written and the next ones too."""
    gate = Gate(writer)
    given_up = writer.put(bench.submission(key="given up"))
    assert given_up.cancel()
    gate.open()

    assert written(writer.put(bench.submission())).created
    assert 1 == bench.scalar("SELECT count(*) FROM run WHERE key = 'given up'")


def test_an_event_loop_gets_its_results(bench: Bench, writer: ThreadWriter) -> None:
    """commit() and transact() deliver results and errors into the loop that waits for them."""

    async def work() -> tuple[list[Result], object]:
        results = await asyncio.gather(*(writer.commit(bench.submission()) for _ in range(30)))
        with pytest.raises(ZeroDivisionError):
            await writer.transact(lambda c: 1 / 0)
        return results, await writer.transact(lambda c: 42)

    results, value = asyncio.run(work())
    assert ([Written] * 30, 42) == ([type(result) for result in results], value)


def test_a_loop_that_ended_does_not_stop_the_writer(bench: Bench, writer: ThreadWriter) -> None:
    """Results for a loop that was closed meanwhile are dropped."""
    gate = Gate(writer)

    async def leave() -> None:
        task = asyncio.ensure_future(writer.commit(bench.submission()))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.open()

    assert written(writer.put(bench.submission())).created
    assert 2 == bench.scalar("SELECT count(*) FROM run")


def listening(writer: ThreadWriter, calls: list[int]) -> None:
    """Have a writer report foreign commits, and wait until it has begun to look."""
    writer.on_foreign_commit = lambda: calls.append(1)
    assert wait_until(lambda: writer._data_version >= 0, seconds=10)


@SQLITE
def test_commits_of_others_are_noticed_and_own_ones_are_not(
    bench: Bench, writer: ThreadWriter
) -> None:
    """Another connection's commit is reported once; the writer's own commits are not."""
    calls: list[int] = []
    listening(writer, calls)
    for _ in range(5):
        written(writer.put(bench.submission()))
    version = writer.run(lambda c: None)
    version.result(10)
    looked = threading.Event()
    real = writer._committer.data_version

    def look() -> int | None:
        value = real()
        looked.set()
        return value

    writer._committer.data_version = look  # type: ignore[method-assign]
    assert looked.wait(10)
    assert [] == calls

    bench.submit()
    assert wait_until(lambda: calls == [1], seconds=10)


@SQLITE
def test_a_listener_that_fails_does_not_stop_the_writer(bench: Bench, writer: ThreadWriter) -> None:
    """An error in the callback is the callback's; writing goes on."""
    calls: list[int] = []
    listening(writer, calls)

    def fail() -> None:
        calls.append(1)
        raise ZeroDivisionError

    writer.on_foreign_commit = fail
    bench.submit()

    assert wait_until(lambda: bool(calls), seconds=10)
    assert written(writer.put(bench.submission())).created


def test_the_clock_of_the_writer_dates_what_it_writes(bench: Bench) -> None:
    """Time is passed in: a run is accepted when the writer's clock says so."""
    writer = bench.store.thread_writer(lambda: later(7))
    facts = written(writer.put(bench.submission())).facts
    writer.close()

    assert later(7) == bench.facts(facts.run.id).run.created_at
