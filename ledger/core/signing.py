"""Signatures of Standard Webhooks, version 1: HMAC-SHA256 over id, timestamp and body. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 1_024


def read_secret(text: str) -> bytes:
    """The bytes of a secret `whsec_…`. Raises ValueError with a reason that does not quote it."""
    if not text.startswith(PREFIX):
        raise ValueError(f"it does not begin with {PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {PREFIX} is not base64") from None
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise ValueError(f"it has {len(secret)} bytes; {SECRET_BYTES_MIN} are the least")
    return secret


def sign(secret: bytes, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery. `timestamp` is in seconds since 1970."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{digest}",
    }
