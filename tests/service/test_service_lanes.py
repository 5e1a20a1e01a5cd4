"""One thread takes one run at a time: the others wait for their turn, in order."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger.clock import utcnow

DONE = ("completed", 1, None, None, None)


@pytest.fixture
def thread(rig: Rig) -> str:
    """A thread made elsewhere."""
    with OpenAI() as client:
        made: dict[str, Any] = client.post("/threads", body={}, cast_to=dict[str, Any])
    return str(made["id"])


def test_three_runs_on_one_thread_go_one_after_the_other(rig: Rig, thread: str) -> None:
    """In the order they came, each sent after the one before has ended, never refused as busy."""
    runs = [
        rig.submit("sim-ok", "assistants", thread_id=thread, input=f"What is {n}+{n}?")
        for n in (1, 2, 3)
    ]
    with rig.daemon():
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))

    done = [rig.ledger.get(run) for run in runs]
    creates = [entry for entry in rig.sim.log() if entry["operation"] == "runs.create"]
    assert [DONE] * 3 == [verdict(run) for run in done]
    assert ["2", "4", "6"] == [rig.ledger.result(run) for run in runs]
    assert [(True, remote) for remote in [rig.remotes(run)[0]["remote_id"] for run in runs]] == [
        (entry["accepted"], entry["object_id"]) for entry in creates
    ]
    assert done[0].finished_at <= done[1].finished_at <= done[2].finished_at
    assert 0 == rig.count("lane")


@SQLITE
def test_a_waiter_is_no_probe(make_rig: MakeRig) -> None:
    """Upstream was away: a run that waits for its thread makes no call, and so it keeps nobody
    else from finding out whether upstream is back."""
    rig = make_rig({"durations": {"slow": 0.5}}, poll_seconds=1.5)
    with OpenAI() as client:
        made: dict[str, Any] = client.post("/threads", body={}, cast_to=dict[str, Any])
    with rig.daemon() as life:
        first = rig.submit("sim-slow", "assistants", thread_id=str(made["id"]))
        rig.expect(lambda: len(rig.made(first)) == 1)
        rig.expect(lambda: rig.scalar("SELECT count(*) FROM lane") == 1)
        gate = life.driver._accounts.gate(1)
        gate.opened_at = utcnow()
        second = rig.submit("sim-ok", "assistants", thread_id=str(made["id"]))
        rig.expect(lambda: rig.ledger.get(second).final)
    assert gate.opened_at is None
    assert [DONE] * 2 == [verdict(rig.ledger.get(run)) for run in (first, second)]


@SQLITE
def test_a_waiter_can_be_cancelled(rig: Rig, thread: str) -> None:
    """A run that waits for its turn is cancelled on the spot, and the one behind it moves up."""
    first, second, third = (
        rig.submit(model, "assistants", thread_id=thread)
        for model in ("sim-stuck-in_progress", "sim-ok", "sim-ok")
    )
    with rig.daemon():
        rig.expect(lambda: rig.ledger.get(first).state == "in_progress")
        cancelled = rig.ledger.cancel(second)
        assert "queued" == rig.ledger.get(third).state
        rig.ledger.cancel(first)
        rig.expect(lambda: rig.ledger.get(third).final)

    assert ("cancelled", []) == (cancelled.state, rig.made(second))
    assert "cancelled" == rig.ledger.get(first).state
    assert DONE == verdict(rig.ledger.get(third))


@SQLITE
def test_a_thread_that_others_use_is_waited_for(rig: Rig, thread: str) -> None:
    """A run of somebody else's on the thread makes ours wait, not fail."""
    with OpenAI() as client:
        asked = {"assistant_id": "asst_sim-stuck-in_progress"}
        other = client.post(f"/threads/{thread}/runs", body=asked, cast_to=dict[str, Any])
        run = rig.submit("sim-ok", "assistants", thread_id=thread)
        with rig.daemon():
            rig.expect(lambda: "create_refused" in rig.kinds(run))
            client.post(f"/threads/{thread}/runs/{other['id']}/cancel", cast_to=dict[str, Any])
            rig.expect(lambda: rig.ledger.get(run).final)

    assert DONE == verdict(rig.ledger.get(run))
