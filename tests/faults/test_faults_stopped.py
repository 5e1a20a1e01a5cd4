"""A daemon stands still for longer than its lease, and then goes on where it stood."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_rig import LONG, FaultDaemon, StartFault
from fault_tools import HELD, HOLD
from service_rig import MakeRig, Rig, verdict
from service_tools import GO, charge, traces

LEASE = ("--lease-seconds", "3")
DONE = ("completed", 1, None, None, None)


@pytest.mark.problem(1, 3, 7)
@pytest.mark.failure(3, 33)
def test_a_stopped_daemon_loses_its_runs_and_is_born_again(
    database_url: str, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """SIGSTOP with a tool with an effect and a create under way, takeover, SIGCONT: what the first
    life learned is used by the second, which alone writes; the first works on under a new name."""
    rig = rig_at(database_url, tools=[charge], settle_seconds=60)
    tool = rig.submit("sim-tool", "assistants")
    made = rig.submit("sim-ok", key=HELD)
    flying = [rig.submit("sim-stuck-in_progress") for _ in range(6 if LONG else 2)]
    runs = [tool, made, *flying]
    first = start(database_url, *LEASE, **{HOLD: "Create"})
    first.expect("a tool is at work", lambda: traces(folder) != [])
    first.expect("a create is under way", (folder / HELD).exists)
    first.expect(
        "the others fly", lambda: all(rig.ledger.get(r).state == "in_progress" for r in flying)
    )
    ((old, _),) = first.lives(rig)
    first.stop()

    second = start(database_url, *LEASE)
    second.expect("it takes all runs", lambda: _owners(rig) == {_life(second, rig)})
    seen = {run.id: len(rig.kinds(run)) for run in runs}
    (folder / GO).touch()
    first.go_on()
    first.expect("it is born again", lambda: len(first.lives(rig)) == 2)
    (_, end), (new, _) = first.lives(rig)
    for run in flying:
        rig.ledger.cancel(run)
    second.expect("all end", lambda: all(rig.ledger.get(run).final for run in runs))

    assert "overdue" == end
    assert [DONE, DONE] == [verdict(rig.ledger.get(run)) for run in (tool, made)]
    assert {"cancelled"} == {rig.ledger.get(run).state for run in flying}
    late = [
        event["actor"] for run in runs for event in list(rig.ledger.events(run))[seen[run.id] :]
    ]
    assert f"life:{old}" not in late
    assert ["charged"] == [output for _, output in rig.received(tool)]
    assert (1, 1) == (len(traces(folder)), len(rig.made(made)))

    assert 0 == second.drain(), second.said
    more = rig.submit("sim-ok")
    first.expect("the first works on", lambda: rig.ledger.get(more).final)
    assert DONE == verdict(rig.ledger.get(more))
    assert f"life:{new}" in {event["actor"] for event in rig.ledger.events(more)}
    assert 0 == first.drain(), first.said


def _owners(rig: Rig) -> set[str | None]:
    return {row[0] for row in rig.rows("SELECT owner FROM watch")}


def _life(daemon: FaultDaemon, rig: Rig) -> str:
    return next((life for life, end in daemon.lives(rig) if end is None), "none")
