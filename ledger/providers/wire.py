"""One exchange over the SDK's client, for every provider.

The SDK's own methods for threads warn that they are deprecated, and hiding a warning is global to
the process. `client.get` and `client.post`, its documented way to endpoints without a method, go
through the same stack (credentials, timeouts, errors), hand the reply over unparsed, and go on
serving the protocol when those methods are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx2
from openai import AsyncOpenAI

from ledger.providers.client import CONNECT_SECONDS, READ_SECONDS, SLACK_SECONDS
from ledger.providers.exchange import Exchange
from ledger.providers.replies import Answer, redactor
from ledger.providers.translate import refusal, translated

if TYPE_CHECKING:
    from ledger.providers.thin import ThinReads

CREATE_SECONDS: Final = 60.0


class Wire:
    """The exchanges of one account. `secrets` are blotted out of all that comes back."""

    def __init__(
        self,
        client: AsyncOpenAI,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        thin: bool = False,
    ) -> None:
        """`thin` lets looks go past the SDK's stack, see `ledger.providers.thin`."""
        self._client = client
        self._headers = dict(headers or {})
        self.secrets = {key}
        self._redact = redactor(self.secrets)
        self._thin = thin
        self._reads: ThinReads | None = None

    async def close(self) -> None:
        """Give the connections back."""
        with translated("close", self._redact):
            if self._reads is not None:
                await self._reads.close()
            await self._client.close()

    async def look(self, operation: str, path: str) -> Exchange:
        """Read one object: the call that is made again and again. Raises UpstreamError."""
        if not self._thin:
            return await self.get(operation, path)
        with translated(operation, self._redact):
            reads = self._reads or self._open_reads()
            answer = await reads.get(operation, path)
            if not 200 <= answer.status < 300:
                raise refusal(answer, operation, self._redact)
            return Exchange(operation, answer, self._redact)

    def _open_reads(self) -> ThinReads:
        from ledger.providers.thin import ThinReads

        self._reads = ThinReads(self._client, self._headers, self._redact)
        return self._reads

    async def get(
        self, operation: str, path: str, query: Mapping[str, str] | None = None
    ) -> Exchange:
        """Read something. Raises UpstreamError."""
        with translated(operation, self._redact):
            async with asyncio.timeout(READ_SECONDS + SLACK_SECONDS):
                response = await self._client.get(
                    path,
                    cast_to=httpx2.Response,
                    options={"headers": self._headers, "params": query or {}},
                )
            return Exchange(operation, _answer(response), self._redact)

    async def post(
        self,
        operation: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        marker: str | None = None,
    ) -> Exchange:
        """Do something, once. Raises UpstreamError.

        A create has a `marker`, more time, and the marker as its `X-Client-Request-Id`: the one
        handle for asking upstream's support about a create that timed out.
        """
        seconds = READ_SECONDS if marker is None else CREATE_SECONDS
        named = {} if marker is None else {"X-Client-Request-Id": marker}
        pace = httpx2.Timeout(seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
        with translated(operation, self._redact):
            async with asyncio.timeout(seconds + SLACK_SECONDS):
                response = await self._client.post(
                    path,
                    cast_to=httpx2.Response,
                    body=body,
                    options={"headers": self._headers | named, "timeout": pace},
                )
            return Exchange(operation, _answer(response), self._redact)


def _answer(response: httpx2.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content)
