"""Checks this bundle: python -I verify.py

Needs Python 3.9 or newer and nothing else; opens no connection. Ends with 0 if everything fits, and
with 1 after naming the first thing that does not.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - for Pythons before 3.11
HASHED = (
    "kind", "from_state", "trigger", "to_state", "source", "actor", "recorded_at", "remote_at",
    "remote_at_source", "remote_status", "request_id", "error_code", "attempt", "remote",
)  # fmt: skip
TIMES = ("recorded_at", "remote_at")


class Broken(Exception):
    """Something does not fit."""


def sha256(data: bytes) -> bytes:
    """The digest that everything here is made of."""
    return hashlib.sha256(data).digest()


def encode(fields: list[Any]) -> bytes:
    """Texts, bytes, whole numbers and None, each with its type and length."""
    made = []
    for value in fields:
        if value is None:
            made.append(b"n")
        elif isinstance(value, str):
            text = value.encode("utf-8", "surrogatepass")
            made.append(b"s%d:%b" % (len(text), text))
        elif isinstance(value, bytes):
            made.append(b"b%d:%b" % (len(value), value))
        else:
            made.append(b"i%d;" % value)
    return b"".join(made)


def micros(text: str | None) -> int | None:
    """A time as microseconds since 1970."""
    if text is None:
        return None
    delta = datetime.fromisoformat(text) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def read(name: str) -> bytes:
    """One file of the bundle."""
    try:
        return (HERE / name).read_bytes()
    except OSError as error:
        raise Broken(f"{name} cannot be read") from error


def check_files() -> int:
    """Every file is the one that was packed."""
    *lines, rest = read("SHA256SUMS").decode().split("\n")
    if rest or not lines:
        raise Broken("SHA256SUMS is not the file that was packed")
    for line in lines:
        wanted, _, name = line.partition("  ")
        if sha256(read(name)).hex() != wanted:
            raise Broken(f"{name} is not the file that was packed")
    return len(lines)


def check_bytes(rows: list[dict[str, Any]]) -> dict[int, bytes]:
    """Digests of payloads, or of evidence, by number, each held against its bytes."""
    digests: dict[int, bytes] = {}
    for row in rows:
        if row["n"] in digests:
            raise Broken(f"number {row['n']} is there twice")
        digests[row["n"]] = bytes.fromhex(row["digest"])
        if (row["file"] is None) != (row["salt"] is None):
            raise Broken(f"number {row['n']} is half erased")
        if row["file"] is not None:
            salted = bytes.fromhex(row["salt"]) + read(row["file"])
            if sha256(salted) != digests[row["n"]]:
                raise Broken(f"{row['file']} is not what was hashed")
    return digests


def check_erased(rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> int:
    """How many payloads are erased; an event says of each that its bytes were destroyed."""
    erased = {row["n"] for row in rows if row["file"] is None}
    left = set(erased)
    for event in events:
        named = dict(event["payloads"] or [])
        if event["kind"] == "erased":
            left = {n for n in left if n >= min(named.values(), default=0)}
        if event["kind"] == "accepted" and "request_check" in named:
            left.discard(1)
    if left:
        raise Broken(f"the bytes of payload {min(left)} are gone, and no event destroyed them")
    return len(erased)


def check_evidence(rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """What came unasked is what the events speak of; an event says that its bytes were destroyed.

    Afterwards the details have to be checked: they hold the digests.
    """
    erased = any(event["kind"] == "erased" for event in events)
    named = {
        event["detail"]["webhook_id"]: event["detail"]["digest"]
        for event in events
        if event["kind"] == "notified" and "digest" in (event["detail"] or {})
    }
    for row in rows:
        if row["file"] is None and not erased:
            raise Broken(f"the bytes of evidence {row['n']} are gone, and no event destroyed them")
        if named.pop(row["key"], row["digest"]) != row["digest"]:
            raise Broken(f"evidence {row['n']} is not what the event speaks of")
    if named:
        raise Broken(f"the evidence {min(named)} is missing")


def clean(value: Any) -> Any:
    """A value as it is shown: without what not every database takes."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def check_details(events: list[dict[str, Any]], files: dict[int, str | None]) -> None:
    """What an event shows is what was hashed."""
    for event in events:
        shown = None
        for role, n in event["payloads"] or []:
            name = files[n] if role == "detail" else None
            shown = shown if name is None else clean(json.loads(read(name)))
        if event["detail"] != shown:
            raise Broken(f"event {event['seq']} shows a detail that was not hashed")


def check_events(
    proof: dict[str, Any], events: list[dict[str, Any]], digests: dict[int, bytes]
) -> dict[int, bytes]:
    """Recompute the chain; returns the hash of every event by its number."""
    ledger, run = proof["origin_ledger"], proof["origin_run"]
    previous = sha256(encode([b"runward", ledger, run]))
    heads = {}
    for seq, event in enumerate(events, 1):
        if event["seq"] != seq:
            raise Broken(f"event {seq} is missing")
        values = [micros(event[n]) if n in TIMES else event[n] for n in HASHED]
        fields = [ledger, run, seq, *values]
        for role, n in event["payloads"] or []:
            if n not in digests:
                raise Broken(f"event {seq} names payload {n}, which is missing")
            fields += [role, digests[n]]
        before, previous = previous, sha256(b"\x01" + encode([*fields, previous]))
        if (event["prev_hash"], event["hash"]) != (before.hex(), previous.hex()):
            raise Broken(f"event {seq} was changed")
        heads[seq] = previous
    if not heads or previous.hex() != proof["head"]:
        raise Broken("the history does not end at the head that the proof names")
    return heads


def check_seal(proof: dict[str, Any], heads: dict[int, bytes]) -> str:
    """Follow the path from the run's leaf to the root, and on to the seal."""
    seal = proof["seal"]
    if seal is None:
        return "no seal covers the run yet"
    head = heads.get(seal["seq"])
    if head is None or head.hex() != seal["head"]:
        raise Broken("the seal covers another event")
    ledger, run = proof["origin_ledger"], proof["origin_run"]
    node = sha256(b"\x00" + encode([ledger, run, seal["seq"], head]))
    for side, other in seal["path"]:
        both = (node, bytes.fromhex(other)) if side == "right" else (bytes.fromhex(other), node)
        node = sha256(b"\x01" + both[0] + both[1])
    if node.hex() != seal["root"]:
        raise Broken("the run is not under the seal's root")
    fields = [
        proof["ledger"], seal["number"], micros(seal["sealed_at"]), seal["leaves"], node,
        bytes.fromhex(seal["prev_hash"]),
    ]  # fmt: skip
    if sha256(b"\x01" + encode(fields)).hex() != seal["hash"]:
        raise Broken("the seal was changed")
    return (
        f"events 1 to {seal['seq']} are under seal {seal['number']} of {seal['sealed_at']}, whose "
        f"hash is\n{seal['hash']}\nCompare that with an anchor that was kept elsewhere."
    )


def main() -> int:
    """Check everything, and say what was found."""
    try:
        files = check_files()
        proof = json.loads(read("proof.json"))
        payloads, events = json.loads(read("payloads.json")), json.loads(read("events.json"))
        digests = check_bytes(payloads)
        evidence = json.loads(read("evidence.json"))
        check_bytes(evidence)
        heads = check_events(proof, events, digests)
        erased = check_erased(payloads, events)
        check_evidence(evidence, events)
        check_details(events, {row["n"]: row["file"] for row in payloads})
        sealed = check_seal(proof, heads)
    except Broken as error:
        print(f"BROKEN: {error}")
        return 1
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        print(f"BROKEN: it cannot be read: {type(error).__name__}: {error}")
        return 1
    print(f"run {proof['origin_run']} of ledger {proof['origin_ledger']}: everything fits")
    print(f"{files} files, {len(heads)} events, {len(digests)} payloads, {erased} of them erased")
    print(sealed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
