"""Digests that history rests on. Encodings never change: a new one gets a new version byte."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ledger.core.model import EventDraft

EVENT_VERSION: Final = b"\x01"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def canonical_json(value: Any) -> bytes:
    """One spelling for one value: sorted keys, no spaces, ASCII. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def payload_digest(salt: bytes, body: bytes) -> bytes:
    """SHA-256(salt + body): without the salt, short bodies cannot be guessed from their digest."""
    return hashlib.sha256(salt + body).digest()


def request_check(secret: str, request: bytes) -> bytes:
    """What still tells, once a request is erased, whether another is the same: keyed with the
    credential it was sent under, so that the database alone does not let anybody guess at it."""
    key = hashlib.sha256(b"runward request check\x00" + secret.encode()).digest()
    return hmac.digest(key, request, "sha256")


def genesis(ledger: str, run: int) -> bytes:
    """What the first event of a run is chained to."""
    return hashlib.sha256(encode([b"runward", ledger, run])).digest()


def event_hash(
    event: EventDraft,
    *,
    ledger: str,
    run: int,
    seq: int,
    digests: Iterable[tuple[str, bytes]],
    previous: bytes,
) -> bytes:
    """SHA-256 over the version byte and every hashed field, each with its type and length.

    `ledger` and `run` are those of the origin, so an imported run verifies where it lands; no row
    id is hashed, and payloads count by digest, so their bytes may be erased.
    """
    fields: list[object] = [
        ledger,
        run,
        seq,
        event.kind,
        event.from_state,
        event.trigger,
        event.to_state,
        event.source,
        event.actor,
        microseconds(event.recorded_at),
        microseconds(event.remote_at),
        event.remote_at_source,
        event.remote_status,
        event.request_id,
        event.error_code,
        event.attempt,
        event.remote,
    ]
    for role, digest in digests:
        fields += (role, digest)
    fields.append(previous)
    return hashlib.sha256(EVENT_VERSION + encode(fields)).digest()


def call_key(ledger: str, run: int, tool: str, arguments: bytes, occurrence: int) -> str:
    """The name of one intended effect: the same after a crash and in a later attempt."""
    return hashlib.sha256(encode([b"call", ledger, run, tool, arguments, occurrence])).hexdigest()


def microseconds(time: datetime | None) -> int | None:
    """A time as a whole number: microseconds since 1970."""
    if time is None:
        return None
    delta = time - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def encode(fields: Sequence[object]) -> bytes:
    """Texts, bytes, whole numbers and None, each with its type and length: no two lists of fields
    have one encoding."""
    return b"".join([b"n" if value is None else _field(value) for value in fields])


def _field(value: object) -> bytes:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return b"i%d;" % value
    assert isinstance(value, bytes)
    return b"b%d:%b" % (len(value), value)


@functools.lru_cache(maxsize=1024)
def _text(value: str) -> bytes:
    # Most texts of an event are words of ours, or the same from one event of a run to the next.
    text = str(value).encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(text), text)
