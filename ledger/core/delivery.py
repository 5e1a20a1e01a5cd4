"""A webhook delivery, read. Nothing here trusts its bytes: a signature is no promise of a shape.

Source of the shape: OpenAI's webhooks guide; headers as Standard Webhooks has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ledger.core.alphabet import Receipt
from ledger.core.reading import LATEST, parse_json
from ledger.errors import DeliveryRefused, MalformedReply

PATH: Final = "/webhooks/openai"
"""Where the receiver is."""
WEBHOOK: Final = "webhook"
PARKED: Final = "parked"
ANNOUNCED: Final = (WEBHOOK, PARKED)
"""The sources of evidence that is a delivery's body: known at once whose it is, or only later."""
TOLERANCE_SECONDS: Final = 300
"""A signature counts so long before and after its time (Standard Webhooks; the SDK's default)."""
BODY_BYTES_MAX: Final = 256 * 1024
"""Deliveries carry ids only: a few hundred bytes."""
TEXT_CHARS_MAX: Final = 256
HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
WATCHED: Final = ("response.",)
"""Events that speak of something a run can be; all others are foreign."""
TEST_EVENT: Final = "runward.test"
"""The type of a delivery that we send to ourselves: it says nothing about upstream's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the body of a delivery says. `created_at` is when upstream made the event."""

    type: str
    object_id: str
    event_id: str | None = None
    created_at: datetime | None = None

    @property
    def watched(self) -> bool:
        """Whether a run could be meant."""
        return self.type.startswith(WATCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery whose signature was found right. `secret` is that secret's fingerprint."""

    webhook_id: str
    sent_at: datetime
    received_at: datetime
    announced: Announcement
    body: bytes
    profile: str
    secret: str
    via: str


def headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The three headers of a delivery, by their names in small letters. Raises DeliveryRefused."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = {name: lower.get(name, "") for name in HEADERS}
    for name, value in found.items():
        if not value:
            raise malformed(f"the header {name} is missing")
        if not (value.isascii() and value.isprintable()) or len(value) > 4 * TEXT_CHARS_MAX:
            raise malformed(f"the header {name} cannot be read")
    if len(found["webhook-id"]) > TEXT_CHARS_MAX:
        raise malformed(f"the header webhook-id has more than {TEXT_CHARS_MAX} characters")
    return found


def sent_at(headers: Mapping[str, str]) -> datetime:
    """When the delivery was signed. Raises DeliveryRefused."""
    text = headers["webhook-timestamp"]
    if not (text.isdecimal() and len(text) <= len(str(LATEST)) and int(text) <= LATEST):
        raise malformed("the header webhook-timestamp is not a time in seconds")
    return datetime.fromtimestamp(int(text), UTC)


def check_time(sent: datetime, received: datetime) -> None:
    """Refuse what was not signed at about the time it came. Raises DeliveryRefused."""
    seconds = (received - sent).total_seconds()
    if abs(seconds) > TOLERANCE_SECONDS:
        when = "before it came" if seconds > 0 else "after it came"
        raise DeliveryRefused(
            f"signed {abs(seconds):.0f} s {when}; at most {TOLERANCE_SECONDS} s are taken",
            result=Receipt.stale,
        )


def read_announcement(body: bytes) -> Announcement:
    """What a body says. Raises DeliveryRefused."""
    try:
        value = parse_json(body)
    except MalformedReply:
        raise malformed("the body is not JSON") from None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(data, dict):
        raise malformed("the body is not an event with data")
    return Announcement(
        type=_text(value, "type"),
        object_id=_text(data, "id"),
        event_id=_optional_text(value.get("id")),
        created_at=_time(value.get("created_at")),
    )


def malformed(message: str) -> DeliveryRefused:
    """The error for a request that is no delivery."""
    return DeliveryRefused(message, result=Receipt.malformed)


def _text(value: Mapping[str, Any], name: str) -> str:
    text = _optional_text(value.get(name))
    if text is None:
        raise malformed(f"the event's {name!r} is not a short text")
    return text


def _optional_text(value: object) -> str | None:
    fit = isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and value.isprintable()
    return value if fit and isinstance(value, str) else None


def _time(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)


MISSES_BEFORE: Final = (1, 100)
"""So many missed of so many is believed before anything was counted."""


def missed_share(counted: Mapping[str, int]) -> float:
    """The share of webhooks that do not come, from what was told of and what was missed."""
    before, among = MISSES_BEFORE
    missed = counted.get(Receipt.missed, 0)
    return (missed + before) / (counted.get(Receipt.told, 0) + missed + among)
