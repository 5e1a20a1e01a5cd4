"""Reading an export file, which may have been changed, cut off, or made to do harm."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from ledger.core.export_format import (
    END,
    HEADER_BYTES_MAX,
    LINE_BYTES_MAX,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    RUN,
    TOMBSTONE,
    kind_of,
)
from ledger.errors import InvalidInput
from ledger.service.export_header import read_header

RUN_BYTES_MAX: Final = 1024 * 1024 * 1024
RUN_LINES_MAX: Final = 500_000
"""A short line takes a hundred times its length in memory."""
PLAIN_BYTES: Final = 16 * 1024 * 1024
"""A run of so few bytes is parsed whatever it holds."""
NESTED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of what comes after those, so much may stand outside texts. What an export has at length are
texts; brackets and numbers take forty times their length in memory."""
HEAD_BYTES: Final = 80
"""So far into a line its type is looked for, before it is parsed."""
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\(?s:.)?[^"\\]*+)*+(?:"|\Z)')
Lines = list[dict[str, Any]]
Refuse = Callable[[str, str], None]


@dataclass(slots=True, kw_only=True)
class Survey:
    """What one pass over a file found, before a line of it is believed. `changed` says how its
    lines differ from what its manifest says of them."""

    head: dict[str, Any]
    sha256: str = ""
    cut_off: bool = False
    changed: str | None = None
    trailing: bool = False
    last_ends: dict[int, int] = field(default_factory=dict)
    """In an archive: the number of the line that ends the last whole copy of each run."""


def opened(path: Path) -> IO[bytes]:
    """The file. Raises InvalidInput where it cannot be read."""
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be read: {why}") from None


def survey(handle: IO[bytes], path: Path) -> Survey:
    """Read the whole file once, from its beginning. Raises InvalidInput for one that is no export
    of ours."""
    found = Survey(head=read_header(handle.readline(HEADER_BYTES_MAX), path))
    handle.seek(0)
    made, counts, last = hashlib.sha256(), Counter[str](), b""
    for number, text in _numbered(handle):
        # However it is spelled: somebody may have passed the file through another program.
        if _may_be(MANIFEST, text) and _parsed(text[:MANIFEST_BYTES_MAX]).get("type") == MANIFEST:
            last = text
            break
        made.update(text)
        counts[kind_of(text)] += 1
        if found.head["archive"] and _may_be(END, text):
            _ended(found, number, _parsed(text[:MANIFEST_BYTES_MAX]))
    found.sha256 = made.hexdigest()
    if not last:
        found.cut_off = True
    else:
        found.changed = _difference(_parsed(last), found.sha256, counts)
        found.trailing = bool(handle.readline(LINE_BYTES_MAX))
    return found


def _numbered(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while text := handle.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(text) > LINE_BYTES_MAX:
            raise InvalidInput(
                f"line {number} is longer than {LINE_BYTES_MAX} bytes: no export has such a line"
            )
        yield number, text


def _may_be(kind: str, text: bytes) -> bool:
    return b'"%b"' % kind.encode() in text[:HEAD_BYTES]


def _ended(found: Survey, number: int, end: dict[str, Any]) -> None:
    run = end.get("run")
    if end.get("type") == END and isinstance(run, int):
        found.last_ends[run] = number


def _difference(manifest: dict[str, Any], sha256: str, counts: Counter[str]) -> str | None:
    said = manifest.get("sha256")
    if said != sha256:
        return f"its manifest says {str(said)[:64]}, and its lines make {sha256}"
    listed = manifest.get("counts")
    told = {**(listed if isinstance(listed, dict) else {}), END: manifest.get("runs")}
    for kind, count in sorted(told.items()):
        if count != counts[kind]:
            what = "run" if kind == END else kind
            return (
                f"its manifest counts {str(count)[:20]} of {what[:20]}, and it has {counts[kind]}"
            )
    return None


def runs_of(handle: IO[bytes], found: Survey, refuse: Refuse) -> Iterator[tuple[Lines, int]]:
    """The lines of one run, or of one tombstone, after the other, and how many bytes they are. Of
    a run that an archive has twice, since it went on after it was written down first, the last
    whole copy."""
    group = _Group()
    for number, text in _numbered(handle):
        if number == 1:
            continue
        if group.too_large(text):
            refuse(group.name or f"line {number}", group.why)
            group = _Group()
            continue
        fields = _parsed(text)
        kind = fields.get("type")
        if kind == MANIFEST:
            break
        if kind == RUN and group.lines:
            refuse(group.name, "its lines break off")
            group = _Group()
        if not group.lines and kind == TOMBSTONE:
            yield [fields], len(text)
            continue
        if not group.lines and kind != RUN:
            refuse(f"line {number}", "it belongs to no run")
            continue
        group.add(fields, text)
        if kind == END:
            if number >= found.last_ends.get(_run_of(fields), 0):
                yield group.lines, group.size
            group = _Group()
    if group.lines:
        refuse(group.name, "its lines break off")


class _Group:
    """The lines of a run as they are gathered."""

    def __init__(self) -> None:
        self.lines: Lines = []
        self.size = self._nested = 0
        self.why = ""

    @property
    def name(self) -> str:
        """What it is called; empty before its first line."""
        return name_of(self.lines) if self.lines else ""

    def add(self, fields: dict[str, Any], text: bytes) -> None:
        """One more."""
        self.lines.append(fields)
        self.size += len(text)

    def too_large(self, text: bytes) -> bool:
        """Whether the run would be, with this line too: asked before that is parsed."""
        size = self.size + len(text)
        if size > RUN_BYTES_MAX or len(self.lines) >= RUN_LINES_MAX:
            self.why = f"it is larger than {RUN_BYTES_MAX} bytes, or {RUN_LINES_MAX} lines"
        elif size > PLAIN_BYTES:
            self._nested += outside_texts(text, NESTED_BYTES_MAX)
            if self._nested > NESTED_BYTES_MAX:
                self.why = f"it nests more than {NESTED_BYTES_MAX} bytes of JSON, as no run does"
        return bool(self.why)


def outside_texts(text: bytes, most: int) -> int:
    """How many bytes of a line of JSON are not in texts, each text counted for one; more than
    `most` is not counted on."""
    count = at = 0
    for found in _TEXT.finditer(text):
        count += found.start() - at + 1
        at = found.end()
        if count > most:
            return count
    return count + len(text) - at


def _parsed(text: bytes) -> dict[str, Any]:
    """The object that a line is; empty for one that is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _run_of(end: dict[str, Any]) -> int:
    run = end.get("run")
    return run if isinstance(run, int) else 0


def name_of(lines: Lines) -> str:
    """A run of a file as a person finds it again."""
    first = lines[0]
    return f"run {str(first.get('run'))[:20]} (key {str(first.get('key'))[:60]!r})"
