"""The app: global flags, and the commands hung into it."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from ledger.commands import (
    cost,
    daemon,
    database,
    demo,
    diffing,
    doctor,
    failures,
    health,
    inbox,
    incidents,
    inspecting,
    keeping,
    limits,
    moving,
    outbound,
    postmortem,
    proving,
    runs,
    serving,
    settling,
    simulate_policy,
    stats,
    submit,
    tokens,
    tools,
    webhook,
)
from ledger.commands.output import State
from ledger.commands.plain_log import log_plainly
from ledger.commands.simulator import sim

app = typer.Typer(
    name="runward",
    help="A durable ledger and resumable reconciler for asynchronous AI runs.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def flags(
    database_url: Annotated[
        str | None,
        typer.Option("--database", "-d", metavar="URL", help="sqlite:///file or postgresql://…"),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="Where runs go: a name from [profiles].")
    ] = "default",
    quiet: Annotated[bool, typer.Option("--quiet", help="No hints on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More in the log.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Everything in the log.")] = False,
) -> None:
    """Set what every command shares."""
    State.database, State.profile, State.quiet, State.debug = database_url, profile, quiet, debug
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    log_plainly(level)


for module in (
    submit,
    runs,
    settling,
    keeping,
    moving,
    inspecting,
    diffing,
    proving,
    daemon,
    serving,
    cost,
    stats,
    postmortem,
    simulate_policy,
    doctor,
    health,
    limits,
    demo,
):
    module.register(app)
app.add_typer(tools.app, name="tools")
app.add_typer(failures.app, name="errors")
app.add_typer(incidents.app, name="incidents")
app.add_typer(outbound.app, name="outbound")
app.add_typer(database.app, name="db")
app.add_typer(doctor.config, name="config")
app.add_typer(daemon.workers, name="workers")
app.add_typer(tokens.app, name="token")
inbox.register(webhook.app)
app.add_typer(webhook.app, name="webhook")
app.add_typer(sim, name="sim")
