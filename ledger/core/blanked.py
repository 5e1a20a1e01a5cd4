"""Payloads whose bytes are gone: an event of their run must say so, or they are damage."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.alphabet import EventKind
from ledger.core.model import REQUEST_CHECK, REQUEST_PAYLOAD


class Blanked:
    """The payloads of one history that have no bytes, while its events are read in order."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def add(self, number: int, seq: int) -> None:
        """A payload without bytes; `seq` is the first event that names it."""
        self._seen.setdefault(number, seq)

    def event(self, kind: str, pairs: Sequence[tuple[str, int]]) -> None:
        """An event, after the payloads that it names: it may account for bytes that are gone."""
        if kind == EventKind.erased and pairs:
            # All that came before it; what it says itself is kept.
            own = min(n for _, n in pairs)
            self._seen = {n: seq for n, seq in self._seen.items() if n >= own}
        elif kind == EventKind.accepted and any(role == REQUEST_CHECK for role, _ in pairs):
            self._seen.pop(REQUEST_PAYLOAD, None)

    def lost(self) -> int | None:
        """The first event of which bytes are gone that no event has destroyed."""
        return min(self._seen.values(), default=None)
