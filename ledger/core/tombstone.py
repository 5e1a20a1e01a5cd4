"""What is left of a pruned run, and how it proves itself: every fact of it is hashed into the last
event of the history that is gone, and a seal covers that event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ledger.core.alphabet import EventKind, Source, State
from ledger.core.hashing import canonical_json, event_hash, microseconds, payload_digest
from ledger.core.model import EventDraft
from ledger.core.record import record


@record
class Tombstone:
    """One pruned run. `salt` is that of the last event's detail, `prev_hash` the head before it."""

    run_id: int
    key: str
    origin_ledger: str
    origin_run: int
    request_digest: bytes
    last_seq: int
    head: bytes = b""
    counts: Mapping[str, int]
    """Events (with the last), payloads, attempts, remotes and tool calls that the run had."""
    state: State
    attempts: int
    provider: str
    model: str | None = None
    error_code: str | None = None
    fingerprint: str | None = None
    created_at: datetime
    finished_at: datetime
    actor: str
    reason: str
    pruned_at: datetime
    prev_hash: bytes
    salt: bytes


def tombstone_head(stone: Tombstone) -> bytes:
    """The hash of the run's last event, `pruned`, made of everything the tombstone says."""
    event = EventDraft(
        kind=EventKind.pruned,
        source=Source.operator,
        actor=stone.actor,
        recorded_at=stone.pruned_at,
        attempt=stone.attempts,
    )
    return event_hash(
        event,
        ledger=stone.origin_ledger,
        run=stone.origin_run,
        seq=stone.last_seq,
        digests=[("detail", payload_digest(stone.salt, _detail(stone)))],
        previous=stone.prev_hash,
    )


def epitaph(stone: Tombstone) -> str:
    """When, by whom and why the run was pruned, for whoever asks for it."""
    why = f": {stone.reason}" if stone.reason else ""
    return (
        f"run {stone.run_id} (key {stone.key!r}, {stone.state} {_minute(stone.finished_at)}) was "
        f"pruned {_minute(stone.pruned_at)} by {stone.actor}{why}"
    )


def _detail(stone: Tombstone) -> bytes:
    return canonical_json(
        {
            "key": stone.key,
            "request_digest": stone.request_digest.hex(),
            "counts": dict(stone.counts),
            "state": str(stone.state),
            "provider": stone.provider,
            "model": stone.model,
            "error_code": stone.error_code,
            "fingerprint": stone.fingerprint,
            "created_at": microseconds(stone.created_at),
            "finished_at": microseconds(stone.finished_at),
            "reason": stone.reason,
        }
    )


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
