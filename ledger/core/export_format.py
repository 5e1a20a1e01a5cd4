"""The lines of an export: NDJSON, a header, then the rows of one run after the other, each run
closed by an `end`, and a manifest over all of it. docs/moving.md describes them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from ledger.core.merkle import MerkleTree, leaf_hash

FORMAT: Final = "runward-export"
VERSION: Final = 1
HEADER, RUN, END, MANIFEST = "header", "run", "end", "manifest"
PARTS: Final = ("attempt", "remote", "tool_call", "event", "payload", "evidence")
"""The rows of one run, in the order in which they follow its own line."""
TOMBSTONE: Final = "tombstone"
"""What is left of a pruned run: a line by itself, after all runs."""
LINE_BYTES_MAX: Final = 256 * 1024 * 1024
"""What a payload of 64 MiB, the most that is taken from upstream, may become as a text in ASCII."""
HEADER_BYTES_MAX: Final = 1024 * 1024
MANIFEST_BYTES_MAX: Final = 64 * 1024
_START: Final = b'{"type":"'


def line(kind: str, fields: Mapping[str, Any], *, run: int | None = None) -> bytes:
    """One line, without its end: the same bytes for the same values."""
    first: dict[str, Any] = {"type": kind} if run is None else {"type": kind, "run": run}
    start = json.dumps(first, separators=(",", ":"))[:-1]
    rest = json.dumps(fields, separators=(",", ":"), sort_keys=True)[1:]
    return f"{start},{rest}".encode() if fields else f"{start}}}".encode()


def kind_of(text: bytes) -> str:
    """The type of a line that `line` made; empty for any other."""
    if not text.startswith(_START):
        return ""
    return text[len(_START) : len(_START) + 32].partition(b'"')[0].decode("ascii", "replace")


def header(
    ledger: str, schema: str, query: str, as_of: str, through: int, *, archive: bool = False
) -> bytes:
    """The first line. Runs above number `through` began after the export did, and are not in it.
    An `archive` holds what was pruned then, in the order in which it went."""
    return line(
        HEADER,
        {
            "format": FORMAT,
            "version": VERSION,
            "ledger": ledger,
            "schema": schema,
            "query": query,
            "as_of": as_of,
            "through": through,
            "archive": archive,
        },
    )


class Tally:
    """What the manifest says, counted line by line."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.runs = self.sealed = 0
        self._hash = hashlib.sha256()
        self._heads = MerkleTree()

    def add(self, text: bytes) -> None:
        """Count one line, which has no line end."""
        kind = kind_of(text)
        self.counts[kind] += 1
        self._hash.update(text + b"\n")
        if kind == END:
            end = json.loads(text)
            head = bytes.fromhex(end["head"])
            self._heads.add(leaf_hash(end["origin_ledger"], end["origin_run"], end["events"], head))
            self.runs += 1
            self.sealed += end["seal"] is not None

    def sha256(self) -> str:
        """Of the lines so far, each with its line end."""
        return self._hash.hexdigest()

    def manifest(self, seal: Mapping[str, Any] | None) -> bytes:
        """The last line. `heads` is the Merkle root over the runs' heads, as a seal has it."""
        counts = {name: self.counts[name] for name in (RUN, *PARTS, TOMBSTONE)}
        return line(
            MANIFEST,
            {
                "runs": self.runs,
                "counts": counts,
                "sha256": self.sha256(),
                "heads": self._heads.root().hex(),
                "sealed": self.sealed,
                "seal": seal,
            },
        )
