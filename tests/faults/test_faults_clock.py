"""The wall clock of a daemon is set by hours, forwards and backwards, while it is at work."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_rig import StartFault
from fault_tools import CLOCK, set_clock
from service_rig import MakeRig, verdict
from service_tools import GO, charge, traces

HOUR = 3600.0
LEASE = ("--lease-seconds", "3")
DONE = ("completed", 1, None, None, None)


@pytest.mark.faults_long
@pytest.mark.problem(6, 29)
@pytest.mark.failure(32)
def test_a_clock_set_by_hours_moves_nothing_but_dates(
    database_url: str, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """Beside a daemon whose clock is right: no lease is lost, no effect is repeated, no look is put
    off for hours, and no run ends before its time."""
    rig, clock = rig_at(database_url, tools=[charge]), folder / "clock"
    runs = [rig.submit("sim-tool", "assistants"), rig.submit("sim-stuck-in_progress")]
    first = start(database_url, *LEASE, **{CLOCK: str(clock)})
    first.expect("a tool is at work", lambda: traces(folder) != [])
    first.expect("the other flies", lambda: rig.ledger.get(runs[1]).state == "in_progress")
    right = start(database_url, *LEASE)
    right.expect("it lives", lambda: bool(right.lives(rig)))

    for jump, hours in enumerate((5, -7)):
        set_clock(clock, hours * HOUR)
        first.expect("it notices", lambda n=jump: first.said.count("clock was set") > n)
        looks = rig.sim.reads()["responses.retrieve"]
        first.expect("it looks", lambda n=looks: rig.sim.reads()["responses.retrieve"] > n + 2)
        runs.append(rig.submit("sim-ok"))
        first.expect("a new run ends", lambda: rig.ledger.get(runs[-1]).final)
    (folder / GO).touch()
    first.expect("the tool's run ends", lambda: rig.ledger.get(runs[0]).final)
    rig.ledger.cancel(runs[1])
    first.expect("the other ends", lambda: rig.ledger.get(runs[1]).final)

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in (runs[0], *runs[2:])}
    assert ("cancelled", 1, None, "remote", None) == verdict(rig.ledger.get(runs[1]))
    assert ["charged"] == [output for _, output in rig.received(runs[0])]
    assert 1 == len(traces(folder))
    ((life, first_end), (_, right_end)) = first.lives(rig) + right.lives(rig)
    assert (None, None) == (first_end, right_end)
    assert {f"life:{life}"} == {
        event["actor"]
        for run in runs[:2]
        for event in rig.ledger.events(run)
        if event["actor"].startswith("life:")
    }
    assert (0, 0) == (first.drain(), right.drain()), first.said + right.said
