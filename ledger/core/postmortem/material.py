"""What a report is made of: rows of the ledger as plain tuples, with the columns that it needs.

Tuples and not records, because there are tens of thousands of them and all are made at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ledger.core.alphabet import State
from ledger.core.record import record


@record
class Span:
    """A window: from `since`, and before `until`."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.since

    def holds(self, at: datetime | None) -> bool:
        """Whether it lies within."""
        return at is not None and self.since <= at < self.until

    def moved(self, by: timedelta) -> Span:
        """The same, earlier or later."""
        return Span(since=self.since + by, until=self.until + by)


class RunRow(NamedTuple):
    """One run, as it was asked for."""

    id: int
    key: str
    provider: str
    account_id: int
    model: str | None
    assistant: str | None
    kind: str | None
    serial_key: str | None
    tags: Mapping[str, str]
    created_at: datetime
    deadline_at: datetime
    calls: int


class AttemptRow(NamedTuple):
    """One try, and how it ended."""

    run_id: int
    number: int
    cause: str
    opened_at: datetime
    outcome: State | None
    ended_at: datetime | None
    error_code: str | None
    error_message: str | None
    error_origin: str | None
    fingerprint: str | None
    base: int | None
    not_before: datetime | None


class RemoteRow(NamedTuple):
    """One upstream object, and what we know of its times."""

    run_id: int
    n: int
    attempt: int
    kind: str
    remote_id: str | None
    marker: str
    state: str
    settled: bool
    previous: int | None
    observed_status: str | None
    observed_at: datetime | None
    live_at: datetime | None
    sent_at: datetime | None
    remote_created_at: datetime | None
    remote_ended_at: datetime | None
    readable_until: datetime | None
    request_id: str | None
    tokens_in: int | None
    tokens_cached: int | None
    tokens_out: int | None
    usage_at: datetime | None


class CallRow(NamedTuple):
    """One tool call."""

    run_id: int
    n: int
    attempt: int
    tool: str
    key: str
    is_error: bool
    held: bool
    reruns: int
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class EventRow(NamedTuple):
    """One event that a report tells of: an end, or something out of the ordinary."""

    run_id: int
    seq: int
    kind: str
    to_state: State | None
    source: str
    actor: str
    recorded_at: datetime
    attempt: int
    error_code: str | None
    detail: Any


class SeenRow(NamedTuple):
    """What was seen of an upstream object, up to the report's `as_of`, that went on after it."""

    run_id: int
    seq: int
    remote: int
    recorded_at: datetime
    remote_status: str
    request_id: str | None


class DeliveryRow(NamedTuple):
    """One webhook delivery about one of the runs."""

    run_id: int
    object_id: str
    type: str
    created_at: datetime | None
    received_at: datetime
    duplicates: int


class GapRow(NamedTuple):
    """A time without deliveries."""

    profile: str
    since: datetime
    noticed_at: datetime
    missed: int
    closed_at: datetime | None


class LifeRow(NamedTuple):
    """One life of a daemon or of a command that drove runs."""

    id: str
    role: str
    host: str
    version: str
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    end: str | None


class LifeEventRow(NamedTuple):
    """Something that befell a life."""

    at: datetime
    kind: str
    life: str | None
    host: str
    detail: Any


class MinuteRow(NamedTuple):
    """What was seen of an account's limit in one minute."""

    minute: datetime
    account_id: int
    limit_seen: float | None
    lowest_left: float | None
    calls: int
    refused: int
    throttled: int
    throttled_seconds: float


class FingerprintRow(NamedTuple):
    """What failures with this fingerprint have in common."""

    id: str
    origin: str | None
    code: str | None
    http_status: int | None
    tool: str | None
    message: str | None
    first_seen_at: datetime
    first_run: int


class AccountRow(NamedTuple):
    """Where runs went."""

    id: int
    provider: str
    profile: str
    base_url: str


class EndRow(NamedTuple):
    """A run of a window that this one is compared with."""

    state: State
    created_at: datetime
    finished_at: datetime
    provider: str
    model: str | None
    kind: str | None
    account_id: int
    tags: Mapping[str, str]


class SpentRow(NamedTuple):
    """Tokens of one model in a window that this one is compared with."""

    model: str | None
    tokens_in: int
    tokens_cached: int
    tokens_out: int


@dataclass(slots=True, kw_only=True)
class Before:
    """What is read of a window that this one is compared with."""

    name: str
    span: Span
    ends: Sequence[EndRow] = ()
    spent: Sequence[SpentRow] = ()
    failed_attempts: int = 0
    pruned: int = 0


@dataclass(slots=True, kw_only=True)
class Material:
    """All that is read for one report."""

    ledger_id: str
    ledger_since: datetime
    schema: str
    span: Span
    as_of: datetime
    query: str
    accounts: Mapping[int, AccountRow] = field(default_factory=dict)
    runs: Sequence[RunRow] = ()
    attempts: Sequence[AttemptRow] = ()
    remotes: Sequence[RemoteRow] = ()
    seen: Sequence[SeenRow] = ()
    """In order, of those alone whose rows tell of later looks."""
    calls: Sequence[CallRow] = ()
    tool_errors: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """What sort of error a tool call gave to the model, by run and number of the call."""
    events: Sequence[EventRow] = ()
    deliveries: Sequence[DeliveryRow] = ()
    gaps: Sequence[GapRow] = ()
    lives: Sequence[LifeRow] = ()
    life_events: Sequence[LifeEventRow] = ()
    minutes: Sequence[MinuteRow] = ()
    fingerprints: Mapping[str, FingerprintRow] = field(default_factory=dict)
    before: Sequence[Before] = ()
    """The first one is what delays and excesses are judged by."""
    pruned: int = 0
