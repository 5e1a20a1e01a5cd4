"""`runward daemon`, and the lives that there are."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, State, print_rows, say
from ledger.errors import MissingCredential, NotFound

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

workers = typer.Typer(help="Lives: worker processes and how they ended.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]
QueueUrl = Annotated[
    str | None,
    typer.Option(
        "--sqs-queue", metavar="URL", help="Take webhook deliveries from this SQS queue as well."
    ),
]
COLUMNS = ("id", "role", "host", "pid", "version", "started_at", "heartbeat_at", "state", "runs")


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(daemon)


def daemon(
    once: Annotated[bool, typer.Option("--once", help="Until nothing is due; then end.")] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, max=10_000)] = None,
    lease_seconds: Annotated[float | None, typer.Option(min=3, max=3_600)] = None,
    tools: Annotated[
        str | None, typer.Option(metavar="MODULE", help="Module with @tool functions.")
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Work until all runs have a verdict; then end.")
    ] = False,
    sqs_queue: QueueUrl = None,
) -> None:
    """Send, watch and finish runs.

    SIGTERM drains, a second one ends at once, and kill -9 loses nothing.
    """
    from ledger.commands.logs import logging_on
    from ledger.settings import load_settings

    settings = load_settings(database_url=State.database)
    module = tools or settings.tools
    with (
        logging_on(settings),
        opened(
            tools=module,
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            sqs_queue_url=sqs_queue,
        ) as ledger,
    ):
        demand_credential(ledger)
        asyncio.run(_run(ledger, once=once, drain=drain))


def demand_credential(ledger: Ledger) -> None:
    """Raise MissingCredential where nothing could be sent."""
    if not ledger.credentials:
        variable = ledger.settings.profile().key_variable
        raise MissingCredential(
            f"{variable} is not set, and no other profile has a credential",
            hint=f"export {variable}=…",
        )


async def _run(ledger: Ledger, *, once: bool, drain: bool) -> None:
    from ledger.commands.inbox import inbox_beside
    from ledger.commands.logs import hail, reload_on_hangup
    from ledger.service import collector
    from ledger.service.supervision import Supervisor
    from ledger.service.workers import make_reconciler

    reconciler = make_reconciler(ledger, role="daemon")
    reconciler.supervisor = Supervisor.of()
    stop = stop_on_signals()
    reload_on_hangup()
    async with inbox_beside(ledger, stop):
        await reconciler.begin()
        collector.settle()
        hail(f"runward daemon {reconciler.heart.life.id[:8]} on {place_of(ledger)}")
        if once or drain:
            await reconciler.run(stop, until=reconciler.idle if once else reconciler.empty)
        else:
            await reconciler.run(stop)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. The second signal ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    return stop


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        # Nothing is lost by it: the next life takes over as after any crash.
        os._exit(128 + number)
    stop.set()


def place_of(ledger: Ledger) -> str:
    """Where the database is, in a word and without secrets."""
    return str(ledger.store.path or "PostgreSQL")


@workers.command("list")
def list_workers(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    form: Out = Format.table,
) -> None:
    """Lives at work, and what each owns."""
    from ledger.service.workers import list_lives

    with opened() as ledger:
        rows = list_lives(ledger.store, everything=everything)
    print_rows(rows, form=form, columns=COLUMNS)


@workers.command("drain")
def drain_worker(
    life: Annotated[str, typer.Argument(help="The beginning of a life's id.")],
) -> None:
    """Ask a life to finish what it is doing and end."""
    from ledger.service.workers import ask_to_drain

    with opened() as ledger:
        asked = ask_to_drain(ledger, life)
    if not asked:
        raise NotFound(f"no life at work begins with {life!r}", hint="runward workers list")
    say(f"asked {', '.join(name[:8] for name in asked)} to drain")
