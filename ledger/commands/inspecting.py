"""Reading: list, show, events, watch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ledger.clock import utcnow
from ledger.commands.opening import named_runs, opened
from ledger.commands.output import Format, print_json, print_one, print_rows, say
from ledger.commands.plain_text import harmless
from ledger.errors import InvalidInput
from ledger.service.rendering.drawing import draw

Out = Annotated[Format, typer.Option("-o", "--output")]
OneRun = Annotated[str, typer.Argument(metavar="RUN", help="Number, key or upstream id.")]
Query = Annotated[
    str, typer.Option("-q", "--query", help="As: status:failed tag.team:search since:2h dur:>5m")
]
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="TIME", help="As things stood then: 2h, a date.")
]
LIST_COLUMNS = (
    "id", "key", "status", "provider", "model", "attempts", "error_code", "needs_attention",
    "created_at",
)  # fmt: skip
EVENT_COLUMNS = (
    "seq",
    "recorded_at",
    "kind",
    "from",
    "to",
    "source",
    "remote_status",
    "error_code",
)
SHOW_FIRST = (
    "id", "key", "status", "provider", "model", "attempts", "needs_attention", "error_code",
    "error_origin", "error_message", "fingerprint", "created_at", "started_at", "finished_at",
    "deadline_at", "pinned_at", "erased_at", "imported_at",
    "usage", "calls", "call_counts", "output_text",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    app.command("list")(list_runs)
    for command in (show, events, watch):
        app.command()(command)


def list_runs(
    query: Query = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Continue after this run.")] = None,
    as_of: AsOf = None,
    facets: Annotated[
        bool, typer.Option("--facets", help="Not the runs: how many have which value.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="With --facets: status, provider, model, error_code, profile, kind, "
                     "tag:NAME; several with commas."),
    ] = None,
    fields: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    form: Out = Format.table,
) -> None:  # fmt: skip
    """Runs, the newest first."""
    from ledger.service.views import run_summary

    if by is not None and not facets:
        raise InvalidInput("--by says nothing without --facets")
    if facets:
        if as_of is not None or before is not None:
            raise InvalidInput("--facets counts runs as they are: no --as-of, no --before")
        _facets(query, by, form)
        return
    with opened() as ledger:
        found = (
            [run_summary(run) for run in ledger.runs(query, limit=limit, before=before)]
            if as_of is None
            else ledger.runs_at(as_of, query, limit=limit, before=before)
        )
    print_rows(found, form=form, columns=LIST_COLUMNS, fields=fields)
    if len(found) == limit and form == Format.table:
        say(f"more: --before {found[-1]['id']}")


def _facets(query: str, by: str | None, form: Format) -> None:
    """Counts, the most frequent value of each field first."""
    from ledger.service.history import FACETS

    fields = FACETS if by is None else tuple(part.strip() for part in by.split(","))
    with opened() as ledger:
        found = ledger.facets(query, by=fields)
    if form == Format.json:
        print_json(found)
        return
    least = ">=" if found["capped"] and form == Format.table else ""
    rows = [
        {"field": name, "value": one["value"] or "-", "runs": f"{least}{one['runs']}"}
        for name, facet in found["facets"].items()
        for one in facet["values"]
    ]
    print_rows(rows, form=form, columns=("field", "value", "runs"), name="value")
    if found["capped"]:
        say(f"{found['runs']} runs were counted, and there may be more: narrow the query")


def show(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Number, key, id or -.")],
    as_of: AsOf = None,
    form: Out = Format.table,
) -> None:
    """Everything about runs; -o json holds every field that upstream names."""
    if as_of is not None:
        _show_past(runs, as_of, form)
        return
    with opened() as ledger:
        shown = [ledger.show(name) for name in named_runs(runs)]
    if form == Format.table:
        for one in shown:
            _show_table(one)
    elif len(shown) == 1:
        print_one(shown[0], form=form)
    else:
        print_rows(shown, form=form, columns=SHOW_FIRST)


def _show_past(runs: list[str], as_of: str, form: Format) -> None:
    """Runs as they stood, from their events."""
    with opened() as ledger:
        shown = [ledger.show_at(name, as_of) for name in named_runs(runs)]
    if len(shown) == 1:
        one = shown[0]
        print_one({k: v for k, v in one.items() if form != Format.table or v}, form=form)
    else:
        print_rows(shown, form=form, columns=LIST_COLUMNS)


def _show_table(run: dict[str, Any]) -> None:
    first = {name: run[name] for name in SHOW_FIRST if run[name] is not None}
    first["upstream_id"] = run["upstream"]["id"]
    first["tags"] = run["tags"] or None
    first |= _next_lines(run["next"])
    print_one({k: v for k, v in first.items() if v is not None}, form=Format.table)
    for title, name, columns in (
        ("attempts", "attempts_detail", ("number", "cause", "outcome", "error_code", "last_error")),
        ("remotes", "remotes", ("n", "attempt", "kind", "remote_id", "state", "observed_status")),
        ("tool calls", "tool_calls", ("n", "attempt", "tool", "call_id", "state", "output")),
    ):
        if run[name]:
            print(f"\n{title}")
            print_rows(run[name], form=Format.table, columns=columns)
    lines = draw(run, utcnow(), shutil.get_terminal_size((100, 24)).columns)
    if lines:
        print("\ntimeline", *map(harmless, lines), sep="\n")


def _next_lines(following: dict[str, Any]) -> dict[str, Any]:
    """What happens next, in words; nothing for a run that is over and done with."""
    if following["step"] == "none":
        return {}
    owner = following["owner"]
    return {
        "next": f"{following['step']}: {following['why']}",
        "next_at": following["at"],
        "waiting_for": following["waiting_for"],
        "waiting_since": following["since"],
        "waiting_until": following["until"],
        "held_by": owner
        and f"{owner['role']} {owner['life'][:8]} on {owner['host']}, pid {owner['pid']}, "
        f"fence {owner['fence']}{'' if owner['alive'] else ', dead'}",
    }


def events(
    run: OneRun,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Until the verdict.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Only events above this number.")] = 0,
    diff: Annotated[
        bool, typer.Option("--diff", help="How upstream's object differs from before.")
    ] = False,
    form: Out = Format.table,
) -> None:
    """A run's history."""
    with opened() as ledger:
        found = ledger.events(run, follow=follow, after=after, diff=diff)
        if (follow or diff) and form == Format.table:
            # A table has to know its widest cell, and so its end.
            _print_lines(found)
            return
        print_rows(found, form=form, columns=EVENT_COLUMNS, name="seq")


def watch(run: OneRun) -> None:
    """Follow a run until its verdict; drives nothing."""
    with opened() as ledger:
        _print_lines(ledger.events(run, follow=True))
        print(ledger.get(run).state)


def _print_lines(events: Iterable[dict[str, Any]]) -> None:
    """Events as they come, a line each."""
    for event in events:
        moved = f"{event['from']} -> {event['to']}" if event["to"] else ""
        parts = (event["recorded_at"], event["kind"], moved, event["error_code"] or "")
        print(harmless("  ".join(part for part in parts if part)), flush=True)
        for change in event.get("diff") or ():
            value = json.dumps(change["value"], ensure_ascii=False) if "value" in change else ""
            line = f"    {change['op']} {change['path']} {value}"[:400].rstrip()
            print(harmless(line), flush=True)
