"""Recovery next to life: it overwrites nothing, hides nothing, locks nobody out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from support import NOW, POSTGRESQL, SQLITE, Bench, context, later, note, response, seen

from ledger.core.alphabet import EventKind, Source, State
from ledger.core.decide import decide
from ledger.core.model import Change, Facts
from ledger.core.outcome import Elapsed
from ledger.core.policy import Policy
from ledger.core.steps import ASIDE
from ledger.store.commit import Committer
from ledger.store.queries import events_of
from ledger.store.records import Decision, Result, Written

RESPONSE = response("completed", output=[{"type": "message"}])


@pytest.mark.problem(2)
@pytest.mark.failure(5)
def test_a_rescue_decided_on_old_facts_leaves_a_verdict_alone(bench: Bench) -> None:
    """Found stuck and called expired, while its answer was being written: the answer stays."""
    facts = bench.sending(policy=Policy(deadline_seconds=60))

    def expire(fresh: Facts) -> Change:
        return decide(fresh, Elapsed(), context(later(3_600)), source=Source.recovery)

    rescue = Decision(run_id=facts.run.id, decide=expire, change=expire(facts))
    assert rescue.change is not None
    bench.take(facts, seen(RESPONSE), source=Source.create)

    result = bench.commit(rescue)

    assert isinstance(result, Written)
    after = bench.facts(facts.run.id).run
    assert (State.completed, None) == (after.state, after.error_code)
    kinds = [event.kind for event in bench.store.read(lambda c: events_of(c, facts.run.id))]
    assert [EventKind.accepted, EventKind.create_sending, EventKind.create_confirmed] == kinds


@pytest.mark.problem(5)
@pytest.mark.failure(6)
def test_runs_that_nobody_may_take_hide_no_other(bench: Bench) -> None:
    """Set aside, or owned by a life that is alive: however many there are, and however long they
    have been due, a small claim goes past them."""
    exempt = bench.submit_many(60)
    free = bench.submit_many(3)
    last = exempt[-1].run.id
    bench.execute("UPDATE watch SET due_at = '2020-01-01' WHERE run_id <= :last", last=last)
    bench.execute("UPDATE watch SET owner = 'alive' WHERE run_id <= :half", half=last // 2)
    bench.execute(
        "UPDATE watch SET owner = :aside WHERE run_id > :half AND run_id <= :last",
        aside=ASIDE, half=last // 2, last=last,
    )  # fmt: skip

    taken = [facts.run.id for _ in free for facts in bench.claim(limit=1, now=NOW)]

    assert [facts.run.id for facts in free] == taken
    assert [] == bench.claim(limit=1, now=NOW)


@POSTGRESQL
@pytest.mark.problem(24)
def test_batches_that_share_their_runs_wait_for_each_other_in_one_order(
    bench: Bench, make_bench: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers with the same runs in opposite order never meet in a deadlock."""
    runs = bench.submit_many(12)
    again: list[BaseException] = []
    judge = Committer._again

    def noted(self: Committer, error: sa.exc.DBAPIError) -> bool:
        again.append(error)
        return judge(self, error)

    monkeypatch.setattr(Committer, "_again", noted)
    results: list[Result] = []
    barrier = threading.Barrier(2)

    def work(one: Bench, order: Sequence[Facts]) -> None:
        records = [Decision(run_id=facts.run.id, decide=note) for facts in order]
        barrier.wait()
        for _ in range(25):
            results.extend(one.commit_all(records))

    pairs = ((make_bench(), runs), (make_bench(), runs[::-1]))
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == again
    assert {Written} == {type(result) for result in results}
    assert {1 + 50} == {bench.facts(facts.run.id).run.version for facts in runs}
    assert () == bench.verify().broken


@SQLITE
@pytest.mark.problem(21)
@pytest.mark.failure(29)
def test_a_transaction_that_reads_before_it_writes_is_not_refused(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """Another writer comes in between the read and the write: it waits, and both are written at
    the first try."""
    other = make_bench()
    other.scalar("SELECT 1")
    tries: list[int] = []
    begun = threading.Event()

    def between() -> None:
        begun.set()
        other.submit()

    thread = threading.Thread(target=between)

    def read_then_write(connection: sa.Connection) -> int:
        tries.append(1)
        before = connection.execute(sa.text("SELECT count(*) FROM run")).scalar_one()
        if not begun.is_set():
            thread.start()
            assert begun.wait(10)
            # Were the lock not taken yet, the other would commit now and spoil what was read.
            thread.join(0.2)
        connection.execute(sa.text("UPDATE account SET profile = 'changed'"))
        return int(before)

    assert 0 == bench.committer.run(read_then_write)
    thread.join(10)

    assert [1] == tries
    assert 1 == bench.scalar("SELECT count(*) FROM run")
