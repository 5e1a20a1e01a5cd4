"""`runward postmortem`: the incident report on a window, or on one run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import write_text


class Form(StrEnum):
    """The forms of a report."""

    md = "md"
    html = "html"
    json = "json"


class Baseline(StrEnum):
    """What delays and excesses are judged by."""

    previous = "previous"
    week = "week"


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(postmortem)


def postmortem(
    since: Annotated[
        str | None, typer.Option(help="Where the window begins: an age as 8h, or an ISO date.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Where it ends; the same.")] = None,
    query: Annotated[
        str, typer.Option("-q", "--query", help="Only these runs, as in `list`.")
    ] = "",
    as_of: Annotated[str | None, typer.Option(help="What was known then; by default now.")] = None,
    form: Annotated[Form, typer.Option("-o", "--format")] = Form.md,
    output: Annotated[Path | None, typer.Option(help="A file instead of stdout.")] = None,
    baseline: Annotated[Baseline, typer.Option(help="What to judge by.")] = Baseline.previous,
    redact: Annotated[bool, typer.Option("--redact", help="Hashes instead of names.")] = False,
    support: Annotated[
        Path | None,
        typer.Option(help="Also write the ids of failed attempts for upstream's support, as CSV."),
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="One run instead.")] = None,
) -> None:
    """An incident report, made of the ledger's numbers alone; the same each time it is made."""
    from ledger.errors import InvalidInput
    from ledger.service.rendering import render
    from ledger.service.rendering.support import support_csv

    if run is not None and (since or until or query or support):
        raise InvalidInput(
            "--run reports on one run: leave --since, --until, --query and --support out"
        )
    if run is None and since is None:
        raise InvalidInput("--since or --run is missing", hint="runward postmortem --since 8h")
    with opened() as ledger:
        if run is not None:
            found = ledger.postmortem_run(run, as_of=as_of, redact=redact)
        else:
            found = ledger.postmortem(
                since=since or "",
                until=until,
                query=query,
                as_of=as_of,
                baseline=baseline,
                redact=redact,
            )
    write_text(render(found, form), output)
    if support is not None:
        write_text(support_csv(found), support)
