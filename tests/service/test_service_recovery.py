"""Recovery is the ordinary path: derived from the rows, by every life, whatever goes wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from openai import OpenAI
from service_rig import ROOT, MakeRig, Rig, verdict
from support import SQLITE

from ledger import Ledger, Run, clock, tool
from ledger.clock import utcnow, wait_until
from ledger.errors import DatabaseError
from ledger.service import driver, reconciler, waiting
from ledger.store import claims
from ledger.store.claims import claim
from ledger.store.life_events import life_events
from ledger.store.lives import Life

DONE = ("completed", 1, None, None, None)
SLOW = {"durations": {"slow": 30}}
LEASE = 3.0
"""The shortest that can be set: a busy machine stands still for less."""


def left_by_the_dead(rig: Rig, *runs: Run) -> None:
    """Give each run to a life of its own, which holds no lock and has not beaten for a minute."""
    lives = rig.ledger.store.lives
    for run in runs:
        life = Life(id=f"dead{run.id}", role="daemon", version="1")

        def begin(connection: Any, life: Life = life, run_id: int = run.id) -> None:
            lives.begin(connection, life, utcnow())
            claim(connection, life.id, dead=[], only=[run_id])

        rig.ledger.writer.run(begin).result()
    rig.execute("UPDATE worker SET beat = beat - 60")


def all_final(rig: Rig, runs: list[Run]) -> bool:
    return all(rig.ledger.get(run).final for run in runs)


def lives_of(rig: Rig) -> list[tuple[str, str | None]]:
    """(id, end) of all lives, in order."""
    return [tuple(r) for r in rig.rows('SELECT id, "end" FROM worker ORDER BY started_at, id')]


@pytest.mark.problem(4)
@pytest.mark.failure(1)
def test_an_error_in_the_middle_of_recovery_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away after the first of three dead lives was buried, and comes back: the
    next pass buries the others, from the rows."""
    runs = [rig.submit("sim-ok") for _ in range(3)]
    left_by_the_dead(rig, *runs)
    bury, buried = claims.bury, []

    def breaking(connection: Any, **given: Any) -> Any:
        buried.append(given["life_id"])
        if len(buried) == 2:
            raise DatabaseError("the server is starting up")
        return bury(connection, **given)

    monkeypatch.setattr(claims, "bury", breaking)
    with rig.daemon(sweep_seconds=0.1):
        rig.expect(lambda: all_final(rig, runs))

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert (4, 2) == (len(buried), buried.count(buried[1]))
    assert {"died"} == {end for life, end in lives_of(rig) if life.startswith("dead")}


@pytest.mark.problem(3)
@pytest.mark.failure(3)
def test_every_start_is_another_life_and_one_that_drains_takes_nothing(rig: Rig) -> None:
    """The same process twice, on the same machine: two names. What is submitted while the first
    drains, its heart still beating, is left to the second."""
    draining, go_on = threading.Event(), threading.Event()
    with rig.daemon(sweep_seconds=0.05) as one:
        let_go = one._let_go

        async def hold() -> None:
            draining.set()
            await asyncio.to_thread(go_on.wait, 20)
            await let_go()

        one._let_go = hold
        rig.execute("UPDATE worker SET drain = :yes", yes=True)
        assert draining.wait(20)
        second = rig.submit("sim-ok")
        beat = rig.scalar("SELECT beat FROM worker")
        rig.expect(lambda: rig.scalar("SELECT beat FROM worker") > beat)
        assert None is _owner(rig, second)
        go_on.set()
    with rig.daemon():
        rig.expect(lambda: rig.ledger.get(second).final)

    names = [life for life, _ in lives_of(rig)]
    assert (2, {32}) == (len(set(names)), {len(name) for name in names})
    assert "drained" == lives_of(rig)[0][1]
    assert {f"life:{names[0]}"}.isdisjoint(e["actor"] for e in rig.ledger.events(second))


@pytest.mark.problem(3)
@pytest.mark.failure(3)
def test_a_life_that_was_declared_dead_begins_again_under_another_name(rig: Rig) -> None:
    """It heard of its end by its own heartbeat, and everything it then does is another's work."""
    with rig.daemon(sweep_seconds=0.05) as daemon:
        old = daemon.heart.life.id
        rig.execute("UPDATE worker SET ended_at = started_at, \"end\" = 'died'")
        rig.expect(lambda: daemon.heart.rebirths == 1)
        run = rig.submit("sim-ok")
        rig.expect(lambda: rig.ledger.get(run).final)
        new = daemon.heart.life.id

    assert old != new
    actors = {event["actor"] for event in rig.ledger.events(run)}
    assert (True, False) == (f"life:{new}" in actors, f"life:{old}" in actors)


@pytest.mark.failure(9)
def test_a_life_without_a_free_place_still_recovers(make_rig: MakeRig) -> None:
    """Its only place is taken by a tool that hangs; who died is buried all the same."""
    entered, release = threading.Event(), threading.Event()

    @tool
    def lookup(query: str) -> str:
        entered.set()
        release.wait(20)
        return query

    rig = make_rig(tools=[lookup])
    busy = rig.submit("sim-tool")
    with rig.daemon(concurrency=1, sweep_seconds=0.05) as daemon:
        assert entered.wait(20)
        lost = rig.submit("sim-ok")
        left_by_the_dead_beside(rig, daemon.heart.life.id, lost)
        rig.expect(lambda: _owner(rig, lost) == daemon.heart.life.id)
        assert not rig.ledger.get(busy).final
        release.set()
        rig.expect(lambda: all_final(rig, [busy, lost]))

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in (busy, lost)}


def left_by_the_dead_beside(rig: Rig, alive: str, run: Run) -> None:
    """The same while a life is at work, whose heartbeat stays as it is."""
    lives, life = rig.ledger.store.lives, Life(id="dead", role="daemon", version="1")

    def begin(connection: Any) -> None:
        lives.begin(connection, life, utcnow())
        claim(connection, life.id, dead=[alive], only=[run.id])

    rig.ledger.writer.run(begin).result()
    rig.execute("UPDATE worker SET beat = beat - 60 WHERE id = 'dead'")


def _owner(rig: Rig, run: Run) -> Any:
    return rig.scalar("SELECT owner FROM watch WHERE run_id = :n", n=run.id)


@pytest.mark.failure(10)
def test_a_tool_that_outlasts_the_lease_stays_with_its_life(make_rig: MakeRig) -> None:
    """More than a lease within one call, with another life looking on: it runs once."""
    held: list[tuple[str, int]] = []

    def owner() -> tuple[str, int]:
        ((life, fence),) = rig.rows("SELECT owner, fence FROM watch")
        return life, fence

    @tool(idempotent=False)
    def lookup(query: str) -> str:
        held.append(owner())
        began = clock.monotonic()
        assert wait_until(lambda: clock.monotonic() - began > 1.3 * LEASE, seconds=20)
        held.append(owner())
        return query

    rig = make_rig(tools=[lookup], lease_seconds=LEASE)
    run = rig.submit("sim-tool")
    with Ledger.open(rig.url, tools=[lookup], lease_seconds=LEASE) as other:
        looking_on = Rig(rig.url, rig.sim, other)
        with rig.daemon(sweep_seconds=0.05), looking_on.daemon(sweep_seconds=0.05):
            rig.expect(lambda: rig.ledger.get(run).final)

    assert (DONE, 2) == (verdict(rig.ledger.get(run)), len(held))
    assert held[0] == held[1]
    assert ["drained", "drained"] == [end for _, end in lives_of(rig)]


@SQLITE
@pytest.mark.failure(12)
def test_a_wait_for_the_second_run_of_a_thread_drives_the_first(rig: Rig) -> None:
    """Nobody else would: the wait would be for what only itself can bring about."""
    with OpenAI() as client:
        thread = client.post("/threads", body={}, cast_to=dict[str, Any])["id"]
    first, second = (rig.submit("sim-ok", "assistants", thread_id=thread) for _ in range(2))

    assert DONE == verdict(rig.ledger.wait(second, timeout=20))
    assert rig.ledger.get(first).final


@pytest.mark.failure(19)
def test_sweeps_write_nothing_about_what_is_over(rig: Rig) -> None:
    """Finished runs of a dead life, with a flag or without, look the same after many sweeps."""
    runs = [rig.run("sim-ok"), rig.run("sim-empty"), rig.run("sim-fail-server_error")]
    before = [rig.ledger.show(run) for run in runs]
    rig.execute('UPDATE worker SET ended_at = NULL, "end" = NULL, beat = beat - 60')
    passes: list[datetime] = []
    with rig.daemon(sweep_seconds=0.01) as daemon:
        sweep = daemon._sweep

        async def counted(now: datetime, report: Any) -> None:
            await sweep(now, report)
            passes.append(now)

        daemon._sweep = counted
        rig.expect(lambda: len(passes) > 20)

    assert before == [rig.ledger.show(run) for run in runs]
    assert {"died", "drained"} == {end for _, end in lives_of(rig)}


class Silent:
    """A subscription that never calls."""

    def __init__(self, *ignored: Any) -> None:
        pass

    def close(self) -> None:
        """Nothing to end."""


@pytest.mark.problem(15)
@pytest.mark.failure(16)
def test_without_any_hint_everything_is_found(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """New runs, commands and verdicts: notifications may all be lost."""
    for module in (reconciler, waiting):
        monkeypatch.setattr(module, "subscribe", Silent)
    with rig.daemon(sweep_seconds=0.1):
        stuck = rig.submit("sim-stuck-in_progress")
        rig.expect(lambda: rig.ledger.get(stuck).state == "in_progress")
        run = rig.submit("sim-ok")
        assert DONE == verdict(rig.ledger.wait(run, timeout=20, drive="never"))
        rig.ledger.cancel(stuck)
        assert "cancelled" == rig.ledger.wait(stuck, timeout=20, drive="never").state

    assert run.id == rig.ledger.wait(run, timeout=0, drive="never").id


@pytest.mark.problem(15)
@pytest.mark.failure(16)
def test_a_command_that_meets_a_busy_run_is_read_before_the_next_step(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel comes while a read is under way whose reply has no news: it is not slept over."""
    reading, answered = threading.Event(), threading.Event()
    perform = driver.perform

    async def performing(provider: Any, facts: Any, step: Any, read: Any) -> Any:
        done = await perform(provider, facts, step, read)
        if type(step).__name__ == "Observe" and not answered.is_set():
            reading.set()
            await asyncio.to_thread(answered.wait, 20)
        return done

    monkeypatch.setattr(driver, "perform", performing)
    run = rig.submit("sim-stuck-queued", poll_seconds=3_600)
    with rig.daemon(sweep_seconds=0.05, review_seconds=3_600.0) as daemon:
        rig.expect(lambda: rig.remotes(run)[0]["state"] == "confirmed")
        rig.ledger.recheck(run)
        assert reading.wait(20)
        rig.ledger.cancel(run)
        rig.expect(lambda: daemon.holdings.agenda.entries[run.id].touched)
        answered.set()
        rig.expect(lambda: rig.ledger.get(run).final)

    assert "cancelled" == rig.ledger.get(run).state


DAY = timedelta(days=1)


class SetClock(clock.MachineClock):
    """A machine whose wall clock somebody sets."""

    by = timedelta()

    def utcnow(self) -> datetime:
        """As it was set."""
        return super().utcnow() + self.by


@contextmanager
def set_clock() -> Iterator[SetClock]:
    made = SetClock()
    with clock.use(made):
        yield made


@pytest.mark.problem(29)
@pytest.mark.parametrize("hours", [-3, 3])
def test_a_wall_clock_that_is_set_delays_and_reorders_nothing(
    make_rig: MakeRig, hours: float
) -> None:
    """Three hours forth or back in the middle of a run: the next look comes in its time, and the
    history has its order by number."""
    rig, now = make_rig(SLOW), utcnow()
    with set_clock() as wall, rig.daemon(sweep_seconds=0.5):
        run = rig.submit("sim-slow")
        rig.expect(lambda: rig.ledger.get(run).state == "in_progress")
        wall.by = timedelta(hours=hours)
        rig.expect(lambda: rig.ledger.get(run).final)
        more = rig.submit("sim-ok")
        rig.expect(lambda: rig.ledger.get(more).final)

    assert [DONE, DONE] == [verdict(rig.ledger.get(one)) for one in (run, more)]
    events = list(rig.ledger.events(run))
    assert list(range(1, len(events) + 1)) == [event["seq"] for event in events]
    times = [event["recorded_at"] for event in events]
    assert (hours > 0) == (times == sorted(times))
    told = rig.ledger.store.read(lambda c: life_events(c, now - DAY, now + DAY))
    jumps = [row.detail["seconds"] for row in told if row.kind == "clock_jumped"]
    assert [hours * 3600] == [round(seconds) for seconds in jumps]


@pytest.mark.problem(20)
def test_a_restart_does_not_ask_for_everything_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty runs that are all due: no more calls at a time than the life has places."""
    perform, under_way, most = driver.perform, [0], [0]

    async def counted(*given: Any) -> Any:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        try:
            return await perform(*given)
        finally:
            under_way[0] -= 1

    runs = [rig.submit("sim-ok") for _ in range(40)]
    monkeypatch.setattr(driver, "perform", counted)
    with rig.daemon(concurrency=4):
        rig.expect(lambda: all_final(rig, runs))

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert 4 == most[0]


CALLER = """
import sys
from ledger import Ledger
with Ledger.open(sys.argv[1]) as ledger:
    run = ledger.submit(model="sim-slow", input="What is 2+2?", key="orphan")
    ledger.wait(run)
"""


@pytest.mark.failure(31)
def test_a_run_outlives_the_program_that_wanted_it(make_rig: MakeRig) -> None:
    """Submitted and waited for by a program that is killed; another life brings the verdict."""
    rig = make_rig(SLOW)
    caller = subprocess.Popen([sys.executable, "-c", CALLER, rig.url], cwd=ROOT)
    try:
        rig.expect(lambda: [run.state for run in rig.ledger.runs()] == ["in_progress"])
    finally:
        caller.kill()
        caller.wait()

    (run,) = rig.finish(rig.ledger.get("orphan"))
    assert DONE == verdict(run)
    assert 1 == len(rig.made(run))
