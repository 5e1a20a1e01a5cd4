"""`runward incidents`: times that may be worth a report."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_one, print_rows, say

app = typer.Typer(help="Times that may be worth a report.", no_args_is_help=True)
SINCE = "30d"
COLUMNS = ("id", "kind", "start", "end", "minutes", "what")
Since = Annotated[str, typer.Option(help="An age as 30d, counted from --until, or an ISO date.")]
Until = Annotated[str | None, typer.Option(help="And before; by default now.")]
Out = Annotated[Format, typer.Option("-o", "--output")]


@app.command("list")
def list_incidents(since: Since = SINCE, until: Until = None, form: Out = Format.table) -> None:
    """Proposed incidents, the newest first; computed from the ledger each time."""
    with opened() as ledger:
        found = ledger.incidents(since=since, until=until)
    print_rows(found, form=form, columns=COLUMNS)
    if form == Format.table and found:
        same = f" --since {shlex.quote(since)}" if since != SINCE else ""
        same += f" --until {shlex.quote(until)}" if until else ""
        say(f"more: runward incidents show {found[0]['id']}{same}")
    elif form == Format.table:
        say("nothing stands out in this time")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    since: Since = SINCE,
    until: Until = None,
    form: Out = Format.table,
) -> None:
    """One incident, and the command that reports on it."""
    with opened() as ledger:
        print_one(ledger.incident(name, since=since, until=until), form=form)
