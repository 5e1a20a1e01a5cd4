"""Which failures are the same one: a name for what they share, once ids and numbers are masked.

The id begins with the version of the method, so that groups of an older one never move.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from ledger.core.alphabet import CallState, ErrorOrigin, State
from ledger.core.model import Attempt, Fingerprint, ToolCall
from ledger.core.record import evolve

VERSION: Final = "v1"
DIGITS: Final = 16
MESSAGE_MAX: Final = 200
SCANNED_MAX: Final = 4_000
"""So much of a message is looked at: what differs only behind it is the same."""

_MASKS: Final = tuple(
    (re.compile(pattern, re.ASCII), word)
    for pattern, word in (
        (r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s'\"<>)\]]*[^\s'\"<>)\].,:;!?]", "<url>"),
        (r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?(Z|[+-]\d\d:?\d\d)?", "<time>"),
        (r"\b\d\d:\d\d(:\d\d([.,]\d+)?)?\b", "<time>"),
        (r"\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<id>"),
        # Upstream's ids: a short word, _ or -, and a tail with a digit or a capital in it.
        (r"\b[a-z]{2,12}[_-](?=[A-Za-z0-9_-]*[0-9A-Z])[A-Za-z0-9_-]{4,}", "<id>"),
        (r'"[^"\n]{0,300}"', "<text>"),
        (r"`[^`\n]{0,300}`", "<text>"),
        (r"(?<!\w)'[^'\n]{0,300}'(?!\w)", "<text>"),
        (r"\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{12,}\b", "<id>"),
        (r"\b0x[0-9a-fA-F]+\b", "<n>"),
        (
            r"(?<![\w<])[-+]?\d[\d,._]*([eE][-+]?\d+)?\s?(ms|s|min|m|h|d|%|[kKMG]i?B|B)?(?!\w)",
            "<n>",
        ),
        (r"\d+", "<n>"),
        (r"\s+", " "),
    )
)
FAULTY: Final = frozenset({State.failed, State.expired, State.incomplete})


def mask(message: str) -> str:
    """A message with ids, numbers with their units, quoted texts, URLs and times masked."""
    text = message[:SCANNED_MAX]
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text.strip()[:MESSAGE_MAX]


def spaced(text: str) -> str:
    """A part of a message with its spaces as a masked message has them."""
    return re.sub(r"\s+", " ", text, flags=re.ASCII).strip()


def fingerprint(
    *,
    provider: str,
    origin: str | None,
    code: str | None,
    http_status: int | None = None,
    incomplete_reason: str | None = None,
    tool: str | None = None,
    message: str | None = None,
) -> Fingerprint:
    """The fingerprint of one failure, with the parts that it was made of."""
    made = Fingerprint(
        id="",
        provider=provider,
        origin=ErrorOrigin(origin) if origin else None,
        code=code,
        http_status=http_status,
        incomplete_reason=incomplete_reason,
        tool=tool,
        message=mask(message) if message else None,
    )
    return evolve(made, id=id_of(made))


def id_of(seen: Fingerprint) -> str:
    """The id that follows from the parts; `message` is masked already."""
    parts = (
        seen.provider, seen.origin, seen.code, seen.http_status, seen.incomplete_reason, seen.tool,
        seen.message,
    )  # fmt: skip
    # A length before each part, and another sign for none: no two lists have one encoding.
    coded = "".join("-;" if part is None else f"{len(str(part))}:{part};" for part in parts)
    digest = hashlib.sha256(coded.encode("utf-8", "replace")).hexdigest()
    return f"{VERSION}:{digest[:DIGITS]}"


def waiting_tool(attempt: Attempt, calls: list[ToolCall]) -> str | None:
    """The tool whose output an attempt still waited for when it ended, if it waited for one."""
    for call in reversed(calls):
        if call.attempt == attempt.number and call.state in (
            CallState.requested,
            CallState.started,
        ):
            return call.tool
    return None
