"""The records that the core reasons about: frozen, compared by value, free of I/O.

One dataclass per table; the store maps columns to fields by name. Times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from ledger.core.alphabet import (
    Approval,
    Attention,
    CallState,
    ErrorOrigin,
    EventKind,
    OnUnknownOutcome,
    RemoteKind,
    RemoteState,
    Source,
    State,
    Trigger,
)
from ledger.core.lifecycle import FINAL
from ledger.core.policy import Policy
from ledger.core.record import record

ADOPTED = "adopt"
"""The cause of the first attempt of a run that watches an object made elsewhere."""
ACCEPTED = "accepted"
"""The cause of an attempt that takes upstream's word for an earlier one; `base` is its remote."""
REQUEST_PAYLOAD = 1
"""Every run's first payload is its request."""
Scalar = str | int | float | bool | bytes | None
"""What a statement's parameter may be: what both databases and JSON know."""
CHECK_PAYLOAD = 2
"""Where the request is erased at the end, the second is what tells it from another."""
REQUEST_CHECK = "request_check"
"""What that payload is to the event that accepts the run: hashed, it says that the first may go."""


@record
class Run:
    """One piece of work: what was asked, and the verdict so far."""

    id: int
    key: str
    origin_ledger: str
    origin_run: int
    provider: str
    account_id: int
    model: str | None = None
    assistant: str | None = None
    """The assistant or the stored prompt that the request names."""
    kind: str | None = None
    serial_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    state: State = State.queued
    attempts: int = 1
    deadline_at: datetime
    cancel_requested_at: datetime | None = None
    needs_attention: Attention | None = None
    error_code: str | None = None
    error_origin: ErrorOrigin | None = None
    error_message: str | None = None
    fingerprint: str | None = None
    usage: Mapping[str, object] | None = None
    calls: int = 0
    call_counts: Mapping[str, int] = field(default_factory=dict)
    """All upstream calls over all attempts, by `operation.outcome`; see core/counting."""
    result: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    took_seconds: float | None = None
    """From created to finished; None until the run is final."""
    version: int = 0
    event_seq: int = 0
    head_hash: bytes = b""
    sealed_seq: int = 0
    payload_seq: int = 0
    evidence_seen: int = 0
    pinned_at: datetime | None = None
    erased_at: datetime | None = None
    """When its contents were destroyed: what upstream still has of them is not fetched again."""
    imported_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether the run has a verdict."""
        return self.state in FINAL


@record
class Attempt:
    """One try at a run. Once ended it never changes."""

    number: int
    cause: str
    opened_at: datetime
    outcome: State | None = None
    ended_at: datetime | None = None
    last_error: int | None = None
    error_code: str | None = None
    error_origin: ErrorOrigin | None = None
    error_message: str | None = None
    fingerprint: str | None = None
    base: int | None = None
    not_before: datetime | None = None


@record
class Remote:
    """One upstream object that this run caused or watches. `n` counts them within the run."""

    n: int
    attempt: int
    kind: RemoteKind
    account_id: int
    parent_id: str = ""
    remote_id: str | None = None
    marker: str
    state: RemoteState = RemoteState.intended
    settled: bool = False
    previous: int | None = None
    round: int = 0
    observed_status: str | None = None
    observed: int | None = None
    observed_at: datetime | None = None
    live_at: datetime | None = None
    """When it was last seen before its end."""
    changed_at: datetime | None = None
    sent_at: datetime | None = None
    settle_until: datetime | None = None
    cancel_sent_at: datetime | None = None
    cancels: int = 0
    remote_created_at: datetime | None = None
    remote_started_at: datetime | None = None
    remote_ended_at: datetime | None = None
    expires_at: datetime | None = None
    readable_until: datetime | None = None
    doubted_at: datetime | None = None
    request_id: str | None = None
    usage: Mapping[str, object] | None = None
    """What it used, in upstream's words; the three numbers below are taken from it."""
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    usage_at: datetime | None = None


@record
class ToolCall:
    """One function call that the model asked for. `n` counts them within the run."""

    n: int
    attempt: int
    remote: int
    round: int
    call_id: str
    tool: str
    arguments: int
    arguments_hash: bytes
    key: str
    occurrence: int
    state: CallState = CallState.requested
    idempotent: bool | None = None
    transactional: bool | None = None
    on_unknown_outcome: OnUnknownOutcome | None = None
    reruns: int = 0
    output: int | None = None
    is_error: bool = False
    held: bool = False
    started_by: str | None = None
    requested_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    sent_at: datetime | None = None
    submitted_at: datetime | None = None
    confirmed_at: datetime | None = None
    approval: Approval | None = None
    approval_actor: str | None = None
    approval_reason: str | None = None
    approval_at: datetime | None = None
    approval_warned_at: datetime | None = None


@record
class Evidence:
    """One fact from outside ownership, waiting for the owner to read it."""

    id: int
    source: str
    key: str = ""
    body: bytes
    digest: bytes
    received_at: datetime


@record
class Facts:
    """Everything known of one run at one version."""

    run: Run
    attempts: tuple[Attempt, ...]
    remotes: tuple[Remote, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fence: int = 0
    owner: str | None = None

    @property
    def attempt(self) -> Attempt:
        """The newest attempt."""
        return self.attempts[-1]

    @property
    def current(self) -> Remote | None:
        """The newest remote of the newest attempt: the object that decides what comes next."""
        for remote in reversed(self.remotes):
            if remote.attempt == self.attempt.number:
                return remote
        if self.attempt.cause == ACCEPTED and self.attempt.base is not None:
            return self.remote(self.attempt.base)
        return None

    def remote(self, n: int) -> Remote:
        """The remote with this number."""
        return self.remotes[n - 1]

    def open_calls(self, remote: Remote) -> tuple[ToolCall, ...]:
        """The calls of the round that `remote` is in."""
        return tuple(
            call for call in self.calls if call.remote == remote.n and call.round == remote.round
        )

    def unsettled(self) -> tuple[Remote, ...]:
        """The remotes that still need looking at."""
        return tuple(remote for remote in self.remotes if not remote.settled)

    @property
    def watched(self) -> bool:
        """Invariant 1: non-final, or any remote unsettled."""
        return not self.run.final or any(not remote.settled for remote in self.remotes)


@record
class PayloadDraft:
    """Bytes to keep verbatim; the store adds the salt and the digest."""

    n: int
    body: bytes
    media: str = "application/json"


@record
class EventDraft:
    """One fact to append; the store adds the sequence number and the hashes.

    `detail` is kept as a payload (and hashed with it); its column is only a projection.
    """

    kind: EventKind
    source: Source
    actor: str
    recorded_at: datetime
    attempt: int
    remote: int | None = None
    from_state: State | None = None
    trigger: Trigger | None = None
    to_state: State | None = None
    remote_at: datetime | None = None
    remote_at_source: str | None = None
    remote_status: str | None = None
    request_id: str | None = None
    error_code: str | None = None
    payloads: tuple[tuple[str, int], ...] = ()
    detail: Mapping[str, object] | None = None


@record
class Fingerprint:
    """What failures that are the same have in common; `message` is masked."""

    id: str
    provider: str
    origin: ErrorOrigin | None = None
    code: str | None = None
    http_status: int | None = None
    incomplete_reason: str | None = None
    tool: str | None = None
    message: str | None = None


@record
class Write:
    """One statement that a transactional tool wants executed in the transaction of its output.

    `params` are the values of its `:name` marks; with `expect_rows` another count is an error.
    """

    sql: str
    params: tuple[tuple[str, Scalar], ...] = ()
    expect_rows: int | None = None


@record
class Change:
    """What a decision writes: the facts before and after, and the events that say why.

    The store turns the difference into row changes, in one transaction, under owner, fence and
    version. `passed` are states that the run went through within the transaction. `writes` are
    statements to execute first: their row counts then decide what is written. `refusal` is what
    to tell whoever gave a command that is recorded and not obeyed. `fingerprints` are those of the
    failures in it.
    """

    before: Facts
    after: Facts
    events: tuple[EventDraft, ...] = ()
    payloads: tuple[PayloadDraft, ...] = ()
    passed: tuple[State, ...] = ()
    take_lane: bool = False
    writes: tuple[Write, ...] = ()
    refusal: str | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    due_at: datetime
    why: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.events and self.before == self.after
