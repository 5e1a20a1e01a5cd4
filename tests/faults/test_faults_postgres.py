"""The database server is killed under a daemon, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_proxy import CuttingProxy
from fault_rig import LONG, OwnPostgres, StartFault, runward, told
from service_rig import MakeRig, Rig, verdict
from service_tools import GO, charge, traces

from ledger import Run
from ledger.errors import DatabaseError
from ledger.store.migrate import upgrade

DONE = ("completed", 1, None, None, None)
KILLS = 5 if LONG else 1
CUTS = 8
BACK_SECONDS = 60.0


@pytest.mark.problem(11)
@pytest.mark.failure(1)
def test_a_killed_server_costs_no_acknowledged_run(
    own_postgres: OwnPostgres, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """kill -9 of PostgreSQL with a tool under way: the daemon waits, commands say so in one line,
    and once the server is back every run that was accepted completes, each effect once."""
    upgrade(own_postgres.url)
    rig = rig_at(own_postgres.url, tools=[charge])
    daemon = start(own_postgres.url)
    runs: list[Run] = []
    for kill in range(KILLS):
        (folder / GO).unlink(missing_ok=True)
        runs.append(rig.submit("sim-tool", "assistants"))
        runs.extend(rig.submit("sim-ok") for _ in range(8))
        daemon.expect("a tool is at work", lambda k=kill: len(traces(folder)) == k + 1)
        own_postgres.kill()

        with pytest.raises(DatabaseError, match="the database"):
            rig.submit("sim-ok", key=f"refused:{kill}")
        assert "cannot be opened" in told(runward(own_postgres.url, "list"), 1)
        (folder / GO).touch()
        daemon.expect("the tool's end waits", lambda: "is tried again" in daemon.said)
        own_postgres.start()
        daemon.expect("all end", lambda: _all_final(rig, runs), BACK_SECONDS)

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert KILLS == len(traces(folder))
    assert 0 == len([run for run in rig.ledger.runs() if run.key.startswith("refused")])
    assert 0 == daemon.drain(), daemon.said


@pytest.mark.problem(22)
@pytest.mark.faults_long
def test_connections_cut_within_commit_double_nothing(
    own_postgres: OwnPostgres, rig_at: MakeRig, start: StartFault, folder: Path
) -> None:
    """Connections break at COMMIT, before the server sees it and after it has done it: each batch
    is there once, nothing is sent or run twice, and no create is given up that was not sent."""
    (folder / GO).touch()
    upgrade(own_postgres.url)
    rig = rig_at(own_postgres.url, tools=[charge])
    with CuttingProxy.to(own_postgres.url, CUTS) as (proxy, through):
        daemon = start(through)
        daemon.expect("it is at work", lambda: "on PostgreSQL" in daemon.said)
        proxy.cutting = True
        runs = [rig.submit("sim-tool", "assistants"), *(rig.submit("sim-ok") for _ in range(3))]
        daemon.expect("all end", lambda: _all_final(rig, runs), BACK_SECONDS)
        assert 0 == daemon.drain(), daemon.said

    assert min(proxy.before, proxy.after) > 0
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert {1} == {len(rig.made(run)) for run in runs[1:]}
    assert 1 == len(traces(folder))
    assert "Traceback" not in daemon.said


def _all_final(rig: Rig, runs: list[Run]) -> bool:
    return all(rig.ledger.get(run).final for run in runs)
