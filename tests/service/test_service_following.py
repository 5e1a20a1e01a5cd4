"""Followers at work: one life at a time, in order, with pauses after failures, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from following_rig import MakeWalker, Recorder
from service_rig import Rig
from support import NOW, Bench, later

from ledger import Notice
from ledger.core.passing_on import VERDICTS, NoticeType
from ledger.core.retrying import HANDLING, SENDING, TELLING
from ledger.service.followers import Consumer
from ledger.service.workers import make_reconciler
from ledger.store import following
from ledger.store.claims import bury


def test_everything_is_told_once_and_in_order(bench: Bench, walk: MakeWalker) -> None:
    """Runs as they came, each from its submission to its verdict."""
    life, consumer = walk(), Recorder()
    follower = life.follow(consumer)
    first, second = bench.completed().run.id, bench.completed().run.id
    life.run(follower)
    life.run(follower, 1)

    assert [first, first, second, second] == consumer.runs
    assert ["run.submitted", "run.completed"] * 2 == [str(n.type) for n in consumer.told]


def test_only_what_was_asked_for(bench: Bench, walk: MakeWalker) -> None:
    """And skipping the rest writes nothing for a minute."""
    life, consumer = walk(), Recorder(types=VERDICTS)
    follower = life.follow(consumer)
    before = bench.scalar("SELECT event_id FROM follower")
    bench.submit()
    life.run(follower)
    assert before == bench.scalar("SELECT event_id FROM follower")
    assert [] == consumer.told

    bench.submit()
    life.run(follower, 61)
    cursor = bench.store.read(lambda c: following.cursor_of(c, consumer.name, "walker"))
    assert cursor is not None
    behind = cursor.place
    assert () == bench.store.read(lambda c: following.page_after(c, behind)).notices


def test_a_failure_is_tried_again_with_growing_pauses(bench: Bench, walk: MakeWalker) -> None:
    """And nothing behind it is told before."""
    life, consumer = walk(), Recorder()
    follower = life.follow(consumer)
    bad, good = bench.submit().run.id, bench.submit().run.id
    consumer.failing = lambda notice: notice.run == bad
    pauses, at = [], 0.0
    for _ in range(4):
        due = life.run(follower, at)
        assert due is not None
        pauses.append((due - later(at)).total_seconds())
        assert due == life.run(follower, at)  # a pass before its time changes nothing
        at += pauses[-1]

    assert [] == consumer.told
    assert [0.8 <= pause / 2**n <= 1.2 for n, pause in enumerate(pauses)] == [True] * 4
    assert (4, "not today") == bench_row(bench)
    consumer.failing = lambda _: False
    life.run(follower, at)
    assert [bad, good] == consumer.runs
    assert (0, None) == bench_row(bench)


def bench_row(bench: Bench) -> tuple[int, str | None]:
    """Tries and last error of the only follower."""
    return (
        bench.scalar("SELECT tries FROM follower"),
        bench.scalar("SELECT last_error FROM follower"),
    )


def test_one_poisonous_event_does_not_stop_the_others(
    bench: Bench, walk: MakeWalker, caplog: pytest.LogCaptureFixture
) -> None:
    """After eight tries it is given up, which is logged and recorded."""
    life, consumer = walk(), Recorder(name="on:mine:handler")
    follower = life.follow(consumer)
    first, bad, last = (bench.submit().run.id for _ in range(3))
    consumer.failing = lambda notice: notice.run == bad
    at = 0.0
    for _ in range(8):
        due = life.run(follower, at)
        at += 1 if due is None else (due - later(at)).total_seconds()

    assert [first, last] == consumer.runs
    assert "gave up on run.submitted of run" in caplog.text
    assert ("on:mine:handler", bad, "given_up", 8, "not today") == tuple(
        bench.scalar(f"SELECT {column} FROM outbox")
        for column in ("endpoint", "run_id", "state", "tries", "last_error")
    )


def test_what_is_kept_for_a_system_is_never_given_up(bench: Bench, walk: MakeWalker) -> None:
    """An exporter that was down for hours gets everything when it is back."""
    life, consumer = walk(), Recorder(schedule=TELLING)
    follower = life.follow(consumer)
    run = bench.submit().run.id
    consumer.failing = lambda _: True
    at = 0.0
    while at < 7_200:
        due = life.run(follower, at)
        assert due is not None
        assert due - later(at) <= timedelta(seconds=72)
        at = (due - NOW).total_seconds()
    consumer.failing = lambda _: False
    life.run(follower, at)

    assert [run] == consumer.runs


def test_a_clock_that_was_set_back_holds_nothing_up(bench: Bench, walk: MakeWalker) -> None:
    """A pause that no schedule makes is none."""
    life, consumer = walk(), Recorder()
    follower = life.follow(consumer)
    run = bench.submit().run.id
    consumer.failing = lambda _: True
    life.run(follower, 86_400)
    consumer.failing = lambda _: False
    life.run(follower, 0)

    assert [run] == consumer.runs


def test_two_lives_never_tell_both(
    bench: Bench, walk: MakeWalker, make_bench: Callable[[], Bench]
) -> None:
    """The second takes over where the first one died, and misses nothing."""
    first, second = walk("first"), walk("second", make_bench())
    one, two = Recorder(), Recorder()
    follower, follower2 = first.follow(one), second.follow(two)
    early = bench.submit().run.id
    first.run(follower)
    second.run(follower2)
    assert ([early], []) == (one.runs, two.runs)

    late = bench.submit().run.id
    bench.committer.run(
        lambda c: bury(c, lives=bench.store.lives, life_id="first", now=NOW, by="me")
    )
    second.run(follower2)
    first.run(follower)
    assert ([early], [late]) == (one.runs, two.runs)


def test_a_life_that_lost_it_in_the_middle_moves_nothing(bench: Bench, walk: MakeWalker) -> None:
    """It stood still while it told, and was buried: its place stays for the next owner."""
    life, consumer = walk("late"), Recorder()
    follower = life.follow(consumer)
    life.run(follower)
    before = bench.scalar("SELECT event_id FROM follower")
    bench.submit()

    def buried(_: Notice) -> bool:
        bench.committer.run(
            lambda c: bury(c, lives=bench.store.lives, life_id="late", now=NOW, by="me")
        )
        return False

    consumer.failing = buried

    assert life.step(follower) is None
    assert (before, None) == (
        bench.scalar("SELECT event_id FROM follower"),
        bench.scalar("SELECT owner FROM follower"),
    )


def test_the_schedules_are_what_they_promise() -> None:
    """Two minutes for handlers, three days for webhooks, for ever for exporters."""
    for schedule, least, most in ((HANDLING, 100, 200), (SENDING, 2.5 * 86_400, 3.5 * 86_400)):
        at, tries = NOW, 0
        while True:
            tries += 1
            due = schedule.next_at(at, tries=tries, spread=0.5)
            if due is None:
                break
            at = due
        assert least <= (at - NOW).total_seconds() <= most
    assert TELLING.next_at(NOW, tries=10**6, spread=0.5) is not None


# Whole lives.


class Stuck(Consumer):
    """Hangs at the first thing that it is told."""

    name, types = "stuck", frozenset(NoticeType)

    async def take(self, notices: object) -> object:  # type: ignore[override]
        """Never comes back."""
        await asyncio.Event().wait()


def test_a_consumer_that_hangs_holds_up_no_run(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor another consumer, nor the end of the life for longer than its bound."""
    told = Recorder()
    monkeypatch.setattr("ledger.service.followers.END_SECONDS_MAX", 0.1)
    monkeypatch.setattr("ledger.service.workers.consumers", lambda *_: [Stuck(), told])
    with rig.daemon():
        runs = [rig.submit() for _ in range(5)]
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
        rig.expect(lambda: sum(n.type in VERDICTS for n in told.told) == 5)

    assert {run.id for run in runs} == set(told.runs)


def test_a_life_that_ends_passes_on_what_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`daemon --once` and a wait do not leave the verdict to the next life."""
    told = Recorder(types=VERDICTS)
    monkeypatch.setattr("ledger.service.workers.consumers", lambda *_: [told])

    async def work() -> None:
        life = make_reconciler(rig.ledger, role="daemon")
        await life.begin()
        runs.append(await asyncio.to_thread(rig.submit))
        await life.run(asyncio.Event(), until=lambda: rig.ledger.get(runs[0]).final)

    runs: list[object] = []
    asyncio.run(work())

    assert [run.id for run in runs] == told.runs  # type: ignore[attr-defined]
    assert rig.scalar("SELECT owner FROM follower") is None


def test_a_life_that_has_ended_is_not_born_again(bench: Bench, walk: MakeWalker) -> None:
    """A heartbeat on its way while the life ends finds its row ended, and leaves it at that."""
    life = walk()
    life.do(life.heart.end("drained"))
    life.do(life.heart.beat())

    rows = bench.store.read(lambda c: bench.store.lives.rows(c, everything=True))
    assert ["drained"] == [row.end for row in rows]
