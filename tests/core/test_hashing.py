"""Digests that history rests on: known vectors for ever, and fields that cannot be confused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LEDGER, NOW

from ledger.core.alphabet import EventKind, Source, State, Trigger
from ledger.core.hashing import (
    EVENT_VERSION,
    call_key,
    canonical_json,
    encode,
    event_hash,
    genesis,
    payload_digest,
)
from ledger.core.model import EventDraft

EVENT = EventDraft(
    kind=EventKind.observed,
    source=Source.poll,
    actor="life:1",
    recorded_at=NOW,
    attempt=1,
    remote=2,
    from_state=State.queued,
    trigger=Trigger.complete,
    to_state=State.completed,
    remote_at=NOW - timedelta(seconds=1.5),
    remote_at_source="object",
    request_id="req_1",
    error_code=None,
)


def hashed(event: EventDraft = EVENT, **fields: Any) -> str:
    """The hash of an event, in hexadecimal."""
    given_: dict[str, Any] = {
        "ledger": LEDGER,
        "run": 7,
        "seq": 3,
        "digests": [("body", b"\x01" * 32)],
        "previous": b"\x02" * 32,
    }
    return event_hash(event, **given_ | fields).hex()


def test_the_encoding_of_an_event_never_changes() -> None:
    """These vectors hold for every version: histories that are stored rest on them."""
    assert (
        "a54127a9e7f28ad31f63970366a70298e460435ac8721ef9a357bcad1afbfd41"
        == genesis(LEDGER, 7).hex()
    )
    assert "1ca9ddce338c0f15e56a9cb155128f71025dc07b64947ea480e1c91f0da5e1b0" == hashed()
    assert "3b3dc557b7e4777ff0a0bfe6041e03a2cdacd8434bceb6cdb04245a66fa66f30" == hashed(
        EventDraft(
            kind=EventKind.noted, source=Source.operator, actor="ann", recorded_at=NOW, attempt=1
        ),
        digests=[],
    )
    assert "a73af37fb974c9f4b27530afd50ce044b1f556d5ff92665748254b988d31dabe" == call_key(
        LEDGER, 7, "pay", b"\x03" * 32, 1
    )
    assert hashlib.sha256(b"salt" + b"body").digest() == payload_digest(b"salt", b"body")
    assert b"\x01" == EVENT_VERSION


FIELDS = [
    field.name
    for field in dataclasses.fields(EventDraft)
    if field.name not in ("payloads", "detail")
]
OTHER: dict[str, Any] = {
    "kind": EventKind.noted,
    "source": Source.webhook,
    "actor": "life:2",
    "recorded_at": NOW + timedelta(microseconds=1),
    "attempt": 2,
    "remote": None,
    "from_state": None,
    "trigger": None,
    "to_state": None,
    "remote_at": None,
    "remote_at_source": None,
    "remote_status": "weird",
    "request_id": "",
    "error_code": "",
}


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_an_event_is_hashed(field: str) -> None:
    """No field can be changed without changing the hash; absent is not empty."""
    assert hashed() != hashed(dataclasses.replace(EVENT, **{field: OTHER[field]}))


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("ledger", LEDGER[::-1]),
        ("run", 8),
        ("seq", 4),
        ("previous", b"\x02" * 31),
        ("digests", []),
        ("digests", [("body", b"\x00" * 32)]),
        ("digests", [("result", b"\x01" * 32)]),
        ("digests", [("body", b"\x01" * 32)] * 2),
    ],
)
def test_position_and_payloads_are_hashed(field: str, other: Any) -> None:
    """Run, number, predecessor and each payload's role and digest are part of the hash."""
    assert hashed() != hashed(**{field: other})


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.binary(max_size=6),
    st.text(st.characters() | st.sampled_from("sbin0123456789:;\ud800"), max_size=6),
    st.sampled_from(["n", "i1;", "s1:a", b"n", b"s1:a", "", b"", 0, "0", b"0"]),
)


@given(one=st.lists(VALUES, max_size=6), two=st.lists(VALUES, max_size=6))
def test_two_lists_of_fields_are_never_spelt_alike(one: list[object], two: list[object]) -> None:
    """Lengths and types are part of the encoding, so no field can run into the next."""
    same = [(type(v), v) for v in one] == [(type(v), v) for v in two]
    assert same == (encode(one) == encode(two))


@given(parts=st.lists(st.text(max_size=3), min_size=2, max_size=4), cut=st.integers(0, 6))
def test_moving_a_boundary_changes_the_encoding(parts: list[str], cut: int) -> None:
    """The same characters, cut at another place, are other fields."""
    whole = "".join(parts)
    moved: list[object] = [whole[:cut], whole[cut:]]
    assert (moved == parts) == (encode(moved) == encode(list(parts)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(value=JSON)
def test_canonical_json_is_one_spelling(value: Any) -> None:
    """Spelling, reading and spelling again changes nothing, whatever the order of keys was."""
    spelt = canonical_json(value)
    assert spelt.isascii()
    assert spelt == canonical_json(json.loads(spelt))
    if isinstance(value, dict):
        assert spelt == canonical_json(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    """NaN and infinities have no spelling."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)
