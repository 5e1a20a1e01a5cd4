"""Instants as people write them: `2h`, `2 hours ago`, `yesterday`, `last tuesday`, ISO dates."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.core.policy import bounded
from ledger.errors import InvalidInput

AGE_SECONDS_MAX: Final = 3_000_000_000.0
TEXT_MAX: Final = 50
HINT: Final = (
    'write an age (2h, 3 days ago), yesterday, "tuesday 03:00" or a date (2026-03-01T14:00)'
)
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNITS: Final = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3_600.0,
    "hour": 3_600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "w": 604_800.0,
    "week": 604_800.0,
}
_AGE = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]+)(?:\s+ago)?", re.ASCII)
_DAY = re.compile(rf"(?:last\s+|on\s+)?({'|'.join(DAYS)})")
# What a number beside a day means is left to nobody: an hour, a day of a month, a month.
_BARE = re.compile(
    rf"\bat [0-9]{{1,2}}$|(?:{'|'.join((*DAYS, 'yesterday', 'today'))}) [0-9]{{1,2}}$"
    rf"|^[0-9]{{1,2}} (?:{'|'.join(DAYS)})",
    re.ASCII,
)
_NUMBERS = re.compile(r"[0-9]\s*[/.]\s*[0-9]", re.ASCII)

Otherwise = Callable[[str, datetime], datetime | None]
"""Reads a form that is not known here; None where it cannot be read either."""


def read_moment(text: str, now: datetime, *, otherwise: Otherwise | None = None) -> datetime:
    """The instant that a text means, in UTC; a day is its first moment. Raises InvalidInput.

    `otherwise` is only asked about short texts in words: nobody may guess at numbers.
    """
    plain = " ".join(text.lower().split())
    if len(text) > TEXT_MAX:
        raise InvalidInput(f"a time of more than {TEXT_MAX} characters is none", hint=HINT)
    found = _age(plain, now) or _day(plain, now) or _iso(text.strip(), now)
    if found is None and otherwise is not None and _in_words(plain):
        found = otherwise(plain, now)
    if found is None:
        raise InvalidInput(f"{text!r} is no time that is understood", hint=HINT)
    return found


def _age(text: str, now: datetime) -> datetime | None:
    match = _AGE.fullmatch(text)
    # As it stands first: the s of `ms` is not that of a plural.
    unit = match and (UNITS.get(match[2]) or UNITS.get(match[2].removesuffix("s")))
    if not match or not unit:
        return None
    seconds = bounded("an age", float(match[1]) * unit, low=0.0, high=AGE_SECONDS_MAX)
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidInput(f"{text!r} lies before all time") from None


def _day(text: str, now: datetime) -> datetime | None:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match text:
        case "now":
            return now
        case "today":
            return today
        case "noon":
            return today + timedelta(hours=12)
        case "yesterday":
            return today - timedelta(days=1)
    named = _DAY.fullmatch(text)
    if not named:
        return None
    # The one that is over: on a Tuesday, Tuesday is a week ago.
    back = (today.weekday() - DAYS.index(named[1]) - 1) % 7 + 1
    return today - timedelta(days=back)


def _iso(text: str, now: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{text!r} lies outside of all time") from None


def _in_words(text: str) -> bool:
    plain = text.isascii() and bool(re.search("[a-z]{2}", text))
    return plain and not (_NUMBERS.search(text) or _BARE.search(text))
