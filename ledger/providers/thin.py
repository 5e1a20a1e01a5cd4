"""The thin read: "is it still running?" asked past the SDK's stack, at a fraction of its price.

A look through the SDK's client costs six to eight times the CPU of one through aiohttp, and nearly
all calls are looks. What makes the request is the SDK's still: base URL, credential and headers
come from the client that `build_client` made. There is no second read of a final object through
the SDK: the body is the same bytes, and they are judged in the same place (`Exchange`).

The SDK's stack goes on reading where its network was replaced, and where a proxy may stand between:
which proxy a host has is read from the environment in one way only, the SDK's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from openai import AsyncOpenAI
from yarl import URL

from ledger.core.reading import BODY_BYTES_MAX
from ledger.errors import (
    ConnectionFailed,
    LocalLimit,
    MalformedReply,
    ReplyLost,
    ReplyTimeout,
    UpstreamError,
)
from ledger.providers.client import CONNECT_SECONDS, READ_SECONDS, SLACK_SECONDS
from ledger.providers.replies import Answer, Redact
from ledger.providers.translate import told
from ledger.providers.trust import trusted

CONNECTIONS_MAX: Final = 1_000
"""As many as the SDK's client opens. A life makes one call a run, and so many runs at once as its
`concurrency` says."""
KEPT_SECONDS: Final = 15.0
"""An idle connection is closed after this."""

BEFORE_SENDING: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
"""All of these end a read before the first byte of the request."""


class ThinReads:
    """The reads of one account over connections of its own. It belongs to one event loop.

    Nothing is followed, kept or repeated: no redirects, no cookies, no retries.
    """

    def __init__(self, client: AsyncOpenAI, headers: Mapping[str, str], redact: Redact) -> None:
        self._base = str(client.base_url).rstrip("/")
        self._headers = {**_headers(client), **headers}
        self._redact = redact
        self._session: aiohttp.ClientSession | None = None
        self._busy = 0

    async def get(self, operation: str, path: str) -> Answer:
        """What came back, whatever its status. Raises UpstreamError for a failure below HTTP."""
        session = self._session or self._open()
        self._busy += 1
        try:
            # Encoded already: an id is one segment, and must not be unquoted into two.
            url = URL(self._base + path, encoded=True)
            response = await session.get(url, allow_redirects=False)
            try:
                body = await _bounded(response, operation)
            finally:
                response.release()
            return Answer(response.status, response.headers, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not chained: a traceback would print upstream's words before they were redacted.
            raise self._failure(error, operation) from None
        finally:
            self._busy -= 1

    async def close(self) -> None:
        """Give the connections back."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        """The connections are opened by the first read: it runs in the loop that they belong to."""
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            keepalive_timeout=KEPT_SECONDS,
            ssl=trusted(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=READ_SECONDS + SLACK_SECONDS,
                connect=CONNECT_SECONDS,
                sock_connect=CONNECT_SECONDS,
                sock_read=READ_SECONDS,
            ),
        )
        # A GET would be sent again when the connection breaks; the ledger owns repetition.
        self._session._retry_connection = False
        return self._session

    def _failure(self, error: Exception, operation: str) -> UpstreamError:
        kind = of_aiohttp(error)
        if isinstance(error, aiohttp.ConnectionTimeoutError) and self._busy > CONNECTIONS_MAX:
            # It waited for one of ours, not for upstream's.
            kind = LocalLimit
        return kind(told(error, operation, self._redact))


def of_aiohttp(error: BaseException) -> type[UpstreamError]:
    """What a failure below HTTP proves about the read; `translate.of_transport` says it of the
    SDK's stack."""
    if isinstance(error, BEFORE_SENDING):
        return ConnectionFailed
    if isinstance(error, TimeoutError):
        return ReplyTimeout
    if isinstance(error, aiohttp.ClientPayloadError) and _undecodable(error):
        return MalformedReply
    return ReplyLost if isinstance(error, aiohttp.ClientError | OSError) else MalformedReply


def _undecodable(error: BaseException) -> bool:
    """Whether all bytes came, and their Content-Encoding is not what it says."""
    cause = error.__cause__ or error.__context__
    return isinstance(cause, aiohttp.http_exceptions.ContentEncodingError)


def _headers(client: AsyncOpenAI) -> dict[str, str]:
    """What the SDK's client sends with a GET."""
    known: dict[str, Any] = {**client.auth_headers, **client.default_headers}
    named = {name: value for name, value in known.items() if isinstance(value, str)}
    return {name: value for name, value in named.items() if name.lower() != "content-type"}


async def _bounded(response: aiohttp.ClientResponse, operation: str) -> bytes:
    """The body, unpacked. Raises MalformedReply for one that is larger than any reply."""
    parts: list[bytes] = []
    size = 0
    content = response.content
    while not content.at_eof():
        part = await content.readany()
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            response.close()
            raise MalformedReply(f"{operation}: the reply is larger than {BODY_BYTES_MAX} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)
