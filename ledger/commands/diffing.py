"""`runward diff`: two runs side by side."""

from __future__ import annotations

import json
from typing import Any

import typer

from ledger.commands.inspecting import OneRun, Out
from ledger.commands.opening import opened
from ledger.commands.output import Format, print_one, print_rows
from ledger.commands.plain_text import harmless

LINE_MAX = 400
SAME = {True: "the same", False: "", None: "not known, erased"}


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(diff)


def diff(one: OneRun, other: OneRun, form: Out = Format.table) -> None:
    """Two runs side by side, and where their histories part."""
    with opened() as ledger:
        found = ledger.diff(one, other)
    if form != Format.table:
        print_one(found, form=form, name="first_divergence")
        return
    names = [f"run {run['id']}" for run in found["runs"]]
    rows = [
        {"what": f"{section}: {name}", names[0]: pair[0], names[1]: pair[1]}
        for section in ("outcome", "timing", "usage")
        for name, pair in found[section].items()
    ]
    print_rows(rows, form=form, columns=("what", *dict.fromkeys(names)))
    print()
    for line in differences(found):
        print(harmless(line[:LINE_MAX]))


def differences(found: dict[str, Any]) -> list[str]:
    """The request, the calls and the parting, in words."""
    lines = [f"request: {SAME[found['same_request']]}".rstrip()]
    for change in found["request"]:
        value = json.dumps(change["value"], ensure_ascii=False) if "value" in change else ""
        lines.append(f"    {change['op']} {change['path']} {value}")
    for number, pair in enumerate(found["tools"], start=1):
        told = " | ".join(_call(call) for call in pair["calls"])
        lines.append(f"call {number}: {SAME[pair['same']] or told}")
    lines.append(f"output: {SAME[found['same_output']] or 'another'}")
    parting = found["first_divergence"]
    if parting is None:
        return [*lines, "histories: the same, step by step"]
    steps = " | ".join(_step(event) for event in parting["events"])
    return [*lines, f"histories part at step {parting['step']}: {steps}"]


def _call(call: dict[str, Any] | None) -> str:
    return f"{call['tool']}({call['arguments']}) -> {call['output']}" if call else "no call"


def _step(event: dict[str, Any] | None) -> str:
    if event is None:
        return "nothing more"
    moved = f" to {event['to']}" if event["to"] else ""
    code = f" ({event['error_code']})" if event["error_code"] else ""
    return f"{event['kind']}{moved}{code}"
