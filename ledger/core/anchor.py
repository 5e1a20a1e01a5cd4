"""Anchors: what to keep outside the database, so that nobody can rewrite the whole of it unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ledger.core.query import UNSENDABLE
from ledger.errors import InvalidInput

FORMAT: Final = "runward-anchor"
VERSION: Final = 1
BYTES_MAX: Final = 64 * 1024
COUNT_MAX: Final = 2**63 - 1
HEX: Final = frozenset("0123456789abcdef")
HINT: Final = "an anchor is what `runward anchor` printed, unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One seal, as it was known outside: `hash` in hex, `sealed_at` in ISO format."""

    ledger: str
    seal: int
    hash: str
    sealed_at: str
    runs: int
    events: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the format and its version."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "ledger": self.ledger,
            "seal": self.seal,
            "hash": self.hash,
            "sealed_at": self.sealed_at,
            "runs": self.runs,
            "events": self.events,
        }


def parse_anchor(body: bytes) -> Anchor:
    """The anchor in a file's bytes. Raises InvalidInput with the reason."""
    if len(body) > BYTES_MAX:
        raise InvalidInput(f"an anchor is smaller than {BYTES_MAX} bytes", hint=HINT)
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise InvalidInput("this is not JSON", hint=HINT) from None
    return judge_anchor(value)


def judge_anchor(value: Any) -> Anchor:
    """An anchor from plain values. Raises InvalidInput, naming the field."""
    if isinstance(value, Anchor):
        value = value.as_json()
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise InvalidInput(f"this is no anchor: its `format` is not {FORMAT!r}", hint=HINT)
    if value.get("version") != VERSION:
        raise InvalidInput(
            f"this anchor is not of version {VERSION}, the one that this program knows",
            hint="use the runward that made it, or a newer one",
        )
    made = Anchor(
        ledger=_text(value, "ledger"),
        seal=_count(value, "seal", least=1),
        hash=_text(value, "hash"),
        sealed_at=_text(value, "sealed_at"),
        runs=_count(value, "runs"),
        events=_count(value, "events"),
    )
    if len(made.hash) != 64 or not HEX.issuperset(made.hash):
        raise InvalidInput("this anchor's `hash` is not 64 hex digits", hint=HINT)
    try:
        datetime.fromisoformat(made.sealed_at)
    except ValueError:
        raise InvalidInput("this anchor's `sealed_at` is not a time", hint=HINT) from None
    return made


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= 200 or UNSENDABLE.search(found):
        raise InvalidInput(f"this anchor's `{name}` is missing or no text", hint=HINT)
    return found


def _count(value: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= COUNT_MAX:
        raise InvalidInput(f"this anchor's `{name}` is missing or no count", hint=HINT)
    return found
