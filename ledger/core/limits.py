"""What rate-limit headers say, read leniently: what makes no sense says nothing.

Source: OpenAI's rate-limit guide (`x-ratelimit-{limit,remaining,reset}-requests`; the reset is a
duration as `12ms`, `1s`, `6m0s`). The headers speak of the credential, not of one program.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from ledger.errors import Limits

__all__ = ["LIMIT_MAX", "Limits", "parse_reset", "read_limits"]
LIMIT_MAX: Final = 10_000_000.0
"""Calls a minute. More is no limit for anybody, and no number that a server means."""
RESET_SECONDS_MAX: Final = 86_400.0
TEXT_MAX: Final = 40

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_WHOLE: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


def read_limits(get: Callable[[str], str | None]) -> Limits | None:
    """The limits in a reply's headers; None where they say nothing.

    A limit below one request a minute is none: it would be a way to stop us.
    """
    limit = _number(get("x-ratelimit-limit-requests"), LIMIT_MAX)
    remaining = _number(get("x-ratelimit-remaining-requests"), LIMIT_MAX)
    if limit is not None and limit < 1:
        limit = None
    if limit is None and remaining is None:
        return None
    return Limits(limit, remaining, parse_reset(get("x-ratelimit-reset-requests")))


def parse_reset(text: str | None) -> float | None:
    """A duration in seconds, 0 to a day; None for anything else.

    >>> [parse_reset(text) for text in ("12ms", "1s", "6m0s", "1h0m2.5s", "7", "soon", None)]
    [0.012, 1.0, 360.0, 3602.5, 7.0, None, None]
    """
    text = (text or "").strip()
    if not text or len(text) > TEXT_MAX:
        return None
    if not _WHOLE.fullmatch(text):
        return _number(text, RESET_SECONDS_MAX)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return min(seconds, RESET_SECONDS_MAX)


def _number(text: str | None, most: float) -> float | None:
    if text is None or len(text) > TEXT_MAX:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return min(value, most) if math.isfinite(value) and value >= 0 else None
