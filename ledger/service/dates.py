"""Times in words that the ledger's own code does not know: `march 1st`, `two days ago`.

The library is asked last, for short texts in words alone, and is loaded only then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ledger.core.moments import read_moment

Moment = datetime | str
"""A time as callers give it: an aware datetime, an ISO date, an age such as 2h, or words."""

SETTINGS: Final = {
    "PREFER_DATES_FROM": "past",
    "RETURN_AS_TIMEZONE_AWARE": True,
    "TIMEZONE": "UTC",
    "PARSERS": ["relative-time", "absolute-time"],
}


def moment(given: Moment, now: datetime) -> datetime:
    """The instant that is meant, seen from `now`. Raises InvalidInput."""
    text = given.isoformat() if isinstance(given, datetime) else given
    return read_moment(text, now, otherwise=read_words)


def read_words(text: str, now: datetime) -> datetime | None:
    """The instant that English words mean, seen from `now`; None where they mean none."""
    try:
        import dateparser
    except ImportError:
        return None
    base = now.astimezone(UTC).replace(tzinfo=None)
    try:
        found = dateparser.parse(
            text, languages=["en"], settings={**SETTINGS, "RELATIVE_BASE": base}
        )
    except (ValueError, OverflowError, TypeError):
        return None
    return None if found is None else found.astimezone(UTC)
