"""The HTTP client of outbound webhooks: one POST, no redirects, little of the answer read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.providers.trust import trusted

if TYPE_CHECKING:
    import httpx2

ANSWER_BYTES_MAX: Final = 16_384
"""More of an answer is not read: its status says all."""
CONNECTIONS_MAX: Final = 16
RETRY_AFTER_SECONDS_MAX: Final = 21_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one POST went. Without a status nothing came back, and `error` says why."""

    status: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the endpoint took it."""
        return self.status is not None and 200 <= self.status < 300


class Poster:
    """Posts messages. It belongs to one event loop."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        import httpx2

        limits = httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=4)
        self._client = httpx2.AsyncClient(
            verify=trusted(),
            transport=transport,
            follow_redirects=False,
            timeout=None,
            limits=limits,
        )

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> Answer:
        """Send one message; whatever goes wrong is an answer too. The time is for all of it, so
        that an endpoint that answers a byte a minute holds up nothing."""
        import httpx2

        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(error=f"no answer within {timeout_seconds:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:300])

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        async with self._client.stream("POST", url, content=body, headers=dict(headers)) as reply:
            size = 0
            # Read to its end, a connection can be used again; a long answer costs it.
            async for part in reply.aiter_raw():
                size += len(part)
                if size > ANSWER_BYTES_MAX:
                    break
            seconds = _seconds(reply.headers.get("retry-after"))
            return Answer(status=reply.status_code, retry_after_seconds=seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds, bounded; a date, or nonsense, is none."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return min(float(text), RETRY_AFTER_SECONDS_MAX)
