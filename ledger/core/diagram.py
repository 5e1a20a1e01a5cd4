"""docs/lifecycle.md, drawn from RULES."""

from __future__ import annotations

import inspect
import re
from typing import Any

from ledger.core import alphabet
from ledger.core.alphabet import State
from ledger.core.lifecycle import FINAL, RULES, TRIPLES

INTRODUCTION = """# The life of a run

Made from `RULES` in `ledger/core/lifecycle.py` by `make docs`; a test compares them. The database
refuses what this table does not have: a CHECK over (from, trigger, to) on `event`, and a trigger on
`run.state`.
"""


def document() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, "```mermaid", mermaid(), "```", "", _states(), _triggers()])


def mermaid() -> str:
    """The diagram as mermaid text, without the library's colours."""
    from transitions.extensions import GraphMachine

    rows: list[Any] = [
        {"trigger": str(trigger), "source": str(source), "dest": str(target)}
        for source, trigger, target in TRIPLES
    ]
    machine = GraphMachine(
        states=[str(state) for state in State],
        initial=str(State.queued),
        transitions=rows,
        auto_transitions=False,
        graph_engine="mermaid",
    )
    return _plain(machine.get_graph().source)


def _plain(source: str) -> str:
    lines = re.sub(r"^---.*?---\n", "", source, flags=re.S).splitlines()
    kept = [
        line.rstrip() for line in lines if not re.match(r"\s*(classDef|class|Class|style)\b", line)
    ]
    return "\n".join(line for line in kept if line.strip())


def _states() -> str:
    rows = [
        "| State | Final | What it means, and what a crash there costs |",
        "| --- | --- | --- |",
    ]
    notes = _notes()
    rows += [
        f"| `{state}` | {'yes' if state in FINAL else 'no'} | {notes[state.name]} |"
        for state in State
    ]
    return "\n".join(rows) + "\n"


def _notes() -> dict[str, str]:
    source = inspect.getsource(alphabet.State)
    return dict(re.findall(r'^    (\w+) = "\w+"\n    """(.*?)"""', source, flags=re.M | re.S))


def _triggers() -> str:
    rows = ["| Trigger | From | To |", "| --- | --- | --- |"]
    rows += [
        f"| `{rule.trigger}` | {', '.join(f'`{state}`' for state in sorted(rule.sources))} "
        f"| `{rule.target}` |"
        for rule in RULES
    ]
    return "\n".join(rows) + "\n"
