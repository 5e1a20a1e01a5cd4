"""Listening: a socket of our own, uvicorn on it, and an end that lets what is under way finish."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from ledger.clock import pause
from ledger.errors import RunwardError
from ledger.web.service import Service

THREADS: Final = 8
"""Fewer than a pool has connections: the reconciler and the writer of this process need some."""
NOTICE_SECONDS: Final = 1.0
"""So long /readyz says that this is the end before no more connections are taken."""
GRACE_SECONDS: Final = 5
"""So long a request may still take at the end."""
BACKLOG: Final = 1_024
CONNECTIONS_MAX: Final = 1_000


class CannotListen(RunwardError):
    """The address cannot be listened on."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises CannotListen, saying why."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = "name another: --port, or 0 for a free one"
        raise CannotListen(f"cannot listen on {host}:{port}: {why}", hint=hint) from None


def address_of(listener: socket.socket) -> tuple[str, int]:
    """The address and the port that a socket is really bound to."""
    host, port = listener.getsockname()[:2]
    return str(host), int(port)


class _Server(uvicorn.Server):
    """Signals are ours: they begin a drain, which ends with this."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


async def serve(
    app: FastAPI,
    service: Service,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    root_path: str = "",
) -> None:
    """Serve until `stop`; then say so, take nothing new, and let requests finish.

    Streams of events end at once: their clients go on elsewhere.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http="h11",
        root_path=root_path,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    service.draining = True
    if not serving.done():
        await pause(NOTICE_SECONDS)
    server.should_exit = True
    stopping.cancel()
    await serving
