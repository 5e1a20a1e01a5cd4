"""`runward incidents`: times that may be worth a report."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_one, print_rows, say

app = typer.Typer(help="Times that may be worth a report.", no_args_is_help=True)
COLUMNS = ("id", "kind", "start", "end", "minutes", "what")
Since = Annotated[str, typer.Option(help="An age as 30d, or an ISO date.")]
Out = Annotated[Format, typer.Option("-o", "--output")]


@app.command("list")
def list_incidents(since: Since = "30d", form: Out = Format.table) -> None:
    """Proposed incidents, the newest first; computed from the ledger each time."""
    with opened() as ledger:
        found = ledger.incidents(since=since)
    print_rows(found, form=form, columns=COLUMNS)
    if form == Format.table and found:
        say(f"more: runward incidents show {found[0]['id']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    since: Since = "30d",
    form: Out = Format.table,
) -> None:
    """One incident, and the command that reports on it."""
    with opened() as ledger:
        print_one(ledger.incident(name, since=since), form=form)
