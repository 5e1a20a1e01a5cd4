"""The secrets that upstream signs deliveries with, and the check of a signature by the SDK.

The SDK compares signatures in constant time and knows every form of the header; it takes one secret
at a time, reads the clock itself, and takes a secret that decodes to nothing for a key
(openai-python 3.52.0 `lib/_webhooks.py`). So secrets are judged here, and time is judged by
`core.delivery`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.core.signing import PREFIX, SECRET_BYTES_MIN, read_secret, sign
from ledger.credentials import secret_of
from ledger.errors import ConfigurationError, RunwardError

if TYPE_CHECKING:
    from openai.resources.webhooks.webhooks import Webhooks

FILE_BYTES_MAX: Final = 65_536
ANY_TIME: Final = 1 << 62
POST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """One secret. Its fingerprint tells secrets apart and gives none away."""

    value: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"SigningSecret({self.fingerprint!r})"


def signing_secret(text: str, place: str) -> SigningSecret:
    """A secret, judged. Raises ConfigurationError, naming where it stands and never what it is.

    One without the prefix is taken as it is, as the SDK does.
    """
    hint = "copy the signing secret again, whole"
    try:
        key = _key_of(text)
    except ValueError as error:
        raise ConfigurationError(f"{place}: the signing secret: {error}", hint=hint) from None
    return SigningSecret(value=text, fingerprint=_fingerprint(key))


def _key_of(text: str) -> bytes:
    """The key in a secret. Raises ValueError."""
    if text.startswith(PREFIX):
        return read_secret(text)
    if len(text.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"it has {len(text.encode())} bytes; {SECRET_BYTES_MIN} are the least")
    return text.encode()


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"runward signing secret\x00" + key).hexdigest()[:12]


def read_secrets(variable: str, file: Path | None) -> tuple[SigningSecret, ...]:
    """All secrets of a variable and of a file: one or more, separated by blanks or commas.

    Raises ConfigurationError.
    """
    found = _judged(secret_of(variable) if variable else "", variable)
    if file is not None:
        found += _judged(_text_of(file), str(file))
    return tuple({secret.fingerprint: secret for secret in found}.values())


def _text_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file}, which should hold webhook secrets, cannot be read: {error}"
        ) from None


def _judged(text: str, place: str) -> list[SigningSecret]:
    return [signing_secret(part, place) for part in re.split(r"[\s,]+", text) if part]


def prepare() -> None:
    """Load what a check needs, so that the first delivery does not wait for it."""
    _checker()


def signed_by(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[SigningSecret]
) -> SigningSecret | None:
    """The first of the secrets that made the signature, whenever that was; None for a forgery."""
    checker = _checker()
    for secret in secrets:
        try:
            checker.verify_signature(body, headers, secret=secret.value, tolerance=ANY_TIME)
        except (TypeError, ValueError):
            # ValueError also covers the SDK's own error and bytes that are no text.
            continue
        return secret
    return None


@functools.cache
def _checker() -> Webhooks:
    """Made once; importing the library takes most of a second."""
    from openai import OpenAI

    return OpenAI(api_key="none is needed to check a signature").webhooks


def signed_headers(
    secret: SigningSecret, webhook_id: str, now: datetime, body: bytes
) -> dict[str, str]:
    """The headers of a delivery of our own, as Standard Webhooks has them."""
    stamp = int(now.timestamp())
    made = sign(_key_of(secret.value), message_id=webhook_id, timestamp=stamp, body=body)
    return {"content-type": "application/json", **made}


def post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """Send a delivery; the status and the first words of the answer. Raises RunwardError."""
    import httpx2

    try:
        with httpx2.Client(timeout=POST_SECONDS, trust_env=False) as client:
            reply = client.post(url, content=body, headers=dict(headers))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise RunwardError(f"{url} cannot be reached: {error}"[:300]) from None
    return reply.status_code, reply.text[:300]
