"""kill -9 during a migration: the next command finds a database that is whole, or makes it so."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_migrate import POINT, POINTS
from fault_rig import PATHS, more, runward
from service_rig import SECONDS_MAX
from service_tools import REACHED

from ledger import Ledger
from ledger.clock import wait_until
from ledger.store.migrate import differences

STEP_SECONDS = 0.02


@pytest.mark.problem(25)
@pytest.mark.parametrize(
    ("command", "point"),
    [
        ("db upgrade", "tables"),
        *more(("db upgrade", "guards"), *(("list", point) for point in POINTS)),
    ],
)
def test_a_killed_migration_is_made_by_the_next_command(
    empty_database_url: str, folder: Path, point: str, command: str
) -> None:
    """Nothing of it stays, and its lock does not outlive it."""
    url = empty_database_url
    process = _upgrade(url, "fault_migrate", **{POINT: point})
    assert wait_until((folder / REACHED).exists, seconds=SECONDS_MAX)
    process.kill()
    process.wait(SECONDS_MAX)
    left = differences(url)
    done = runward(url, *command.split())

    assert "schema is empty: None" == left[0]
    assert 0 == done.returncode, done.stderr
    _is_whole(url)


@pytest.mark.problem(25)
@pytest.mark.faults_long
def test_a_migration_killed_at_any_moment(empty_database_url: str) -> None:
    """The same wherever the kill falls, later each time, until one comes too late."""
    for kill in itertools.count():
        process = _upgrade(empty_database_url, "ledger")
        try:
            assert 0 == process.wait(STEP_SECONDS * kill)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(SECONDS_MAX)
    assert kill > 1
    _is_whole(empty_database_url)


def _upgrade(url: str, module: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, "-d", url, "db", "upgrade"],
        env={**os.environ, **environment, "PYTHONPATH": PATHS},
        stderr=subprocess.DEVNULL,
    )


def _is_whole(url: str) -> None:
    assert [] == differences(url)
    with Ledger.open(url) as ledger:
        assert () == ledger.verify().broken
        assert [] == list(ledger.runs())
