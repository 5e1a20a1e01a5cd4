"""What a supervisor is told, over a real socket; and that a loop that hangs says nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from notify_rig import WATCHDOG, Manager
from service_rig import Daemon, Rig
from support import SQLITE

from ledger.clock import wait_until
from ledger.errors import DatabaseError
from ledger.service.supervision import Supervisor
from ledger.service.workers import make_reconciler


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A process manager that listens."""
    names = {"path": str(tmp_path / "notify"), "abstract": f"@runward-test-{os.getpid()}"}
    manager = Manager(names[request.param])
    yield manager
    manager.close()


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def supervisor(manager: Manager, clock: Hands, watchdog_seconds: float | None = 60.0) -> Supervisor:
    """One whose time is passed in."""
    address = manager.environment["NOTIFY_SOCKET"]
    return Supervisor(address, watchdog_seconds=watchdog_seconds, clock=clock)


def test_a_supervisor_is_told_all_that_it_asks_for(manager: Manager) -> None:
    """Ready once; the backlog and the watchdog at most every ten seconds, or in half its time."""
    clock = Hands()
    told = supervisor(manager, clock)
    told.migrating()
    assert ["EXTEND_TIMEOUT_USEC=600000000", "STATUS=bringing the schema up to date"] == (
        manager.news()
    )

    told.passed(lambda: (3, 1))
    status = "STATUS=3 runs owned, 1 due"
    assert ["READY=1", status, status, "WATCHDOG=1"] == manager.news()
    clock.seconds += 9.9
    told.passed(lambda: (3, 1))
    assert [] == manager.news()
    clock.seconds += 0.1
    told.passed(lambda: (2, 0))
    assert ["STATUS=2 runs owned, 0 due", "WATCHDOG=1"] == manager.news()

    impatient = supervisor(manager, clock, watchdog_seconds=8.0)
    impatient.passed(lambda: (0, 0))
    clock.seconds += 4.0
    impatient.passed(lambda: (0, 0))
    assert 2 == manager.news().count("WATCHDOG=1")

    told.stopping(25.0)
    assert ["STOPPING=1", "EXTEND_TIMEOUT_USEC=40000000"] == manager.news()[:2]


@pytest.mark.parametrize(
    ("environment", "pings"),
    [
        ({}, 1),
        ({"WATCHDOG_PID": str(os.getpid())}, 1),
        ({"WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": ""}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_only_a_watchdog_that_is_meant_for_us_is_fed(
    manager: Manager, environment: dict[str, str], pings: int
) -> None:
    """As sd_watchdog_enabled has it."""
    Supervisor.of({**manager.environment, **environment}).passed(lambda: (0, 0))
    said = manager.news()
    assert (1, pings) == (said.count("READY=1"), said.count("WATCHDOG=1"))


@pytest.mark.parametrize("address", ["", "@", "relative", "vsock:2:9", "/not/there"])
def test_without_a_supervisor_nothing_happens(address: str) -> None:
    """Nor where its socket is none of ours, or gone."""
    told = Supervisor.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": WATCHDOG})
    told.migrating()
    told.ready("answering")
    told.passed(lambda: (0, 0))
    told.stopping(0.0)


@SQLITE
@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_the_watchdog_starves_when_the_loop_hangs(
    rig: Rig, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes feed it, also those that found the database away; errors of ours and a pass that does
    not end do not, however alive the process is otherwise."""

    async def play() -> None:
        reconciler = make_reconciler(rig.ledger, role="daemon", sweep_seconds=0.01)
        clock, stop, hung = Hands(), asyncio.Event(), asyncio.Event()
        reconciler.supervisor = supervisor(manager, clock)
        trouble: list[Exception | None] = [None]
        tick, passes = reconciler.tick, 0

        async def watched(now: object) -> object:
            nonlocal passes
            passes += 1
            clock.seconds += 30.0
            if hung.is_set():
                await asyncio.Event().wait()
            if trouble[0] is not None:
                raise trouble[0]
            return await tick(now)  # type: ignore[arg-type]

        async def more(count: int) -> int:
            """Let so many passes happen; how often they fed the watchdog."""
            manager.news()
            before, end = passes, asyncio.get_running_loop().time() + 10
            while passes < before + count and asyncio.get_running_loop().time() < end:
                reconciler.hint()
                await asyncio.sleep(0.005)
            assert passes >= before + min(count, 1)
            return manager.news().count("WATCHDOG=1")

        monkeypatch.setattr(reconciler, "tick", watched)
        await reconciler.begin()
        assert [] == manager.news()
        running = asyncio.create_task(reconciler.run(stop))
        assert await more(3) > 0
        assert manager.heard_of("READY=1")

        trouble[0] = DatabaseError("away")
        assert await more(3) > 0
        trouble[0] = ValueError("an error of ours")
        await more(1)
        assert 0 == await more(1)

        trouble[0] = None
        hung.set()
        await more(1)
        clock.seconds += 3_600.0
        for _ in range(20):
            reconciler.hint()
            await asyncio.sleep(0.005)
        assert 0 == manager.news().count("WATCHDOG=1")
        # What else this process does goes on: that is why no timer may feed the watchdog.
        assert reconciler.heart.may_act()
        assert 1 == manager.heard.count("READY=1")

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(play())


@SQLITE
@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_daemon_under_a_supervisor(database_url: str, manager: Manager, tmp_path: Path) -> None:
    """Ready when its loop has begun, stopping when it drains."""
    daemon = Daemon(
        database_url,
        tmp_path / "daemon.log",
        OPENAI_API_KEY="sk-0123456789abcdef",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        **manager.environment,
    )
    try:
        daemon.expect("it is ready", lambda: manager.heard_of("READY=1"))
        assert ["READY=1", "STATUS=0 runs owned, 0 due", "WATCHDOG=1"] == [
            line for n, line in enumerate(manager.heard) if line not in manager.heard[:n]
        ]
        daemon.process.send_signal(signal.SIGTERM)
        assert 0 == daemon.process.wait(20)
        assert wait_until(lambda: manager.heard_of("STOPPING=1"), seconds=5)
    finally:
        daemon.end()
