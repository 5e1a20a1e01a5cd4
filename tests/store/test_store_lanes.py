"""Serial keys: one live run per thread, the others in the order in which they came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import Bench, failed, later, seen, thread_run

from ledger.core.alphabet import RemoteKind, Source, State
from ledger.core.decide.operator import cancel, carry_out
from ledger.core.model import Change, Facts
from ledger.core.outcome import Observed
from ledger.errors import ConnectionFailed, RequestRefused, ServerTrouble
from ledger.store.records import Decision, LaneBusy, Result, Written


def on_thread(bench: Bench, thread: str = "thread_1") -> Facts:
    """A claimed run on a given thread."""
    return bench.owned(provider="assistants", serial_key=thread)


def saw(facts: Facts, status: str) -> Observed:
    """Upstream shows this run's object in a status."""
    body = thread_run(status, remote_id=f"run_{facts.run.id}")
    return seen(body, n=facts.remotes[-1].n, kind=RemoteKind.thread_run)


def sent(result: Result) -> Facts:
    """The facts of a create that was armed."""
    assert isinstance(result, Written), result
    return result.facts


def woken(bench: Bench, facts: Facts, outcome: Any, **options: Any) -> tuple[int, ...]:
    """Which runs a commit wakes."""
    result = bench.commit(bench.decision(facts, outcome, **options))
    assert isinstance(result, Written)
    return result.woken


def test_one_run_at_a_time_on_a_thread(bench: Bench) -> None:
    """The second waits until the first's remote is settled, then it is woken and goes."""
    first, second = on_thread(bench), on_thread(bench)
    sending = sent(bench.arm(first))
    assert LaneBusy() == bench.arm(second)
    running = bench.take(sending, saw(sending, "in_progress"), source=Source.create)
    assert LaneBusy() == bench.arm(second)
    assert second.run == bench.facts(second.run.id).run

    bench.now = later(60)
    assert (second.run.id,) == woken(bench, running, saw(running, "failed"))

    due = bench.scalar("SELECT due_at FROM watch WHERE run_id = :id", id=second.run.id)
    assert str(later(60))[:19] == str(due)[:19]
    assert isinstance(bench.arm(second), Written)


def test_threads_do_not_hold_each_other_up(bench: Bench) -> None:
    """Another thread, another account or no thread at all is not waited for."""
    sent(bench.arm(on_thread(bench)))

    assert isinstance(bench.arm(on_thread(bench, "thread_2")), Written)
    assert isinstance(bench.arm(bench.owned()), Written)


def test_first_come_first_served(bench: Bench) -> None:
    """A run may not pass another that was accepted before it, even while the lane is free."""
    first, second, third = on_thread(bench), on_thread(bench), on_thread(bench)
    assert LaneBusy() == bench.arm(third)
    assert LaneBusy() == bench.arm(second)

    sending = sent(bench.arm(first))
    assert (second.run.id,) == woken(bench, sending, saw(first, "completed"), source=Source.create)
    assert LaneBusy() == bench.arm(third)
    assert isinstance(bench.arm(second), Written)


def test_the_cancel_of_a_waiting_run_lets_the_third_go(bench: Bench) -> None:
    """Who leaves the queue without having been sent gives its turn to the next."""
    first, second, third = on_thread(bench), on_thread(bench), on_thread(bench)
    sending = sent(bench.arm(first))
    bench.take(sending, saw(first, "failed"), source=Source.create)

    def call_off(facts: Facts) -> Change:
        return carry_out(facts, cancel(None), now=bench.now, actor="operator:ann")

    result = bench.commit(Decision(run_id=second.run.id, decide=call_off))

    assert isinstance(result, Written)
    assert (State.cancelled, (third.run.id,)) == (result.facts.run.state, result.woken)
    assert isinstance(bench.arm(third), Written)


@pytest.mark.parametrize(
    ("error", "frees"),
    [(ConnectionFailed(), True), (RequestRefused(), True), (ServerTrouble(), False)],
    ids=["not sent", "refused", "unclear"],
)
def test_a_create_that_made_nothing_frees_the_lane(bench: Bench, error: Any, frees: bool) -> None:
    """What was not sent or was refused holds nothing; what is unclear may live, and holds on."""
    first = on_thread(bench)
    on_thread(bench)
    sending = sent(bench.arm(first))
    bench.take(sending, failed(error), source=Source.create)

    assert (0 if frees else 1) == bench.scalar("SELECT count(*) FROM lane")


@pytest.mark.failure(12)
def test_a_run_takes_its_own_lane_again(bench: Bench) -> None:
    """A restart on the same thread does not wait for itself, and stays ahead of later runs."""
    first, second = on_thread(bench), on_thread(bench)
    sending = sent(bench.arm(first))
    again = bench.take(sending, saw(sending, "expired"), source=Source.create)
    assert 2 == again.run.attempts
    assert LaneBusy() == bench.arm(second)

    assert isinstance(bench.arm(again), Written)
    assert 1 == bench.scalar("SELECT count(*) FROM lane")


@pytest.mark.problem(23)
def test_runs_that_ask_at_once_take_the_lane_once(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """Of lives that send for one thread at the same moment, the oldest run's alone goes."""
    runs = [on_thread(bench) for _ in range(3)]
    benches = [make_bench() for _ in runs]
    barrier = threading.Barrier(len(runs))
    results: dict[int, Result] = {}

    def send(one: Bench, facts: Facts) -> None:
        barrier.wait()
        results[facts.run.id] = one.arm(facts)

    pairs = zip(benches, runs, strict=True)
    threads = [threading.Thread(target=send, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert isinstance(results[runs[0].run.id], Written)
    assert [LaneBusy(), LaneBusy()] == [results[facts.run.id] for facts in runs[1:]]
    assert 1 == bench.scalar("SELECT count(*) FROM lane")
