"""`show` says what happens next, what a run waits for and who holds it."""

from __future__ import annotations

import os
import socket
from typing import Any

from service_rig import MakeRig, Rig

from ledger import Run


def following(rig: Rig, run: Run) -> dict[str, Any]:
    """What happens next with a run."""
    return dict(rig.ledger.show(run)["next"])


def test_without_a_daemon_a_run_waits_for_a_life(rig: Rig) -> None:
    """Nobody drives it, and nobody holds it; once it is done, nothing more happens."""
    run = rig.submit()
    waits = following(rig, run)
    rig.finish(run)

    assert ("create", "life", None) == (waits["step"], waits["waiting_for"], waits["owner"])
    assert ("none", None) == ((done := following(rig, run))["step"], done["waiting_for"])


def test_a_daemon_holds_the_run_and_the_next_on_its_thread_waits(make_rig: MakeRig) -> None:
    """The owner is named with host, process and fence; the second run names the first."""
    rig = make_rig(speed=1)
    thread = rig.ledger.get(rig.run("sim-instant", "assistants")).serial_key
    with rig.daemon():
        first = rig.submit("sim-stuck-in_progress", "assistants", thread_id=thread)
        second = rig.submit("sim-ok", "assistants", thread_id=thread)
        rig.expect(lambda: following(rig, first)["step"] == "observe")
        rig.expect(lambda: following(rig, second)["waiting_for"] == "lane")
        held, behind = following(rig, first), following(rig, second)
        for run in (first, second):
            rig.ledger.cancel(run)
        rig.expect(lambda: rig.ledger.get(first).final and rig.ledger.get(second).final)

    assert (os.getpid(), socket.gethostname(), True) == tuple(
        held["owner"][name] for name in ("pid", "host", "alive")
    )
    assert "upstream" == held["waiting_for"]
    assert f"run {first.id} is first" in behind["why"]
