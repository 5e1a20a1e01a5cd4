"""`runward webhook drain-sqs`, and the same beside a daemon: deliveries from an SQS queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.commands.daemon import stop_on_signals
from ledger.commands.opening import opened
from ledger.commands.output import Format, State, print_one
from ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from ledger.service.inbox import Inbox
    from ledger.service.ledger import Ledger

Out = Annotated[Format, typer.Option("-o", "--output")]
RESULTS = ("accepted", "duplicate", "refused", "left")


def register(app: typer.Typer) -> None:
    """Hang the command into the group."""
    app.command("drain-sqs")(drain_sqs)


def drain_sqs(
    queue_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The queue; sqs_queue_url.")
    ] = None,
    dead_letter_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where what cannot be believed goes.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on until a signal, or until it is empty.")
    ] = False,
    form: Out = Format.table,
) -> None:
    """Take in the deliveries that a Lambda function put on an SQS queue.

    Signatures are checked against the time at which the function received them. A message is
    deleted once the ledger has it; SIGTERM ends after what is under way.
    """
    from ledger.commands.logs import logging_on
    from ledger.settings import load_settings

    with (
        logging_on(load_settings(database_url=State.database)),
        opened(sqs_queue_url=queue_url, sqs_dead_letter_url=dead_letter_url) as ledger,
    ):
        inbox = open_inbox(ledger)
        asyncio.run(_drain(inbox, follow=follow))
    print_one({name: inbox.counts[name] for name in RESULTS}, form=form)


async def _drain(inbox: Inbox, *, follow: bool) -> None:
    from ledger.commands.logs import reload_on_hangup

    reload_on_hangup()
    await inbox.run(stop_on_signals(), once=not follow)


def open_inbox(ledger: Ledger) -> Inbox:
    """The inbox of the configured queue. Raises ConfigurationError."""
    from ledger.clock import utcnow
    from ledger.commands.logs import hail
    from ledger.providers.sqs import SqsQueue
    from ledger.service.inbox import Inbox
    from ledger.service.keyring import Keyring
    from ledger.service.receiving import Receiver

    settings = ledger.settings
    if settings.sqs_queue_url is None:
        raise ConfigurationError(
            "no queue is named", hint="--queue-url URL, or RUNWARD_SQS_QUEUE_URL"
        )
    if settings.sqs_queue_url == settings.sqs_dead_letter_url:
        raise ConfigurationError(
            "the queue is its own dead letter queue: what is refused would come round for ever",
            hint="name another one, or none",
        )
    keyring = Keyring(settings)
    if not keyring.profiles:
        # Else every message would be a forgery, and end among the dead letters.
        raise ConfigurationError(
            "no profile has a webhook secret, so no delivery could be believed",
            hint="export OPENAI_WEBHOOK_SECRET=whsec_…",
        )
    queue = SqsQueue(settings.sqs_queue_url, settings.sqs_dead_letter_url)
    hail(f"webhooks from the queue {queue.name} for {', '.join(keyring.profiles)}")
    receiver = Receiver(ledger.store, ledger.writer, keyring, utcnow)
    return Inbox(receiver, ledger.writer, queue, utcnow)


@contextlib.asynccontextmanager
async def inbox_beside(ledger: Ledger, stop: asyncio.Event) -> AsyncIterator[None]:
    """Consume the configured queue, if there is one, until the block ends.

    Should it fail for good it sets `stop`, and the end of the block raises why.
    """
    if ledger.settings.sqs_queue_url is None:
        yield
        return
    work = asyncio.create_task(open_inbox(ledger).run(stop, patient=True))
    work.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        stop.set()
        await work
