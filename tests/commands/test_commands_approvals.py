"""`runward tools approve|deny|rerun`: words that people say about single calls."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear

TOOLS = """
from ledger import tool

@tool(requires_approval=True)
def lookup(query: str) -> str:
    return "wired"
"""


@pytest.fixture
def waiting(runward: CommandLine, home: Path, sim: object) -> list[str]:
    """Two runs, each with a call that waits for a word."""
    (home / "approved_tools.py").write_text(textwrap.dedent(TOOLS))
    numbers = [
        runward.submit("sim-tool", "--on-unknown-outcome", "error_output"),
        runward.submit("sim-tool", "--late-approval", "attach"),
    ]
    drain(runward)
    return numbers


def drain(runward: CommandLine) -> None:
    """Work until nothing moves by itself."""
    for _ in range(20):
        runward("daemon", "--once", "--tools", "approved_tools")
        waits = runward("tools", "list", "-o", "json").json
        going = runward("list", "-q", "-status:completed", "-o", "json").json
        if len(waits) == 2 or not going:
            return


def test_calls_are_listed_with_their_time_approved_and_denied(
    runward: CommandLine, waiting: list[str]
) -> None:
    """The list says what waits and how many seconds are left; each word is kept with its reason."""
    listed = runward("tools", "list", "-o", "json").json
    assert ["required", "required"] == [call["approval"] for call in listed]
    assert all(0 < call["lapses_in"] <= 86_400 for call in listed)
    policies = [json.loads(runward("show", n, "-o", "json").out) for n in waiting]
    assert ["error_output", "hold"] == [p["policy"]["on_unknown_outcome"] for p in policies]
    assert ["refuse", "attach"] == [p["policy"]["late_approval"] for p in policies]

    assert 2 == runward("tools", "deny", waiting[1], "1").code
    assert 0 == runward("tools", "approve", waiting[0], "1", "--reason", "checked").code
    assert 0 == runward("tools", "deny", waiting[1], "1", "--reason", "too much").code
    refused = runward("tools", "deny", waiting[0], "1", "--reason", "no")
    assert 1 == refused.code
    assert_clear(refused)
    drain(runward)

    assert "The tools said: wired" == runward("result", waiting[0]).out.strip()
    assert "too much" in runward("result", waiting[1]).out
    late = runward("tools", "approve", waiting[1], "1")
    assert 1 == late.code
    assert "denied by" in late.err


def test_only_a_held_call_runs_again(runward: CommandLine, waiting: list[str]) -> None:
    """`rerun` is for calls of unknown outcome."""
    said = runward("tools", "rerun", waiting[0], "1", "--reason", "why not")

    assert 1 == said.code
    assert "no held call" in said.err
    assert_clear(said)


@pytest.mark.parametrize(
    "option", [("--on-unknown-outcome", "shrug"), ("--late-approval", "perhaps")]
)
def test_unknown_words_are_refused(
    runward: CommandLine, sim: object, option: tuple[str, str]
) -> None:
    """What a policy can say is listed."""
    said = runward("submit", "--model", "sim-ok", "--input", "x", *option)

    assert 2 == said.code
    assert "must be one of" in said.err
    assert_clear(said)
