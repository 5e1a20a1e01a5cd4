"""What leaves the ledger and comes into it: export, import."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import say
from ledger.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    app.command()(export)


def export(
    query: Annotated[
        str, typer.Option("-q", "--query", help="As: status:failed since:2h; else all.")
    ] = "",
    file: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="A new file, or - for stdout.")
    ] = "-",
    resume: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go on with a file that was cut off.")
    ] = None,
) -> None:
    """Write runs out whole, as NDJSON with a manifest."""
    if resume is not None and file not in ("-", resume):
        raise InvalidInput("--resume names the file to go on with: leave --output out")
    with opened() as ledger:
        if resume is None and file == "-":
            for text in ledger.export(query):
                sys.stdout.write(text + "\n")
            sys.stdout.flush()
            return
        done = ledger.export_to(resume or file, query, resume=resume is not None, told=_progress)
    say(f"{done.runs} runs in {done.path} ({done.added} now), SHA-256 {done.sha256}")


def _progress(runs: int) -> None:
    if runs % 100 == 0 and sys.stderr.isatty():
        print(f"\r{runs} runs", end="", file=sys.stderr)
