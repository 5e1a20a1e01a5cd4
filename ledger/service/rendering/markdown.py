"""A document as Markdown: what people paste."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ledger.service.rendering.blocks import (
    COMMAND,
    Block,
    Chart,
    Code,
    Document,
    Items,
    Table,
    Text,
)

_MARKS: Final = re.compile(r"([\\`*_\[\]<>#|~&])")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")
_CODE: Final = re.compile(r"`[^`\n]+`")


def to_markdown(document: Document) -> str:
    """The whole document. Charts are left out: their numbers stand in the tables beside them."""
    lines = [f"# {plain(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block) -> Iterable[str]:
    match block:
        case Text(text):
            return [words(text), ""]
        case Items(items):
            return [*(f"- {words(item)}" for item in items), ""]
        case Table():
            return _table(block)
        case Code(lines):
            # A fence longer than any in the text.
            longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
            fence = "`" * max(3, longest + 1)
            return [fence + "text", *(_one_line(line) for line in lines), fence, ""]
        case Chart():
            return []


def _table(table: Table) -> Iterable[str]:
    if not table.rows:
        return [f"{words(table.caption)}: none.", ""]
    return [
        f"{words(table.caption)}:",
        "",
        f"| {' | '.join(plain(name) for name in table.columns)} |",
        f"|{'|'.join(' --- ' for _ in table.columns)}|",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in table.rows),
        "",
    ]


def _cell(text: str) -> str:
    """A cell; a command stays as it can be copied, but for the bars, which would end the cell."""
    if not text.startswith(COMMAND):
        return plain(text)
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if len(ticks) > 1 else ""
    bars = _one_line(text).replace("|", "\\|")
    return f"{ticks}{space}{bars}{space}{ticks}"


def words(text: str) -> str:
    """A sentence: what stands in back-quotes stays code, all else means nothing to Markdown."""
    made, at = [], 0
    for code in _CODE.finditer(text):
        made += [plain(text[at : code.start()]), _one_line(code[0])]
        at = code.end()
    return "".join([*made, plain(text[at:])])


def plain(text: str) -> str:
    """A text in which nothing is mark-up, on one line."""
    return _MARKS.sub(r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return _CONTROLS.sub(" ", text)
