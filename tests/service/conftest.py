"""A simulator and a ledger for each test, and a comparison of both at its end."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_rig import Daemon, MakeRig, Rig, StartDaemon, rigs, shorten

HERE = Path(__file__).parent
BOTH = bool(os.environ.get("RUNWARD_TEST_BOTH"))


def pytest_report_header() -> str:
    """Says what is left out, and how it is run."""
    how = "each on both databases" if BOTH else "each on one database; `make thorough` runs both"
    return f"tests/service: {how}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The store's own tests run on both databases always. Here, where a case takes seconds, its
    name decides on which one it runs by default: half of the cases on either."""
    left_out = [] if BOTH else [item for item in items if _on_the_other(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _on_the_other(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    dialect = parameters.get("dialect")
    if HERE not in item.path.parents or dialect is None or _only_one(item):
        return False
    case = f"{item.path.name}:{item.name.replace(dialect, '')}"
    return bool(dialect != ("sqlite", "postgresql")[zlib.crc32(case.encode()) % 2])


def _only_one(item: pytest.Item) -> bool:
    """Whether the test names its database itself."""
    return any("dialect" in str(mark.args[0]) for mark in item.iter_markers("parametrize"))


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
