"""Redaction hooks of all kinds: some work, and some do not."""

from __future__ import annotations

GONE = b"[gone]"


def drop(body: bytes) -> bytes:
    """Leaves nothing, not even JSON."""
    return GONE


def fail(body: bytes) -> bytes:
    """Raises, and its words hold what it should have hidden."""
    raise KeyError(body.decode())


def leave(body: bytes) -> bytes:
    """Ends the program, or tries to."""
    raise SystemExit(body.decode())


def wrong(body: bytes) -> str:
    """Returns a text."""
    return body.decode()


NOT_CALLABLE = 7
