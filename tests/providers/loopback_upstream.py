"""An upstream on loopback that says scripted bytes: what real connections do, for both stacks."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from scripted_upstream import CANARY, profile, response_address

from ledger.core.outcome import Observation
from ledger.providers.assistants import AssistantsProvider
from ledger.providers.client import build_client
from ledger.providers.responses import ResponsesProvider
from ledger.providers.seam import Provider

STACKS = {"sdk": False, "thin": True}


def reply(
    body: bytes | object, status: int = 200, *, length: int | None = None, **headers: str
) -> bytes:
    """One reply as it goes over the wire; `length` may lie."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("content_type", "application/json")
    lines = [f"HTTP/1.1 {status} Said"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def packed(body: object, **headers: str) -> bytes:
    """A reply that says it is compressed, and is."""
    squeezed = gzip.compress(json.dumps(body).encode())
    return reply(squeezed, content_type="application/json", content_encoding="gzip", **headers)


class Loopback:
    """Answers every request with the same bytes, then hangs up if `hang_up`, else keeps still."""

    def __init__(self, said: bytes, *, hang_up: bool = False, trickle: bytes = b"") -> None:
        self.said, self.hang_up, self.trickle = said, hang_up, trickle
        self.heads: list[str] = []
        self.connections = self.closed = 0
        self.url = ""
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Loopback]:
        """Serve within the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **options)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)
            self._tasks.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode())
                writer.write(self.said)
                while self.trickle:
                    writer.write(self.trickle)
                    await writer.drain()
                    await asyncio.sleep(0.005)
                if self.hang_up:
                    break
        self.closed += 1
        writer.close()

    def headers(self, n: int = -1) -> dict[str, str]:
        """The headers of a request, by lower-case name."""
        lines = self.heads[n].split("\r\n")[1:-2]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def open_stack(
    stack: str,
    base_url: str,
    *,
    key: str = CANARY,
    kind: type[ResponsesProvider | AssistantsProvider] = ResponsesProvider,
    **changed: Any,
) -> Provider:
    """A provider whose looks go through one of the two stacks."""
    client = build_client(profile(base_url=base_url, **changed), key=key)
    return kind(client, key, thin=STACKS[stack])


def observe(
    upstream: Loopback,
    stack: str,
    call: Callable[[Provider], Awaitable[Any]] | None = None,
    **changed: Any,
) -> Any:
    """One look, or another call, in its own event loop."""

    async def main() -> Any:
        async with upstream.serving():
            opened = open_stack(stack, upstream.url, **changed)
            try:
                return await (call or look)(opened)
            finally:
                await opened.close()

    return asyncio.run(main())


async def look(provider: Provider) -> Observation:
    """Read the one response that there is."""
    return await provider.observe(response_address())
