"""A simulator and a ledger for each test, and a comparison of both at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_rig import KEY, Daemon, MakeRig, Rig, StartDaemon, shorten

from ledger import Ledger
from ledger.simulator import Simulator


@pytest.fixture
def make_rig(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Makes the rig of a test: `scenario` for the simulator, tools and settings for the ledger."""
    with contextlib.ExitStack() as stack:

        def make(
            scenario: dict[str, Any] | None = None,
            *,
            speed: float = 10,
            key: str = KEY,
            **options: Any,
        ) -> Rig:
            sim = stack.enter_context(Simulator.running(scenario=scenario, speed=speed))
            monkeypatch.setenv("OPENAI_BASE_URL", sim.url)
            monkeypatch.setenv("OPENAI_API_KEY", key)
            given = {"settle_seconds": 0.3, "poll_seconds": 0.05} | options
            ledger = stack.enter_context(Ledger.open(database_url, **given))
            made.append(Rig(database_url, sim, ledger))
            return made[-1]

        made: list[Rig] = []
        yield make
        for rig in made:
            rig.audit()


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A rig without tools, at ten times the usual speed."""
    return make_rig()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed call is repeated after a tenth of the usual time."""
    shorten(monkeypatch, "START_SECONDS", 0.05)


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
