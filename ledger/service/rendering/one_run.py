"""The document on one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ledger.service.rendering.blocks import (
    Block,
    Chart,
    Code,
    Document,
    Section,
    Text,
    cell,
    is_time,
    table,
)
from ledger.service.rendering.charts import gantt, stretches
from ledger.service.rendering.drawing import draw

Numbers = Mapping[str, Any]
WIDTH: Final = 100
LISTED_MAX: Final = 500
EVENT_COLUMNS: Final = (
    "seq", "at", "kind", "from", "to", "source", "actor", "attempt", "upstream_status",
    "request_id", "code",
)  # fmt: skip


def one_run(numbers: Numbers) -> Document:
    """Its timeline as `show` has it, attempts, objects, tool calls, events, what changed in
    upstream's objects, and siblings."""
    run, head = numbers["run"], numbers["header"]
    facts = [
        *((name, run[name]) for name in ("key", "provider", "model", "state")),
        ("tags", ", ".join(f"{name}={value}" for name, value in run["tags"].items())),
        ("created", run["created_at"]),
        ("deadline", run["deadline_at"]),
        ("as of", head["as_of"]),
        ("runward's version", head["version"]),
        ("redacted", head["redacted"]),
    ]
    sections = [
        Section("The run", [table("Run", ("what", "value"), facts)]),
        Section("Its states over time", _gantt(numbers)),
        _listed("Attempts", numbers["attempts"]),
        _listed("Upstream objects", numbers["remotes"]),
        _listed("Tool calls", numbers["tool_calls"]),
        Section("Events", [_events(numbers["events"])]),
        Section("What changed in upstream's objects", _changes(numbers)),
        Section("Siblings", _siblings(numbers["siblings"])),
    ]
    return Document(head["title"], sections)


def _gantt(numbers: Numbers) -> Sequence[Block]:
    attempts = [{**one, "error_code": one["code"]} for one in numbers["attempts"]]
    shown = {"timeline": numbers["timeline"], "attempts_detail": attempts}
    as_of = datetime.fromisoformat(numbers["header"]["as_of"])
    phases = [
        [fine(value) for value in (one["name"], one["attempt"], one["since"], until, seconds)]
        for one, until, seconds in stretches(numbers)
    ]
    marks = [
        [fine(one[name]) for name in ("kind", "at", "until", "count", "text")]
        for one in numbers["timeline"]["marks"][:LISTED_MAX]
    ]
    more = len(numbers["timeline"]["marks"]) - len(marks)
    return [
        Code(draw(shown, as_of, WIDTH) or ["(no time passed)"]),
        Chart("States over time", gantt(numbers)),
        table("States", ("state", "attempt", "from", "to", "seconds"), phases),
        table("What happened meanwhile", ("what", "at", "until", "times", "text"), marks),
        *([Text(f"{more} more are not listed.")] if more > 0 else []),
    ]


def _listed(title: str, rows: Sequence[Numbers]) -> Section:
    columns = list(rows[0]) if rows else []
    heads = [name.replace("_", " ") for name in columns]
    return Section(title, [table(title, heads, [[fine(row[c]) for c in columns] for row in rows])])


def fine(value: object) -> object:
    """A time to the millisecond: within one run it matters."""
    text = str(value)
    return f"{text[:10]} {text[11:23].ljust(12, '0')}Z" if is_time(text) and "." in text else value


def _events(events: Sequence[Numbers]) -> Block:
    heads = [name.replace("_", " ") for name in EVENT_COLUMNS]
    return table("History", heads, [[fine(one[name]) for name in EVENT_COLUMNS] for one in events])


def _changes(numbers: Numbers) -> Sequence[Block]:
    if numbers["header"]["redacted"]:
        return [Text("Left out: names are hidden.")]
    rows = numbers["changes"]
    names = ("seq", "op", "path", "value")
    listed = [[one[name] for name in names] for one in rows[:LISTED_MAX]]
    more = f", {len(rows) - LISTED_MAX} more not listed" if len(rows) > LISTED_MAX else ""
    return [table(f"From one event to the next, values cut{more}", names, listed)]


def _siblings(found: Numbers) -> Sequence[Block]:
    runs = ", ".join(map(str, found["same_failure_runs"]))
    return [
        Text(
            f"{found['same_failure']} other runs failed the same way within half a day"
            f"{f': {runs}' if runs else ''}."
        ),
        Text(
            f"Of the same model and provider {found['same_hour']} other runs were created in the "
            f"hour from {cell(found['hour'])}; {found['same_hour_ended']} have ended, "
            f"{found['same_hour_failed']} of them failed; half of those that completed took "
            f"{cell(found['same_hour_p50_seconds']) or '-'} s or less."
        ),
    ]
