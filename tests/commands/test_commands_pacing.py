"""What the command line says of looks: the next ones at a run, and another policy's."""

from __future__ import annotations

import json

import pytest
from command_line import CommandLine, assert_clear

from ledger.simulator import Simulator


@pytest.mark.usefixtures("sim")
def test_another_policy_stands_beside_todays(runward: CommandLine) -> None:
    """Over the runs of the ledger; the same figures in every format."""
    runward.done("sim-ok")
    runward.done("sim-ok")
    report = runward("simulate-policy", "--policy", "fixed", "--every-seconds", "60", "-o", "json")
    today, simulated = report.json["policies"]

    assert (2, "today", "learned") == (report.json["objects"], today["which"], today["policy"])
    assert ("fixed", 1.0) == (simulated["policy"], simulated["calls_per_run"])
    assert simulated["mean_delay"] > 50
    lines = runward("simulate-policy", "--policy", "fixed", "--every-seconds", "60", "-o", "ndjson")
    assert {json.loads(line)["which"] for line in lines.lines} == {"today", "simulated"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--policy", "often"), 4, "learned"),
        (("--worth", "1", "--calls-per-minute", "5"), 4, "one of worth"),
        (("--factor", "nan"), 4, "factor"),
        (("--profile", "nobody"), 4, "nobody"),
        ((), 3, "no run of profile"),
        (("--since", "whenever"), 2, "whenever"),
    ],
)
def test_what_cannot_be_simulated_is_said(
    runward: CommandLine, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """A policy, a figure or a profile that is none, and a ledger without runs."""
    said = runward("simulate-policy", *arguments)
    assert_clear(said)
    assert (code, True) == (said.code, says in said.err), said.err


def test_the_next_looks_are_explained(runward: CommandLine, sim: Simulator) -> None:
    """Of a run upstream works on: when, and why; of one with a verdict, that there are none."""
    runward("submit", "--model", "sim-stuck-in_progress", "--input", "hello", "--key", "stuck")
    runward("daemon", "--once")
    found = runward("limits", "--explain", "stuck", "-o", "json").json
    table = runward("limits", "--explain", "stuck").out
    runward.done("sim-ok", "--key", "over")

    assert ("backoff", None) == (found["policy"], found["class"])
    waits = [look["in_seconds"] for look in found["looks"]]
    assert 10 == len(waits)
    assert sorted(waits) == waits
    assert "watched by the backoff" in table
    assert "run 2 is completed" in runward("limits", "--explain", "over").err
    assert 3 == runward("limits", "--explain", "nobody").code
    assert sim.log()
