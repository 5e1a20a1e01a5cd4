"""The disk below SQLite fails: fsync says EIO, for a while or until the process is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_fsync import SICK
from fault_rig import FaultDaemon, StartFault, failing_fsync, runward, told
from service_rig import MakeRig, Rig, verdict
from service_tools import GO, charge, traces

from ledger import Run

DONE = ("completed", 1, None, None, None)
SUBMIT = ("submit", "--model", "sim-ok", "--input", "What is 2+2?", "-o", "name", "--key", "once")


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, the disk fails those whom it can."""
    path = tmp_path / "sick"
    monkeypatch.setenv(SICK, str(path))
    return path


@pytest.mark.problem(13)
@pytest.mark.failure(25)
@pytest.mark.faults_long
def test_a_submit_whose_commit_failed_is_repeated(
    tmp_path: Path, sick: Path, rig_at: MakeRig
) -> None:
    """Whether it was written nobody knows: the same key twice is one run all the same."""
    module, url = failing_fsync(), f"sqlite:///{tmp_path / 'runs.db'}"
    rig = rig_at(url)
    sick.touch()
    said = told(runward(url, *SUBMIT, module=module), 1)
    sick.unlink()
    again = runward(url, *SUBMIT, module=module)

    assert "disk I/O error" in said
    assert "repeat a submit under the same key" in said
    assert 0 == again.returncode, again.stderr
    assert ["once"] == [run.key for run in rig.ledger.runs()]


def test_a_daemon_waits_until_the_disk_is_well(
    tmp_path: Path, sick: Path, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """What a tool said is kept in memory, nothing is sent that could not be written down before,
    and once the disk is well everything completes."""
    rig, daemon, runs = _sick_at_work(tmp_path, sick, rig_at, start, folder)
    before = [rig.ledger.get(run).state for run in runs], len(rig.received(runs[0]))
    sick.unlink()
    daemon.expect("all end", lambda: all(rig.ledger.get(run).final for run in runs))

    assert (["requires_action", "queued"], 0) == before
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert ["charged"] == [output for _, output in rig.received(runs[0])]
    assert (1, 1) == (len(traces(folder)), len(rig.made(runs[1])))
    assert "Traceback" not in daemon.said
    assert 0 == daemon.drain(), daemon.said


@pytest.mark.problem(11)
@pytest.mark.faults_long
def test_a_daemon_killed_on_a_sick_disk_leaves_no_effect_to_chance(
    tmp_path: Path, sick: Path, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """What it knew is gone with it: its successor does not run the tool again, but asks."""
    rig, daemon, runs = _sick_at_work(tmp_path, sick, rig_at, start, folder)
    daemon.kill()
    sick.unlink()
    second = start(rig.url)
    second.expect("it asks", lambda: rig.ledger.get(runs[0]).needs_attention is not None)
    second.expect("the other ends", lambda: rig.ledger.get(runs[1]).final)

    assert DONE == verdict(rig.ledger.get(runs[1]))
    assert ("requires_action", 1, None, None, "unknown_outcome") == verdict(rig.ledger.get(runs[0]))
    assert (1, 1) == (len(traces(folder)), len(rig.made(runs[1])))
    assert 0 == second.drain(), second.said


def _sick_at_work(
    tmp_path: Path, sick: Path, rig_at: MakeRig, start: StartFault, folder: Path
) -> tuple[Rig, FaultDaemon, list[Run]]:
    """A daemon whose disk fails while a tool is at work; the tool ends, and a run is submitted."""
    rig = rig_at(f"sqlite:///{tmp_path / 'runs.db'}", tools=[charge])
    runs = [rig.submit("sim-tool", "assistants")]
    daemon = start(rig.url, module=failing_fsync())
    daemon.expect("the tool is at work", lambda: traces(folder) != [])
    sick.touch()
    runs.append(rig.submit("sim-ok"))
    (folder / GO).touch()
    daemon.expect("the output waits", lambda: "; the commit is tried again" in daemon.said)
    return rig, daemon, runs
