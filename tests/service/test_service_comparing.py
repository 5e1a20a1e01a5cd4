"""Two runs side by side, and what upstream said as a change of what it said before."""

from __future__ import annotations

from typing import Any

from service_rig import MakeRig, Rig

from ledger import tool
from ledger.commands.diffing import differences
from ledger.core.run_diff import diff_runs


@tool(idempotent=True)
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


def test_alike_runs_part_nowhere(rig: Rig) -> None:
    found = rig.ledger.diff(rig.run(), rig.run())
    assert (True, [], None) == (found["same_request"], found["request"], found["first_divergence"])


def test_requests_that_were_erased_are_neither_alike_nor_different(rig: Rig) -> None:
    """Nothing is left to compare, of one of them or of both."""
    first, second = rig.run(), rig.run("sim-fail-server_error", restart="none")
    rig.ledger.erase([first])
    for _ in range(2):
        found = rig.ledger.diff(first, second)
        assert (None, []) == (found["same_request"], found["request"])
        rig.ledger.erase([second])
    assert "request: not known, erased" in differences(rig.ledger.diff(first, second))


def test_what_is_different_is_named(rig: Rig) -> None:
    well, ill = rig.run("sim-ok"), rig.run("sim-fail-server_error", restart="none")
    found = rig.ledger.diff(well, ill)
    assert [well.id, ill.id] == [run["id"] for run in found["runs"]]
    assert ["/model"] == [change["path"] for change in found["request"]]
    assert ["completed", "failed"] == found["outcome"]["status"]
    told = [event["to"] for event in found["first_divergence"]["events"]]
    assert ["completed", "failed"] == told
    assert all(seconds > 0 for seconds in found["timing"]["took"])


def test_calls_stand_beside_each_other(make_rig: MakeRig) -> None:
    rig = make_rig(tools=[add])
    with_tool, without = rig.run("sim-tool"), rig.run("sim-ok")
    found = rig.ledger.diff(with_tool, without)
    (pair,) = found["tools"]
    assert (False, None) == (pair["same"], pair["calls"][1])
    assert found["timing"]["tools"][1] is None
    assert pair["calls"][0]["tool"] == "add"


def test_calls_that_were_erased_are_neither_alike_nor_different(make_rig: MakeRig) -> None:
    """Nor is the output; another tool, or no call, is another all the same."""
    rig = make_rig(tools=[add])
    first, second, without = (
        rig.ledger.show(rig.run(model)) for model in ("sim-tool", "sim-tool", "sim-ok")
    )
    found = diff_runs(first, second, ((), ()))
    assert ([True], True) == ([pair["same"] for pair in found["tools"]], found["same_output"])
    for pair in ((erased(first), second), (erased(first), erased(second))):
        found = diff_runs(*pair, ((), ()))
        assert ([None], None) == ([one["same"] for one in found["tools"]], found["same_output"])
        assert {"call 1: not known, erased", "output: not known, erased"} < {*differences(found)}
    assert [False] == [one["same"] for one in diff_runs(erased(first), without, ((), ()))["tools"]]


def erased(run: dict[str, Any]) -> dict[str, Any]:
    """A run as it is shown once its payloads are gone."""
    calls = [{**call, "arguments": None, "output": None} for call in run["tool_calls"]]
    return {**run, "request": None, "result": None, "output_text": "", "tool_calls": calls}


def test_bodies_are_told_as_changes(rig: Rig) -> None:
    run = rig.run()
    diffs = [event["diff"] for event in rig.ledger.events(run, diff=True)]
    changed = {change["path"] for diff in diffs for change in diff or ()}
    assert "/status" in changed
    assert all("diff" not in event for event in rig.ledger.events(run))


def test_the_timeline_is_part_of_what_is_shown(rig: Rig) -> None:
    run = rig.run("sim-fail-server_error", restart="failed:server_error=1")
    told = rig.ledger.show(run)["timeline"]
    assert {1, 2} == {phase["attempt"] for phase in told["phases"]}
    assert ["policy"] == [m["text"] for m in told["marks"] if m["kind"] == "restart"]
