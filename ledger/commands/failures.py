"""`runward errors`: failures grouped by what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_json, print_one, print_rows, say
from ledger.commands.plain_text import harmless

app = typer.Typer(help="Failures grouped by fingerprint.", no_args_is_help=True)
COLUMNS = (
    "fingerprint", "attempts", "runs", "trend", "shape", "first_at", "last_at", "origin", "code",
    "http_status", "tool", "message",
)  # fmt: skip
SAMPLE_COLUMNS = ("id", "key", "attempt", "ended_at", "model", "status", "error_message")
BARS = " ▁▂▃▄▅▆▇█"
Since = Annotated[str, typer.Option(help="Attempts that failed since: an age as 7d, or a date.")]
Until = Annotated[str | None, typer.Option(help="And before; the same.")]
Out = Annotated[Format, typer.Option("-o", "--output")]


@app.command("list")
def list_errors(since: Since = "7d", until: Until = None, form: Out = Format.table) -> None:
    """Every way in which attempts failed, the most frequent first."""
    with opened() as ledger:
        report = ledger.errors(since=since, until=until)
    if form == Format.json:
        print_json(report)
        return
    rows = report["groups"]
    if form == Format.table:
        rows = [{**row, "shape": bars(row["counts"])} for row in rows]
    print_rows(rows, form=form, columns=COLUMNS, name="fingerprint")
    if form == Format.table and not rows:
        say("no attempt failed in this time")


@app.command("show")
def show_error(
    fingerprint: Annotated[str, typer.Argument(help="A fingerprint, its beginning, or a group.")],
    since: Since = "7d",
    until: Until = None,
    form: Out = Format.table,
) -> None:
    """One of them: what it is made of, how the runs that it hit stand, the newest of them."""
    with opened() as ledger:
        found = ledger.error(fingerprint, since=since, until=until)
    if form != Format.table:
        print_one(found, form=form, name="fingerprint")
        return
    found["counts"] = bars(found["counts"])
    rows, standing = found.pop("samples"), found.pop("over_represented")
    print_one(found, form=form)
    for one in standing:
        told = (
            f"more often with {one['attribute']} {one['value']}: {one['hit']} of {one['runs']} "
            f"runs, {one['other_hit']} of {one['other_runs']} others"
        )
        print(harmless(told))
    print_rows(rows, form=form, columns=SAMPLE_COLUMNS)


def bars(counts: list[int]) -> str:
    """Counts as a row of bars, the tallest for the greatest."""
    most = max(counts, default=0)
    steps = len(BARS) - 1
    return "".join(BARS[-(-count * steps // most)] if most else BARS[0] for count in counts)
