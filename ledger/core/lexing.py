"""A query's text into its parts: names, values, quotes, minus signs and stars."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.errors import InvalidInput

QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Value:
    """One value; `star` where it ended with a star outside of quotes, which is taken off."""

    text: str
    star: bool = False
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it was written (`text`); without a name it is a word."""

    text: str
    name: str | None
    values: tuple[Value, ...]
    negated: bool


def split(text: str) -> list[Part]:
    """The parts of a query. Raises InvalidInput for quotes and stars that are out of place."""
    parts, at = [], 0
    while (at := _blank(text, at)) < len(text):
        part, at = _part(text, at)
        parts.append(part)
    return parts


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _part(text: str, start: int) -> tuple[Part, int]:
    negated = text[start] == "-"
    at = start + negated
    name, after = _name(text, at)
    if name is None:
        value, end = _value(text, at, stops="")
        if value is None:
            value = Value("")
        return Part(text[start:end], None, (value,), negated), end
    values, end = [], after
    while True:
        value, end = _value(text, end, stops=",")
        if value is not None:
            values.append(value)
        if end >= len(text) or text[end] != ",":
            return Part(text[start:end], name, tuple(values), negated), end
        end += 1


def _name(text: str, at: int) -> tuple[str | None, int]:
    """What stands before a colon outside of quotes, and where the colon ends."""
    end = at
    while end < len(text) and not text[end].isspace() and text[end] != ":":
        if end == at and text[end] in QUOTES:
            return None, at
        end += 1
    return (text[at:end], end + 1) if end < len(text) and text[end] == ":" else (None, at)


def _value(text: str, at: int, *, stops: str) -> tuple[Value | None, int]:
    """The value that begins here, None for none, and where it ends."""
    if at < len(text) and text[at] in QUOTES:
        return _quoted(text, at, stops)
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in stops:
        end += 1
    found = text[at:end]
    if not found:
        return None, end
    if "*" in found[:-1]:
        raise InvalidInput(
            f"{found!r}: a * may only end a value", hint="a value in quotes may hold stars"
        )
    return Value(found.removesuffix("*"), found.endswith("*")), end


def _quoted(text: str, start: int, stops: str) -> tuple[Value, int]:
    """A value in quotes: as it is, but for a backslash before a double quote or a backslash."""
    quote, found, at = text[start], [], start + 1
    while at < len(text) and text[at] != quote:
        if quote == '"' and text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        found.append(text[at])
        at += 1
    if at >= len(text):
        raise InvalidInput(f"{text[start:]!r}: the quote is not closed")
    at += 1
    star = text[at : at + 1] == "*"
    end = at + star
    if end < len(text) and not text[end].isspace() and text[end] not in stops:
        raise InvalidInput(
            f"{text[start : end + 1]!r}: a space is missing after the quote",
            hint='a quote within a value is written \\", the whole value in quotes',
        )
    return Value("".join(found), star, quoted=True), end
