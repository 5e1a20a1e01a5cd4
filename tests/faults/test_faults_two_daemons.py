"""Two daemons on one SQLite file, and then one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_rig import LONG, FaultDaemon, StartFault
from service_rig import MakeRig, Rig, verdict
from service_tools import GO, charge, find, traces

DONE = ("completed", 1, None, None, None)
PLAIN = 200 if LONG else 16
TOOLS = 8 if LONG else 2


@pytest.mark.faults_long
@pytest.mark.problem(11, 21)
def test_two_daemons_share_one_file(
    tmp_path: Path, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """Both work; each run and each effect is had once. What the one that is killed had is finished
    by the other: the tool that may be run again is, the one that may not waits for a person."""
    rig = rig_at(f"sqlite:///{tmp_path / 'runs.db'}", tools=[charge, find])
    daemons = [start(rig.url), start(rig.url)]
    for daemon in daemons:
        daemon.expect("it lives", lambda d=daemon: bool(d.lives(rig)))
    effects = [
        rig.submit("sim-tool", "assistants", tools=[tool])
        for tool in (charge, find)
        for _ in range(TOOLS)
    ]
    plain = [rig.submit("sim-ok") for _ in range(PLAIN)]
    daemons[0].expect("the tools are at work", lambda: len(traces(folder)) == len(effects))
    daemons[0].expect("the plain ones end", lambda: all(rig.ledger.get(r).final for r in plain))
    lost = {run.id for run in effects if _last_life(rig, run.id) == _life(daemons[0], rig)}
    daemons[0].kill()
    (folder / GO).touch()
    held = [run for run in effects[:TOOLS] if run.id in lost]
    others = [run for run in effects if run not in held]
    daemons[1].expect("others end", lambda: all(rig.ledger.get(r).final for r in others))
    daemons[1].expect(
        "it asks", lambda: all(rig.ledger.get(r).needs_attention is not None for r in held)
    )

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in plain + others}
    assert {1} == {len(rig.made(run)) for run in plain}
    assert {_life(daemon, rig) for daemon in daemons} == {_last_life(rig, r.id) for r in plain}
    started = [trace["run"] for trace in traces(folder) if trace["tool"] == "charge"]
    assert sorted(run.id for run in effects[:TOOLS]) == sorted(started)
    again = [trace["run"] for trace in traces(folder) if trace["tool"] == "find"]
    found = sorted(run.id for run in effects[TOOLS:])
    assert sorted(found + [run for run in found if run in lost]) == sorted(again)
    assert 0 == daemons[1].drain(), daemons[1].said
    assert "Traceback" not in daemons[0].said + daemons[1].said


def _life(daemon: FaultDaemon, rig: Rig) -> str:
    return daemon.lives(rig)[0][0]


def _last_life(rig: Rig, run: int) -> str:
    actors = [event["actor"] for event in rig.ledger.events(run)]
    return next(a for a in reversed(actors) if a.startswith("life:")).removeprefix("life:")
