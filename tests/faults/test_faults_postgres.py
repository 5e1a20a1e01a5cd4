"""The database server is killed under a daemon, and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_rig import LONG, OwnPostgres, StartFault, runward, told
from service_rig import MakeRig, Rig, verdict
from service_tools import GO, charge, traces

from ledger import Run
from ledger.errors import DatabaseError
from ledger.store.migrate import upgrade

DONE = ("completed", 1, None, None, None)
KILLS = 5 if LONG else 1
CUTS = 20 if LONG else 5
BACK_SECONDS = 60.0


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


def test_connections_cut_within_commit_double_nothing(
    own_postgres: OwnPostgres, rig_at: MakeRig, start: StartFault
) -> None:
    """Sessions are terminated while their COMMIT is under way, which happens all the same: each
    batch is there once, and nothing is sent twice."""
    upgrade(own_postgres.url)
    own_postgres.set("commit_siblings", "0")
    own_postgres.set("commit_delay", "100000")
    rig = rig_at(own_postgres.url)
    runs = [rig.submit("sim-ok") for _ in range(3)]
    daemon = start(own_postgres.url)
    daemon.expect("it is at work", lambda: bool(daemon.lives(rig)))
    cuts: list[int] = []

    def over() -> bool:
        if len(cuts) < CUTS:
            cuts.extend([1] * own_postgres.cut_commits())
        return _all_final(rig, runs)

    daemon.expect("all end", over, BACK_SECONDS)

    assert cuts != []
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert {1} == {len(rig.made(run)) for run in runs}
    assert 0 == daemon.drain(), daemon.said


def _all_final(rig: Rig, runs: list[Run]) -> bool:
    return all(rig.ledger.get(run).final for run in runs)
