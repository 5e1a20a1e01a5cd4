"""`runward serve` and `runward up`: the ledger over HTTP, alone or with a reconciler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.commands.daemon import QueueUrl, demand_credential, place_of, stop_on_signals
from ledger.commands.opening import opened
from ledger.commands.output import State
from ledger.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    import socket

    from fastapi import APIRouter

    from ledger.service.ledger import Ledger
    from ledger.service.reconciler import Reconciler
    from ledger.service.supervision import Supervisor
    from ledger.web.service import Service

PATH_MAX = 200
Host = Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Port; 8787. 0 takes a free one.")
]
RootPath = Annotated[
    str, typer.Option(metavar="PATH", help="Where a proxy shows this service, as /runward.")
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Nothing can be changed through it.")]


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    for command in (serve, up):
        app.command()(command)


def serve(
    host: Host = None, port: Port = None, root_path: RootPath = "", read_only: ReadOnly = False
) -> None:
    """Serve the HTTP API, health and metrics; drives no run.

    Without a token (runward token create) only this machine is listened to. SIGTERM drains, a
    second one ends at once.
    """
    _need_web()
    from ledger.commands.logs import logging_on
    from ledger.settings import load_settings

    prefix = _prefix(root_path)
    with (
        logging_on(load_settings(database_url=State.database)),
        opened(host=host, port=port) as ledger,
        _listening(ledger) as listener,
    ):
        asyncio.run(_serve(ledger, listener, prefix, read_only=read_only))


def up(
    host: Host = None,
    port: Port = None,
    root_path: RootPath = "",
    concurrency: Annotated[int | None, typer.Option(min=1, max=10_000)] = None,
    lease_seconds: Annotated[float | None, typer.Option(min=3, max=3_600)] = None,
    tools: Annotated[
        str | None, typer.Option(metavar="MODULE", help="Module with @tool functions.")
    ] = None,
    sqs_queue: QueueUrl = None,
) -> None:
    """Bring the schema up to date, then be daemon and HTTP service in one process.

    SIGTERM drains, a second one ends at once, and kill -9 loses nothing.
    """
    _need_web()
    from ledger.commands.logs import logging_on
    from ledger.service.supervision import Supervisor
    from ledger.settings import load_settings

    prefix = _prefix(root_path)
    settings = load_settings(database_url=State.database)
    module = tools or settings.tools
    given = {"host": host, "port": port, "concurrency": concurrency, "lease_seconds": lease_seconds}
    given["sqs_queue_url"] = sqs_queue
    Supervisor.of().migrating()
    with logging_on(settings), opened(tools=module, migrate=True, **given) as ledger:
        demand_credential(ledger)
        with _listening(ledger) as listener:
            asyncio.run(_up(ledger, listener, prefix))


def _prefix(root_path: str) -> str:
    """The path of a proxy as it is put before ours. Raises InvalidInput."""
    prefix = root_path.rstrip("/")
    if prefix and (
        not prefix.startswith("/") or not prefix.isprintable() or len(prefix) > PATH_MAX
    ):
        raise InvalidInput(f"a root path is written /runward, not {root_path[:80]!r}")
    return prefix


def _need_web() -> None:
    """Raise ConfigurationError unless the libraries of the service are installed."""
    if not all(find_spec(name) for name in ("fastapi", "prometheus_client", "uvicorn")):
        raise ConfigurationError(
            "the service needs an HTTP server", hint="pip install 'runward[web]'"
        )


@contextlib.contextmanager
def _listening(ledger: Ledger) -> Iterator[socket.socket]:
    """The socket, closed at the end. Raises ConfigurationError where strangers could reach it and
    there is no token."""
    from ledger.core.addresses import is_loopback
    from ledger.service.tokens import tokens_exist
    from ledger.web.serving import address_of, bind

    listener = bind(ledger.settings.host, ledger.settings.port)
    try:
        address, _ = address_of(listener)
        if not is_loopback(address) and not tokens_exist(ledger.store):
            raise ConfigurationError(
                f"{address} can be reached from elsewhere, and there is no token yet",
                hint="runward token create NAME --role operator, or --host 127.0.0.1",
            )
        yield listener
    finally:
        listener.close()


def _service(
    ledger: Ledger,
    listener: socket.socket,
    *,
    read_only: bool = False,
    reconciler: Reconciler | None = None,
) -> Service:
    from ledger.core.addresses import is_loopback
    from ledger.web.service import Service
    from ledger.web.serving import address_of

    loopback = is_loopback(address_of(listener)[0])
    return Service(ledger, loopback=loopback, read_only=read_only, reconciler=reconciler)


async def _serve(
    ledger: Ledger, listener: socket.socket, root_path: str, *, read_only: bool
) -> None:
    from ledger.commands.logs import reload_on_hangup
    from ledger.service.supervision import Supervisor
    from ledger.service.tasks import beside
    from ledger.web.app import create_app
    from ledger.web.serving import serve as serve_until

    reload_on_hangup()
    supervisor = Supervisor.of()
    service = _service(ledger, listener, read_only=read_only)
    async with _receiving(ledger, read_only=read_only) as routers:
        app, stop = create_app(service, routers=routers), stop_on_signals()
        _greet("serve", ledger, listener)
        supervisor.ready("answering")
        async with beside(_announce(supervisor, stop)):
            await serve_until(app, service, listener, stop, root_path=root_path)


async def _announce(supervisor: Supervisor, stop: asyncio.Event) -> None:
    await stop.wait()
    supervisor.stopping(0.0)


@contextlib.asynccontextmanager
async def _receiving(ledger: Ledger, *, read_only: bool = False) -> AsyncIterator[list[APIRouter]]:
    """The receiver of webhooks, where a profile has a secret. Raises ConfigurationError."""
    from ledger.clock import utcnow
    from ledger.commands.logs import hail
    from ledger.core.delivery import PATH
    from ledger.service.keyring import Keyring
    from ledger.service.receiving import Receiver
    from ledger.web.receiver import receiver_router

    keyring = Keyring(ledger.settings)
    if read_only or not keyring.profiles:
        yield []
        return
    receiver = Receiver(ledger.store, ledger.writer, keyring, utcnow)
    hail(f"webhooks on {PATH} for {', '.join(keyring.profiles)}")
    try:
        yield [receiver_router(receiver)]
    finally:
        await receiver.close()


async def _up(ledger: Ledger, listener: socket.socket, root_path: str) -> None:
    """Both until a signal; where one of them ends, the other is drained too."""
    from ledger.commands.inbox import inbox_beside

    stop = stop_on_signals()
    async with _receiving(ledger) as routers, inbox_beside(ledger, stop):
        await _drive_and_answer(ledger, listener, stop, root_path, routers)


async def _drive_and_answer(
    ledger: Ledger,
    listener: socket.socket,
    stop: asyncio.Event,
    root_path: str,
    routers: list[APIRouter],
) -> None:
    from ledger.commands.logs import reload_on_hangup
    from ledger.service import collector
    from ledger.service.supervision import Supervisor
    from ledger.service.workers import make_reconciler
    from ledger.web.app import create_app
    from ledger.web.serving import serve as serve_until

    reload_on_hangup()
    reconciler = make_reconciler(ledger, role="daemon")
    reconciler.supervisor = Supervisor.of()
    service = _service(ledger, listener, reconciler=reconciler)
    app, drained = create_app(service, routers=routers), asyncio.Event()
    await reconciler.begin()
    collector.settle()
    _greet("up", ledger, listener)

    async def drive() -> None:
        try:
            await reconciler.run(stop)
        finally:
            stop.set()
            drained.set()

    async def answer() -> None:
        try:
            await serve_until(app, service, listener, drained, root_path=root_path)
        finally:
            stop.set()

    async def announce() -> None:
        await stop.wait()
        service.draining = True

    async with asyncio.TaskGroup() as group:
        for part in (drive(), answer(), announce()):
            group.create_task(part)


def _greet(name: str, ledger: Ledger, listener: socket.socket) -> None:
    """One line: where it listens, and which database."""
    from ledger.commands.logs import hail
    from ledger.core.addresses import bracketed
    from ledger.service.tokens import tokens_exist
    from ledger.web.serving import address_of

    host, port = address_of(listener)
    place = f"http://{bracketed(host)}:{port}"
    asked = "with tokens" if tokens_exist(ledger.store) else "this machine only, without tokens"
    hail(f"runward {name} on {place} ({asked}), database {place_of(ledger)}")
