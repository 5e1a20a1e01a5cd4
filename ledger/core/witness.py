"""What reached a run unasked, held against the events that speak of it."""

from __future__ import annotations

from typing import Any

from ledger.core.alphabet import EventKind
from ledger.core.hashing import payload_digest


class Witness:
    """The evidence of one history: first its events, in order, then the rows.

    An event that tells of a delivery has the digest of what was delivered in its detail, and that
    is hashed. What no event names is held against its own digest alone.
    """

    def __init__(self) -> None:
        self._named: dict[str, tuple[int, str]] = {}
        self._erased = False

    def event(self, kind: str, seq: int, detail: Any) -> None:
        """One event, with its detail as it was hashed; None where that is erased."""
        if kind == EventKind.erased:
            self._erased = True
        elif kind == EventKind.notified and isinstance(detail, dict) and "digest" in detail:
            self._named[str(detail.get("webhook_id"))] = (seq, str(detail["digest"]))

    def row(
        self, key: str, salt: bytes | None, digest: bytes, body: bytes | None
    ) -> tuple[int | None, str] | None:
        """What is wrong with one row: the event that names it, if one does, and the words."""
        seq, named = self._named.pop(key, (None, digest.hex()))
        if body is None and salt is None:
            gone = "bytes of evidence are gone, and no event destroyed them"
            return None if self._erased and named == digest.hex() else (seq, gone)
        whole = body is not None and salt is not None
        if not whole or named != digest.hex() or payload_digest(salt or b"", body or b"") != digest:
            return seq, f"the evidence {key[:80]!r} was changed"
        return None

    def missing(self) -> tuple[int, str] | None:
        """The first event whose evidence no row was, and the words."""
        left = min(self._named.values(), default=None)
        return None if left is None else (left[0], "the evidence that it names is missing")
