"""The query grammar of `list -q`: `status:failed tag.team:search -model:gpt-5* attention:true`.

Terms are joined by AND; `-` negates; `,` lists alternatives; `*` ends a prefix; a quoted or bare
word is looked for in the error message.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.core.alphabet import State
from ledger.core.policy import bounded, parse_duration
from ledger.errors import InvalidInput

FIELDS: Final = ("status", "provider", "model", "kind", "error_code", "key", "attention", "since")
LENGTH_MAX: Final = 2_000
TERMS_MAX: Final = 20
SINCE_SECONDS_MAX: Final = 3_000_000_000.0
UNSENDABLE: Final = re.compile("[\x00\ud800-\udfff]")
TAG: Final = re.compile(r"tag\.[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition. `value` is set where the text stands for something else than itself."""

    name: str
    values: tuple[str, ...]
    negated: bool = False
    value: datetime | None = None


def parse_query(text: str, *, now: datetime) -> tuple[Term, ...]:
    """The terms of a query. Raises InvalidInput, naming the part that is wrong."""
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"the query is longer than {LENGTH_MAX} characters")
    if UNSENDABLE.search(text):
        raise InvalidInput("the query holds a NUL or half of a surrogate pair")
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"the query {text!r} cannot be read: {error}") from None
    if len(parts) > TERMS_MAX:
        raise InvalidInput(f"the query has more than {TERMS_MAX} terms")
    return tuple(_term(part, now) for part in parts)


def _term(part: str, now: datetime) -> Term:
    negated = part.startswith("-")
    body = part.removeprefix("-")
    name, colon, listed = body.partition(":")
    if not colon:
        return Term(name="words", values=(body,), negated=negated)
    if name not in FIELDS and not TAG.fullmatch(name):
        known = ", ".join((*FIELDS, "tag.NAME"))
        raise InvalidInput(f"{part!r}: there is no field {name!r}; the fields are {known}")
    values = tuple(value for value in listed.split(",") if value)
    if not values:
        raise InvalidInput(f"{part!r}: a value is missing")
    if any("*" in value[:-1] for value in values):
        raise InvalidInput(f"{part!r}: a * may only end a value")
    _check(part, name, values)
    value = read_moment(values[0], now) if name == "since" else None
    return Term(name=name, values=values, negated=negated, value=value)


def _check(part: str, name: str, values: tuple[str, ...]) -> None:
    if name == "attention" and values not in (("true",), ("false",)):
        raise InvalidInput(f"{part!r}: attention is true or false")
    unknown = set(values) - {str(state) for state in State}
    if name == "status" and unknown:
        raise InvalidInput(f"{part!r}: a status is one of {', '.join(State)}")


def read_moment(text: str, now: datetime) -> datetime:
    """An instant from an age such as 2h, or from an ISO date. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        age = bounded("since", parse_duration(text), low=0.0, high=SINCE_SECONDS_MAX)
        return now - timedelta(seconds=age)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{text!r} lies outside of all time") from None
