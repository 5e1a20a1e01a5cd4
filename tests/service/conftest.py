"""A simulator and a ledger for each test, and a comparison of both at its end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from following_rig import MakeWalker, walkers
from service_rig import Daemon, MakeRig, Rig, StartDaemon, rigs, shorten
from support import Bench


@pytest.fixture
def make_rig(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Makes the rig of a test: `scenario` for the simulator, tools and settings for the ledger."""
    with rigs(monkeypatch) as make:
        yield functools.partial(make, database_url)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A rig without tools, at ten times the usual speed."""
    return make_rig()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed call is repeated after a tenth of the usual time."""
    shorten(monkeypatch, "TROUBLE_START_SECONDS", 0.05)


@pytest.fixture
def start_daemon(database_url: str, tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons as processes, and leaves none behind."""
    started: list[Daemon] = []

    def start(*arguments: str, **environment: str) -> Daemon:
        log = tmp_path / f"daemon{len(started)}.log"
        started.append(Daemon(database_url, log, *arguments, **environment))
        return started[-1]

    yield start
    for daemon in started:
        daemon.end()


@pytest.fixture
def walk(bench: Bench, make_bench: Callable[[], Bench]) -> Iterator[MakeWalker]:
    """Makes lives that follow the log of the bench; they end before any bench is closed."""
    with walkers(bench) as make:
        yield make
