"""A provider whose network is a function: everything above the wire is what runs in production."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx2

from ledger.core.intent import AccountProfile
from ledger.providers import PROVIDERS
from ledger.providers.client import build_client
from ledger.providers.seam import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as it leaves."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    authorization: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One reply, as it arrives."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class NeverSentError(Exception):
    """No connection could be made."""


class BrokenOffError(Exception):
    """The connection broke before a reply was there."""


Network = Callable[[Asked], Awaitable[Answered]]
"""Answers a request, or raises one of the two errors, or takes longer than the caller waits."""


def open_in_process(profile: AccountProfile, key: str, network: Network) -> Provider:
    """The provider of a profile, over `network`."""
    client = build_client(profile, key=key, transport=_Transport(network))
    return PROVIDERS[profile.provider](client, key)


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, network: Network) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = Asked(
            method=request.method,
            path=request.url.path,
            query=dict(request.url.params),
            body=await request.aread(),
            authorization=request.headers.get("authorization", ""),
        )
        try:
            answer = await self._network(asked)
        except NeverSentError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        except BrokenOffError as error:
            raise httpx2.ReadError(str(error), request=request) from error
        headers = {"content-type": "application/json", **answer.headers}
        return httpx2.Response(answer.status, content=answer.body, headers=headers, request=request)
