"""What a person decides about a run that is flagged: accept, resolve, release."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.output import Format
from ledger.commands.runs import Out, Reason, Runs, Yes, each

Why = Annotated[str, typer.Option("--reason", help="Kept in the history, with your name.")]


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    for command in (accept, resolve, release):
        app.command()(command)


def accept(runs: Runs, reason: Why, yes: Yes = False, form: Out = Format.table) -> None:
    """Take upstream's word for the verdict where it contradicts ours, as an attempt of its own."""
    each(runs, "accept", lambda x, name: x.accept(name, reason=reason), yes, False, form)


def resolve(runs: Runs, reason: Why, yes: Yes = False, form: Out = Format.table) -> None:
    """Clear the flag of runs that somebody has looked at; their verdicts stay."""
    each(runs, "resolve", lambda x, name: x.resolve(name, reason=reason), yes, False, form)


def release(runs: Runs, reason: Reason = None, yes: Yes = False, form: Out = Format.table) -> None:
    """Let lives drive runs again that were set aside because one after the other died in them."""
    each(runs, "release", lambda x, name: x.release(name, reason=reason), yes, False, form)
