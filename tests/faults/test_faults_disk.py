"""Disks that are full, and disks that cannot be written."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_rig import StartFault, fill, more, runward, told
from service_rig import MakeRig, verdict
from service_tools import GO, charge, traces

DONE = ("completed", 1, None, None, None)
SUBMIT = ("submit", "--model", "sim-ok", "--input", "What is 2+2?", "-o", "name")


# Full.


@pytest.mark.faults_long
def test_a_daemon_waits_until_there_is_room_again(
    small_disk: Path, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """The disk fills while a tool with an effect is at work: its output is kept in memory, nothing
    is sent or run twice, and once there is room everything completes."""
    rig = rig_at(_url(small_disk), tools=[charge])
    with _log_only_grows(small_disk / "runs.db"):
        runs = [rig.submit("sim-tool", "assistants"), rig.submit("sim-goes-back")]
        daemon = start(_url(small_disk))
        daemon.expect("the tool is at work", lambda: traces(folder) != [])
        filler = fill(small_disk)
        said = told(runward(_url(small_disk), *SUBMIT, "--key", "refused"), 1)
        (folder / GO).touch()
        daemon.expect("the output waits for room", lambda: "is tried again" in daemon.said)
        before = (rig.ledger.get(runs[0]).state, len(rig.received(runs[0])))
        filler.unlink()
    daemon.expect("all end", lambda: all(rig.ledger.get(run).final for run in runs))

    assert "make room on the disk" in said
    assert ("requires_action", 0) == before
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert ["charged"] == [output for _, output in rig.received(runs[0])]
    assert 1 == len(traces(folder))
    assert [] == [run for run in rig.ledger.runs() if run.key == "refused"]
    assert "Traceback" not in daemon.said
    assert 0 == daemon.drain(), daemon.said


@pytest.mark.parametrize("command", ["submit", *more("list", "daemon", "db upgrade")])
def test_a_full_disk_is_named(small_disk: Path, rig_at: MakeRig, command: str) -> None:
    """Where not even the shared index fits, a command ends with one line and what to do."""
    _archive(rig_at, small_disk)
    fill(small_disk)

    arguments = SUBMIT if command == "submit" else command.split()
    assert "make room on the disk" in told(runward(_url(small_disk), *arguments), 1)


# Read-only.


@pytest.fixture
def read_only(small_disk: Path, rig_at: MakeRig) -> Path:
    """A database with a finished run, on a disk that was then made read-only."""
    _archive(rig_at, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("list", "completed"),
        ("db upgrade", ""),
        *more(
            ("show 1", "completed"),
            ("result 1", "4"),
            ("verify", "1 runs"),
            ("doctor", "invariant 1"),
            ("workers list --all", "drained"),
            ("db check", ""),
            ("db current", "0001"),
        ),
    ],
)
def test_a_database_on_read_only_storage_can_be_read(
    read_only: Path, command: str, shown: str
) -> None:
    """What only reads works where nothing can be written."""
    done = runward(_url(read_only), *command.split())

    assert 0 == done.returncode, done.stderr
    assert shown in done.stdout


@pytest.mark.parametrize("command", ["submit", *more("daemon", "cancel 1")])
def test_what_writes_says_that_storage_is_read_only(read_only: Path, command: str) -> None:
    """What has to write ends with one line that says why it cannot."""
    arguments = SUBMIT if command == "submit" else command.split()

    assert "storage that can be written" in told(runward(_url(read_only), *arguments), 1)


@contextlib.contextmanager
def _log_only_grows(path: Path) -> Iterator[None]:
    """An empty log that cannot start over for the sake of a reader: else a full disk still has
    room for what fits into the files as they are."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        assert 0 == reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM run").fetchone()
        yield


def _url(disk: Path) -> str:
    return f"sqlite:///{disk / 'runs.db'}"


def _archive(rig_at: MakeRig, disk: Path) -> None:
    """Put a copy of a database with a finished run onto a disk."""
    path = disk.parent / "runs.db"
    rig = rig_at(f"sqlite:///{path}")
    assert DONE == verdict(rig.run("sim-ok"))
    with sqlite3.connect(path) as source, sqlite3.connect(disk / "runs.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
