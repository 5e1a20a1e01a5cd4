"""What a document is made of: sections of paragraphs, lists, tables and charts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

COMMAND: Final = "runward "
"""How a cell begins that is to be copied into a shell."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every cell is a text."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture in HTML, where it can be drawn; its numbers are a table beside it."""

    title: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are."""

    lines: Sequence[str]


Block: TypeAlias = Text | Items | Table | Chart | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    sections: Sequence[Section]


def cell(value: object) -> str:
    """A value as a table shows it; nothing for what is not known, times to the second."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) >= 0.001 else f"{value:.2g}"
    text = str(value)
    return f"{text[:10]} {text[11:19]}Z" if is_time(text) else text


def is_time(text: str) -> bool:
    """Whether a text is a time in UTC, as the numbers have it."""
    return _TIME.fullmatch(text) is not None


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of any values."""
    return Table(caption, columns, [[cell(value) for value in row] for row in rows])


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "" if share is None else f"{share:.1%}"


def ratio(of: Mapping[str, Any] | None) -> str:
    """A ratio with its interval."""
    if of is None:
        return ""
    return f"{of['value']:.2f} ({of['low']:.2f} to {of['high']:.2f})"
