"""Secrets that upstream or the network echo back, blotted out before anything is written."""

from __future__ import annotations

import re
from typing import Final

BLOT: Final = "[redacted]"
PATTERNS: Final = (
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_\-*.]{8,}",
    r"\bwhsec_[A-Za-z0-9+/=_\-]{8,}",
    r"\brw_[A-Za-z0-9_\-]{43}",
    r"\b[Bb]earer\s+[A-Za-z0-9._~+/=\-]{8,}",
    r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)",
)
_TEXT: Final = re.compile("|".join(PATTERNS))
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/\s:@\"']+:[^/\s@\"']+@\S+")
_BYTES: Final = re.compile("|".join(PATTERNS).encode())
_HINTS: Final = (b"sk-", b"rk-", b"pk-", b"whsec_", b"rw_", b"earer", b"://")


def redact_text(text: str) -> str:
    """The text without what looks like a credential."""
    return _TEXT.sub(BLOT, text)


def redact_bytes(body: bytes, *known: str) -> bytes:
    """The bytes without what looks like a credential, and without the `known` ones."""
    for secret in known:
        if secret:
            body = body.replace(secret.encode(), BLOT.encode())
    for hint in _HINTS:
        if hint in body:
            return _BYTES.sub(BLOT.encode(), body)
    return body


def looks_secret(text: str) -> bool:
    """Whether the whole text is a credential in one of the known shapes, or a URL with one in."""
    return _TEXT.fullmatch(text) is not None or _URL.fullmatch(text) is not None
