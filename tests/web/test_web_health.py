"""Whether it lives, whether it is ready, and its numbers."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from service_rig import Rig
from support import SQLITE
from web_rig import MakeWeb, Web

from ledger.errors import DatabaseError, SchemaMismatch
from ledger.service import probing
from ledger.service.metrics import Measure
from ledger.web import probe


class Reconciling:
    """A reconciler, as far as readiness goes."""

    def __init__(self, age_seconds: float | None, *, draining: bool = False) -> None:
        self.age_seconds = age_seconds
        self.heart = self
        self.draining = draining


@pytest.fixture(autouse=True)
def _always_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is asked each time."""
    monkeypatch.setattr(probe, "FRESH_SECONDS", 0.0)


def test_a_service_that_is_well(web: Web) -> None:
    """Alive and ready, and both without a token."""
    assert {"alive": True} == web.ask("GET", "/healthz").json()
    said = web.ask("GET", "/readyz")
    checks = {"database": True, "schema": True, "not_draining": True}
    assert (200, {"ready": True, "checks": checks}) == (said.status_code, said.json())


@pytest.mark.parametrize(
    ("error", "checks"),
    [
        (DatabaseError("gone"), {"database": False, "schema": False}),
        (SchemaMismatch("older"), {"database": True, "schema": False}),
        (RuntimeError("anything"), {"database": False, "schema": False}),
    ],
    ids=["away", "schema", "surprise"],
)
@SQLITE
def test_a_database_that_is_not_well(
    web: Web, monkeypatch: pytest.MonkeyPatch, error: Exception, checks: dict[str, bool]
) -> None:
    """503, with which it is and nothing else; still alive."""

    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr(probing, "inspect", fail)
    said = web.ask("GET", "/readyz")

    assert (503, False) == (said.status_code, said.json()["ready"])
    assert {**checks, "not_draining": True} == said.json()["checks"]
    assert 200 == web.ask("GET", "/healthz").status_code


def test_a_schema_that_was_tampered_with(web: Web) -> None:
    """A guard that is gone is noticed, not only a revision."""
    with web.ledger.store.engine.execution_options(write=True).begin() as connection:
        on = " ON event" if web.ledger.store.dialect == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER runward_event_update{on}")

    assert 503 == web.ask("GET", "/readyz").status_code


@SQLITE
def test_a_database_that_does_not_answer(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long, and it is not asked a second time meanwhile."""
    import threading

    go, asked = threading.Event(), []

    def hang(_: Any) -> dict[str, bool]:
        asked.append(1)
        go.wait(20)
        return {"database": True, "schema": True}

    monkeypatch.setattr(probe, "probe", hang)
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", 0.05)
    with web.client:  # one loop for all requests
        assert [503, 503] == [web.ask("GET", "/readyz").status_code for _ in range(2)]
        go.set()
    assert [1] == asked


@pytest.mark.parametrize(
    ("reconciler", "well"),
    [
        (Reconciling(0.5), True),
        (Reconciling(9.9), True),
        (Reconciling(10.1), False),
        (Reconciling(None), False),
        (Reconciling(0.5, draining=True), False),
    ],
)
@SQLITE
def test_a_reconciler_that_does_not_come_round(
    web: Web, reconciler: Reconciling, well: bool
) -> None:
    """A loop that hangs, or takes no more runs, is no place to send work to."""
    web.service.reconciler = reconciler  # type: ignore[assignment]
    said = web.ask("GET", "/readyz")

    assert (200 if well else 503, well) == (said.status_code, said.json()["checks"]["reconciler"])


@SQLITE
def test_a_service_that_is_ending(web: Web) -> None:
    """It says so before it stops answering."""
    web.service.draining = True
    said = web.ask("GET", "/readyz")

    assert (503, False) == (said.status_code, said.json()["checks"]["not_draining"])


def samples(web: Web) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    said = web.ask("GET", "/metrics")
    assert said.status_code == 200, said.text
    assert said.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in said.text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_the_numbers_of_a_ledger(rig: Rig, make_web: MakeWeb) -> None:
    """Counted from what the ledger has, whoever wrote it."""
    rig.run(key="a")
    rig.run("sim-fail-server_error")
    rig.run("sim-ok", "assistants")
    rig.submit()
    rig.execute("UPDATE run SET needs_attention = 'unknown_create' WHERE key = 'a'")
    rig.execute(
        "INSERT INTO receipt (hour, profile, result, requests) VALUES "
        "('2026-03-01 12:00:00.000000', 'default', 'accepted', 7), "
        "('2026-03-01 13:00:00.000000', 'default', 'accepted', 1)"
    )
    submitted = 'runward_runs_submitted_total{provider="responses"}'
    web = make_web(rig.ledger)
    web.service.measure = Measure(rig.ledger.store, clock=count(step=100).__next__)
    # Another test's transaction on the same server may be under way: what is younger waits for it.
    rig.expect(lambda: samples(web).get(submitted) == 3)
    found = samples(web)
    rig.execute("UPDATE run SET needs_attention = NULL")

    assert 1 == found['runward_runs_submitted_total{provider="assistants"}']
    name = "runward_runs_finished_total"
    assert 1 == found[f'{name}{{error_code="",outcome="completed",provider="responses"}}']
    assert 1 == found[f'{name}{{error_code="server_error",outcome="failed",provider="responses"}}']
    assert 1 == found['runward_runs_active{status="queued"}']
    assert 1 == found['runward_runs_attention{why="unknown_create"}']
    assert 8 == found['runward_webhooks_received_total{result="accepted"}']
    assert (0, 0, 0) == (
        found["runward_runs_overdue"],
        found["runward_webhook_gaps_open"],
        found["runward_leases_held"],
    )
    lag = "runward_detection_lag_seconds"
    ended = sum(value for key, value in found.items() if key.startswith(f"{lag}_count"))
    within = sum(value for key, value in found.items() if f'{lag}_bucket{{le="+Inf"' in key)
    assert ended == within >= 1, found
    assert 1 == found[next(key for key in found if key.startswith("runward_build_info"))]
    assert not any("run_id" in key or '"a"' in key for key in found)


@SQLITE
def test_the_numbers_are_kept_for_a_while(web: Web) -> None:
    """Ten scrapers cost as much as one; each event is counted once, over all reads."""
    now = [0.0]
    web.service.measure = Measure(web.ledger.store, clock=lambda: now[0])
    name = 'runward_runs_submitted_total{provider="responses"}'
    web.submit()
    assert 1 == samples(web)[name]
    web.submit()
    now[0] = 9.9
    assert 1 == samples(web)[name]
    now[0] = 10.0
    assert 2 == samples(web)[name]
    now[0] = 20.0
    assert 2 == samples(web)[name]
