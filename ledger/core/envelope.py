"""A message of the SQS inbox, read: one delivery as it came, and when.

`deploy/lambda/runward_inbox.py` writes it. Nothing here trusts it: whoever may send to the queue
may send anything.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.core.alphabet import Receipt
from ledger.core.delivery import TOLERANCE_SECONDS, malformed
from ledger.core.reading import parse_json
from ledger.errors import DeliveryRefused, MalformedReply

VERSION: Final = 1
HEADERS_MAX: Final = 16
TIME_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One delivery: its headers, its exact bytes, and the time of its receipt in UTC."""

    headers: dict[str, str]
    body: bytes
    received_at: datetime


def read_envelope(text: str, now: datetime) -> Envelope:
    """Read a message. Raises DeliveryRefused for what is none, or was received after `now`."""
    try:
        value = parse_json(text.encode())
    except (MalformedReply, UnicodeError):
        raise malformed("the message is not JSON") from None
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is not int or version != VERSION:
        raise malformed(f"the message is not an envelope of version {VERSION}")
    return Envelope(
        headers=_headers(value.get("headers")),
        body=_body(value.get("body")),
        received_at=_received_at(value.get("received_at"), now),
    )


def _headers(value: Any) -> dict[str, str]:
    texts = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    if not texts or len(value) > HEADERS_MAX:
        raise malformed("the envelope's headers cannot be read")
    return dict(value)


def _body(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        raise malformed("the envelope's body is not base64") from None


def _received_at(value: Any, now: datetime) -> datetime:
    """However long ago: a queue may have stood still. Never ahead, which would let a delivery be
    taken again later than its signature counts."""
    try:
        if len(value) > TIME_CHARS_MAX:
            raise ValueError
        found = datetime.fromisoformat(value)
        # Without an offset it would be this machine's time.
        if found.tzinfo is None:
            raise ValueError
        received = found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise malformed("the envelope's time of receipt cannot be read") from None
    if received - now > timedelta(seconds=TOLERANCE_SECONDS):
        raise DeliveryRefused("received later than now, says its envelope", result=Receipt.stale)
    return received
