"""The rig of tests/service, and faults of the machine below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent
sys.path.append(str(FAULTS.parent / "service"))

from fault_rig import LONG, FaultDaemon, OwnPostgres, StartFault, folder_on_small_disk  # noqa: E402
from service_rig import MakeRig, rigs  # noqa: E402
from service_tools import FOLDER  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything here carries the marker; what is long runs only where it was asked for."""
    here = [item for item in items if FAULTS in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.faults)
    long = [item for item in here if _long(item) and not LONG]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def _long(item: pytest.Item) -> bool:
    """What runs on both databases has its PostgreSQL in the long form."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return bool(item.get_closest_marker("faults_long")) or parameters.get("dialect") == "postgresql"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tools leave traces; with GO in it they do not wait."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def rig_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Makes a rig on any database; afterwards the ledger is compared with upstream's account."""
    with rigs(monkeypatch) as make:
        yield make


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartFault]:
    """Starts daemons as processes, and leaves none behind, be it stopped."""
    started: list[FaultDaemon] = []

    def start_one(url: str, *arguments: str, **given: object) -> FaultDaemon:
        log = tmp_path / f"daemon{len(started)}.log"
        started.append(FaultDaemon(url, log, *arguments, **given))  # type: ignore[arg-type]
        return started[-1]

    yield start_one
    for daemon in started:
        daemon.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    with folder_on_small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL server that the test may kill."""
    with OwnPostgres.running() as server:
        yield server
