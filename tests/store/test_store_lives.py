"""Lives: a lock that dies with its process, and who may be declared dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support import NOW, POSTGRESQL, SQLITE, Bench, later

from ledger import clock
from ledger.clock import wait_until
from ledger.store.lives import FileLock, Life, LifeLock, Pulse, Standing, lock_is_free, pid_started

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, pathlib
from ledger.store.lives import FileLock
lock = FileLock(pathlib.Path(sys.argv[1]))
"""
HOLD_AND_FORK = f"""{HOLD}
import os, signal
child = os.fork()
if child == 0:
    signal.pause()
print(child, flush=True)
signal.pause()
"""
HOLD_AND_WAIT = f"""{HOLD}
print(0, flush=True)
sys.stdin.read()
"""


def start(script: str, path: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that holds the lock, and the number that it printed once it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a crash would."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """A life that is killed needs no time-out: its lock is free as soon as it is gone."""
    path = tmp_path / "lives" / "a.lock"
    process, _ = start(HOLD_AND_WAIT, path)
    held = not lock_is_free(path)
    kill(process)

    assert held
    assert lock_is_free(path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A tool's child that outlives the daemon does not make it look alive."""
    path = tmp_path / "a.lock"
    process, child = start(HOLD_AND_FORK, path)
    held = not lock_is_free(path)
    kill(process)
    try:
        assert held
        # The child closes its copy as its first act, which may be a moment after the fork.
        assert wait_until(lambda: lock_is_free(path), seconds=10)
        assert pid_started(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_probing_a_lock_does_not_take_it(tmp_path: Path) -> None:
    """Looking whether a life is alive neither disturbs it nor leaves a trace."""
    path = tmp_path / "a.lock"
    lock = FileLock(path)
    assert [False, False] == [lock_is_free(path) for _ in range(2)]
    assert lock.alive()
    lock.release()
    assert lock_is_free(path)
    assert (False, False) == (path.exists(), lock.alive())


# Judging, on both databases.


@pytest.fixture
def locks() -> Iterator[list[LifeLock]]:
    """Locks to be released at the end."""
    taken: list[LifeLock] = []
    yield taken
    for lock in taken:
        lock.release()


def begin(bench: Bench, name: str, locks: list[LifeLock], **fields: float) -> LifeLock:
    """A life with its lock and row."""
    life = Life(id=name, role="daemon", version="1", **fields)  # type: ignore[arg-type]
    locks.append(bench.store.lives.lock(life))
    bench.committer.run(lambda c: bench.store.lives.begin(c, life, NOW))
    return locks[-1]


def judged(bench: Bench) -> tuple[list[str], list[str]]:
    """(dead, overdue) as `me` sees them."""
    return bench.store.read(lambda c: bench.store.lives.judge(c, "me"))


def stale(bench: Bench, seconds: float) -> None:
    """Move all heartbeats into the past."""
    bench.execute("UPDATE worker SET beat = beat - :s", s=seconds)


def drop_connection(bench: Bench) -> None:
    """Terminate the connections that hold the locks of lives, and wait until they are gone.

    Other tests have databases on the same server, whose connections are theirs.
    """
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    locked = f"FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND database = {here}"
    bench.scalar(f"SELECT count(pg_terminate_backend(pid)) {locked}")
    assert wait_until(lambda: bench.scalar(f"SELECT count(*) {locked}") == 0, seconds=10)


def test_a_life_that_holds_its_lock_is_alive(bench: Bench, locks: list[LifeLock]) -> None:
    """Neither dead nor overdue, also with an old heartbeat, as long as the lease runs."""
    lock = begin(bench, "a", locks)
    stale(bench, 20)

    assert ([], []) == judged(bench)
    assert lock.alive()


def test_a_held_lock_whose_lease_ran_out_is_overdue(bench: Bench, locks: list[LifeLock]) -> None:
    """A process that hangs keeps its lock; when its lease is over, others may take its runs."""
    begin(bench, "a", locks, lease_seconds=-1.0)

    assert ([], ["a"]) == judged(bench)


def test_a_life_never_judges_itself(bench: Bench, locks: list[LifeLock]) -> None:
    """Whatever its own row says, a life is not among the dead that it sees."""
    begin(bench, "me", locks, lease_seconds=-1.0)

    assert ([], []) == judged(bench)


class WrongClock(clock.MachineClock):
    """A machine whose wall clock is off by so many hours."""

    def __init__(self, hours: float) -> None:
        self._by = timedelta(hours=hours)

    def utcnow(self) -> datetime:
        """Wrong."""
        return super().utcnow() + self._by


@pytest.mark.problem(6)
@pytest.mark.failure(32)
@pytest.mark.parametrize("hours", [-30, 0, 30])
def test_wall_clocks_decide_nothing_about_lives(
    bench: Bench, locks: list[LifeLock], hours: float
) -> None:
    """Whoever beats, and whoever judges, may be a day off: one clock, which they share, counts."""
    lives, life = bench.store.lives, Life(id="a", role="daemon", version="1")
    locks.append(lives.lock(life))
    beat_at = later(3_600 * hours)
    bench.committer.run(lambda c: lives.begin(c, life, beat_at))
    assert Standing.alive == bench.committer.run(lambda c: lives.beat(c, life, beat_at))

    with clock.use(WrongClock(-hours)):
        assert ([], []) == judged(bench)
        stale(bench, 100)
        bench.execute("UPDATE worker SET lease_until = beat")
        assert ([], ["a"]) == judged(bench)


def test_an_ended_life_is_history(bench: Bench, locks: list[LifeLock]) -> None:
    """Who said goodbye, or was declared dead, is judged no more; the first account stays."""
    begin(bench, "a", locks, lease_seconds=-1.0)
    for how in ("drained", "died"):
        bench.committer.run(lambda c, how=how: bench.store.lives.end(c, "a", how, later(1)))

    assert ([], []) == judged(bench)
    assert "drained" == bench.scalar("SELECT \"end\" FROM worker WHERE id = 'a'")


@pytest.mark.failure(7)
def test_only_ended_lives_are_forgotten(bench: Bench, locks: list[LifeLock]) -> None:
    """However long a life has been silent, its row stays until somebody has ended it and freed
    its runs: a row that is gone could not be found dead."""
    begin(bench, "a", locks, lease_seconds=-1.0)
    for run in bench.submit_many(2):
        assert [run.run.id] == [facts.run.id for facts in bench.claim("a", limit=1)]

    bench.committer.run(lambda c: bench.store.lives.forget(c, later(10**8)))

    assert ([], ["a"]) == judged(bench)


@pytest.mark.failure(8)
def test_a_heartbeat_renews_the_lease_and_hears_of_the_drain(
    bench: Bench, locks: list[LifeLock]
) -> None:
    """A beat says whether all is well, a drain was asked for, or somebody ended the life."""
    begin(bench, "a", locks, lease_seconds=-1.0)
    life = Life(id="a", role="daemon", version="1")

    def beat() -> Standing:
        return bench.committer.run(lambda c: bench.store.lives.beat(c, life, later(5)))

    assert Standing.alive == beat()
    assert ([], []) == judged(bench)
    bench.execute("UPDATE worker SET drain = true")
    assert Standing.draining == beat()
    bench.execute("UPDATE worker SET drain = false, ended_at = '2026-01-01 00:00:00'")
    assert Standing.dead == beat()


@SQLITE
def test_a_free_lock_file_is_death(bench: Bench, locks: list[LifeLock]) -> None:
    """On one machine a free lock proves that the process is gone, whatever its heartbeat."""
    begin(bench, "a", locks).release()

    assert (["a"], []) == judged(bench)


@SQLITE
def test_another_start_of_the_machine_is_death(bench: Bench, locks: list[LifeLock]) -> None:
    """Nobody survives a reboot, and lease times of two boots cannot be compared."""
    begin(bench, "a", locks)
    bench.execute("UPDATE worker SET boot_id = 'another'")

    assert (["a"], []) == judged(bench)


@POSTGRESQL
def test_a_lost_connection_is_not_death(bench: Bench, locks: list[LifeLock]) -> None:
    """A connection cut while the process lives and its heart beats proves nothing yet."""
    lock = begin(bench, "a", locks)
    drop_connection(bench)

    assert ([], []) == judged(bench)
    assert not lock.alive()


@POSTGRESQL
def test_a_lost_connection_with_a_stale_heartbeat_is_death(
    bench: Bench, locks: list[LifeLock]
) -> None:
    """Lock free and silent for three seconds: its runs are taken over."""
    begin(bench, "a", locks)
    drop_connection(bench)
    stale(bench, 3.5)

    assert (["a"], []) == judged(bench)


@POSTGRESQL
@pytest.mark.parametrize(
    ("change", "dead"), [("pid_started = '1'", ["a"]), ("pid_started = '1', host = 'b'", [])]
)
def test_a_process_that_is_gone_from_this_machine_is_dead_at_once(
    bench: Bench, locks: list[LifeLock], change: str, dead: list[str]
) -> None:
    """A number that another process has now counts on the same host alone."""
    begin(bench, "a", locks)
    drop_connection(bench)
    bench.execute(f"UPDATE worker SET {change}")

    assert (dead, []) == judged(bench)


@pytest.mark.problem(7)
def test_a_pulse_forbids_effects_before_the_lease_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A life acts for two thirds of its lease after a heartbeat, and not longer."""
    now = [100.0]
    monkeypatch.setattr("ledger.store.lives.monotonic", lambda: now[0])
    lock = FileLock(tmp_path / "a.lock")
    pulse = Pulse(lock, lease_seconds=30)
    now[0] = 119.9
    assert pulse.may_act()
    now[0] = 120.0
    assert not pulse.may_act()
    pulse.beaten()
    assert (True, True) == (pulse.may_act(), pulse.lock_alive())
    lock.release()
    assert not pulse.lock_alive()
