"""Upstream's webhook endpoints, through the SDK (openai-python 3.52.0 `resources/webhooks`).

They belong to a project: a run of another project never reaches them (OpenAI's webhooks guide).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.core.addresses import is_loopback
from ledger.core.intent import AccountProfile
from ledger.core.reading import LATEST
from ledger.errors import InvalidInput, MalformedReply
from ledger.providers.client import build_client
from ledger.providers.replies import redactor
from ledger.providers.translate import translated

if TYPE_CHECKING:
    from openai.types.webhooks import WebhookEndpoint

EVENTS: Final = (
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
)
"""What a run can be told of."""
LISTED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint as upstream describes it; never its secret."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    created_at: datetime | None
    secret_hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An endpoint with the secret that upstream shows once."""

    endpoint: Endpoint
    secret: str

    def __repr__(self) -> str:
        return f"Signed({self.endpoint!r})"


class Endpoints:
    """The endpoints of one project. Every method raises errors of the UpstreamError tree."""

    def __init__(self, profile: AccountProfile, key: str) -> None:
        self._client = build_client(profile, key=key)
        self._redact = redactor({key})

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.close()

    async def list(self) -> list[Endpoint]:
        """All endpoints, the newest first."""
        with translated("list webhook endpoints", self._redact):
            found = []
            async for item in await self._client.webhooks.list(limit=100):
                found.append(_endpoint(item))
                if len(found) == LISTED_MAX:
                    break
            return found

    async def create(self, name: str, url: str, events: Sequence[str]) -> Signed:
        """Make one. Raises InvalidInput for a URL that upstream would refuse."""
        judge_url(url)
        chosen: Any = list(events)
        with translated("create webhook endpoint", self._redact):
            made = await self._client.webhooks.create(name=name, url=url, event_types=chosen)
            return _signed(made)

    async def rotate(self, endpoint_id: str, *, overlap: bool) -> Signed:
        """A new secret; with `overlap` the old one counts for 24 hours more."""
        with translated("rotate webhook secret", self._redact):
            made = await self._client.webhooks.rotate_secret(
                endpoint_id, keep_old_secret_active_for_24_hours=overlap
            )
            return _signed(made)

    async def delete(self, endpoint_id: str) -> None:
        """Delete one."""
        with translated("delete webhook endpoint", self._redact):
            await self._client.webhooks.delete(endpoint_id)

    async def test(self, endpoint_id: str, event: str) -> int:
        """Have upstream send a sample; returns the status that the endpoint answered with."""
        kind: Any = event
        with translated("test webhook endpoint", self._redact):
            result = await self._client.webhooks.test(endpoint_id, event_type=kind)
            return int(result.status_code)


def judge_url(url: str) -> None:
    """Refuse what no delivery could reach safely. Raises InvalidInput."""
    import httpx2

    try:
        read = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise InvalidInput(f"{url[:200]!r} is no URL") from None
    near = read.scheme == "http" and is_loopback(read.host)
    if not read.host or not (read.scheme == "https" or near):
        raise InvalidInput(
            f"{url[:200]!r}: a webhook URL begins with https://",
            hint="http:// is for this machine alone, as with the simulator",
        )


def _endpoint(item: WebhookEndpoint) -> Endpoint:
    made = item.created_at if isinstance(item.created_at, int | float) else -1
    return Endpoint(
        id=str(item.id),
        name=str(item.name),
        url=str(item.url),
        events=tuple(map(str, item.event_types or ())),
        created_at=datetime.fromtimestamp(made, UTC) if 0 <= made <= LATEST else None,
        secret_hint=item.signing_secret_hint,
    )


def _signed(item: Any) -> Signed:
    secret = getattr(item, "signing_secret", None)
    if not isinstance(secret, str) or not secret:
        raise MalformedReply("the reply has no signing secret")
    return Signed(endpoint=_endpoint(item), secret=secret)
