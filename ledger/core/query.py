"""The query grammar of lists: `status:failed tag.team:search -model:gpt-5* dur:>5m since:2h`.

Terms are joined by AND; `-` negates; `,` lists alternatives; `*` ends a prefix; what is in quotes
is taken as it is; a word is looked for in error messages and fingerprints.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from ledger.core.alphabet import Attention, ErrorOrigin, State
from ledger.core.lexing import Part, Value, split
from ledger.core.moments import Otherwise, read_moment
from ledger.core.policy import parse_duration
from ledger.errors import InvalidInput

LENGTH_MAX: Final = 2_000
TERMS_MAX: Final = 20
VALUES_MAX: Final = 50
SECONDS_MAX: Final = 3_000_000_000.0
COUNT_MAX: Final = 10**9
UNSENDABLE: Final = re.compile("[\x00\ud800-\udfff]")
TAG: Final = re.compile(r"tag\.[A-Za-z0-9_.-]{1,64}")
WORDS: Final = "words"
COMPARED: Final = re.compile(r"(>=|<=|>|<)(.+)")
WITHOUT_COLON: Final = re.compile(r"([A-Za-z0-9_.-]+?)(!=|>=|<=|==|=|>|<)(.+)")
SHOWN_MAX: Final = 80
"""So much of a part is said again in the error about it."""
OPERATORS: Final = {
    "AND": "leave it out",
    "OR": "alternatives are a list, as in status:failed,expired",
    "NOT": "a minus is NOT, as in -status:failed",
}
TRUTH: Final = ("true", "false")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition: any of `values` and `prefixes`; a `moment`; or `bounds` that all hold.

    A bound is one of > >= < <= = and a number, of seconds where the field is a duration.
    """

    name: str
    values: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    negated: bool = False
    moment: datetime | None = None
    bounds: tuple[tuple[str, float], ...] = ()


def parse_query(
    text: str, *, now: datetime, otherwise: Otherwise | None = None
) -> tuple[Term, ...]:
    """The terms of a query. `otherwise` reads times in words that are not known here.

    Raises InvalidInput, naming the part that is wrong and what would be right.
    """
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"the query is longer than {LENGTH_MAX} characters")
    if UNSENDABLE.search(text):
        raise InvalidInput("the query holds a NUL or half of a surrogate pair")
    parts = split(text)
    if len(parts) > TERMS_MAX:
        raise InvalidInput(f"the query has more than {TERMS_MAX} terms")
    return tuple(_term(part, now, otherwise) for part in parts)


def _term(part: Part, now: datetime, otherwise: Otherwise | None) -> Term:
    if part.name is None:
        return _word(part)
    name = _field(part)
    if not part.values:
        raise _wrong(part, "a value is missing", hint=f'as in {name}:x, or {name}:"two words"')
    if len(part.values) > VALUES_MAX:
        raise _wrong(part, f"there are more than {VALUES_MAX} values")
    read = _READERS.get(name)
    if read is not None:
        return read(part)
    if name in MOMENTS:
        text = _only(part).text
        moment = _explained(part, lambda: read_moment(text, now, otherwise=otherwise))
        return Term(name=name, values=(text,), negated=part.negated, moment=moment)
    return _texts(part)


def _word(part: Part) -> Term:
    [value] = part.values
    if not value.text:
        raise _wrong(part, "there is nothing to look for")
    if value.star:
        hint = "leave the * out; in quotes it is a star"
        raise _wrong(part, "a word is found anywhere in a message", hint=hint)
    if not value.quoted:
        _judge_plain(part, value.text)
    return Term(name=WORDS, values=(value.text,), negated=part.negated)


def _judge_plain(part: Part, text: str) -> None:
    """Refuses what was hardly meant as a word: it would find nothing, and say nothing."""
    if text in OPERATORS:
        hint = f"{OPERATORS[text]}; in quotes it is a word"
        raise _wrong(part, "terms are joined by AND already", hint=hint)
    found = WITHOUT_COLON.fullmatch(text)
    if found and (found[1] in FIELDS or TAG.fullmatch(found[1])):
        name, sign, value = found.groups()
        meant = f"{'-' * (sign == '!=')}{name}:{sign if sign[0] in '<>' else ''}{value}"
        hint = f"after a field comes a colon, as in {meant:.{SHOWN_MAX}}; in quotes it is a word"
        raise _wrong(part, "this is no term", hint=hint)


def _field(part: Part) -> str:
    name = part.name or ""
    if name in FIELDS or TAG.fullmatch(name):
        return name
    if name == "tag" or name.startswith("tag."):
        text = "a tag's name has 1 to 64 letters, digits and _.-"
        raise _wrong(part, text, hint="as in tag.team:search")
    near = difflib.get_close_matches(name.lower(), FIELDS, n=1, cutoff=0.7)
    known = ", ".join((*FIELDS, "tag.NAME"))
    hint = f"did you mean {near[0]}?" if near else "a word with a colon in it stands in quotes"
    raise _wrong(part, f"there is no field {name[:SHOWN_MAX]!r}; the fields are {known}", hint=hint)


def _texts(part: Part) -> Term:
    """Any text, or the beginning of one."""
    for value in part.values:
        if not value.text:
            text = "a * alone says nothing" if value.star else "a value is empty"
            raise _wrong(part, text)
    return Term(
        name=part.name or "",
        values=tuple(value.text for value in part.values if not value.star),
        prefixes=tuple(value.text for value in part.values if value.star),
        negated=part.negated,
    )


def _vocabulary(words: tuple[str, ...]) -> Callable[[Part], Term]:
    def read(part: Part) -> Term:
        name = part.name or ""
        for value in part.values:
            if value.star or value.text not in words:
                shown = value.text + "*" * value.star
                near = difflib.get_close_matches(shown.lower(), words, n=1)
                hint = f"did you mean {near[0]!r}?" if near else None
                known = ", ".join(words)
                raise _wrong(
                    part, f"{shown[:SHOWN_MAX]!r} is none; {name} is one of {known}", hint=hint
                )
        return Term(name=name, values=_plain(part), negated=part.negated)

    return read


def _truth(part: Part) -> Term:
    if _plain(part) not in (("true",), ("false",)):
        raise _wrong(part, f"{part.name} is true or false")
    return Term(name=part.name or "", values=_plain(part), negated=part.negated)


def _attention(part: Part) -> Term:
    if any(value.text in TRUTH for value in part.values):
        return _truth(part)
    return _vocabulary((*TRUTH, *(str(why) for why in Attention)))(part)


def _compared(
    number: Callable[[str], float], example: str, *, equal: bool
) -> Callable[[Part], Term]:
    """A field that is compared: with > >= < <=, or as a range a..b that includes its ends."""

    def read(part: Part) -> Term:
        text = _only(part).text
        named = COMPARED.fullmatch(text)
        low, dots, high = text.partition("..")
        if named:
            pairs = [(named[1], named[2])]
        elif dots and not (low and high):
            meant = f">={low}" if low else f"<={high or example}"
            raise _wrong(part, "a range has two ends", hint=f"as in {part.name}:{meant}")
        elif dots:
            pairs = [(">=", low), ("<=", high)]
        elif equal:
            pairs = [("=", text)]
        else:
            raise _wrong(part, f"say longer or shorter, as in {part.name}:>{example}")
        bounds = tuple((sign, _explained(part, partial(number, given))) for sign, given in pairs)
        if dots and bounds[0][1] > bounds[1][1]:
            raise _wrong(part, "the range ends before it begins")
        return Term(name=part.name or "", values=(text,), negated=part.negated, bounds=bounds)

    return read


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if not 0 <= seconds <= SECONDS_MAX:
        raise InvalidInput(f"{text!r} is no duration between 0 and {SECONDS_MAX:.0f}s")
    return seconds


def _count(text: str) -> float:
    if not (text.isascii() and text.isdigit()) or int(text[:12]) > COUNT_MAX or len(text) > 12:
        raise InvalidInput(f"{text!r} is no whole number from 0 to {COUNT_MAX}")
    return int(text)


def _only(part: Part) -> Value:
    if len(part.values) != 1 or part.values[0].star:
        raise _wrong(part, f"{part.name} takes one value, without a *")
    return part.values[0]


def _plain(part: Part) -> tuple[str, ...]:
    return tuple(value.text + "*" * value.star for value in part.values)


def _explained(part: Part, read: Callable[[], T]) -> T:
    try:
        return read()
    except InvalidInput as error:
        raise _wrong(part, error.message, hint=error.hint) from None


def _wrong(part: Part, text: str, *, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"{part.text[:SHOWN_MAX]!r}: {text}", hint=hint)


TEXTS: Final = (
    "error_code", "model", "assistant", "kind", "provider", "profile", "key", "fingerprint",
)  # fmt: skip
"""Fields of any text; besides, there is one for each name of a tag."""
MOMENTS: Final = ("since", "until", "finished_since", "finished_until")
_READERS: Final[dict[str, Callable[[Part], Term]]] = {
    "status": _vocabulary(tuple(str(state) for state in State)),
    "error_origin": _vocabulary(tuple(str(origin) for origin in ErrorOrigin)),
    "attention": _attention,
    "pinned": _truth,
    "imported": _truth,
    "dur": _compared(_seconds, "5m", equal=False),
    "attempts": _compared(_count, "1", equal=True),
    "calls": _compared(_count, "20", equal=True),
}
FIELDS: Final = (*_READERS, *TEXTS, *MOMENTS)
