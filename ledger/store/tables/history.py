"""The tables of a run's history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

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
from ledger.core.lifecycle import FINAL, TRIPLES
from ledger.store.tables.base import ANY_LENGTH, BigId, Json, Table, partial_index, run_key, words


def _listed(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


def _triples() -> str:
    legal = " OR ".join(
        f"(from_state = '{source}' AND trigger = '{trigger}' AND to_state = '{target}')"
        for source, trigger, target in TRIPLES
    )
    # Said in full, because a CHECK lets a condition pass that a NULL makes unknown.
    whole = "from_state IS NOT NULL AND trigger IS NOT NULL AND to_state IS NOT NULL"
    none = "from_state IS NULL AND trigger IS NULL AND to_state IS NULL"
    return f"({none}) OR ({whole} AND ({legal}))"


class RunRow(Table, table=True):
    """What was asked, and the verdict."""

    __tablename__ = "run"
    __table_args__ = (
        sa.CheckConstraint(
            f"(finished_at IS NOT NULL) = (state IN ({_listed(FINAL)}))", name="finished_iff_final"
        ),
        sa.Index("ix_run_state", "state", "id"),
        sa.Index("ix_run_created_at", "created_at", "id"),
        partial_index("ix_run_attention", "id", where="needs_attention IS NOT NULL"),
        partial_index(
            "ix_run_finished",
            "finished_at",
            "state",
            "created_at",
            "id",
            where="finished_at IS NOT NULL",
        ),
        sa.Index(
            "ix_run_unsealed",
            "id",
            sqlite_where=sa.text("event_seq > sealed_seq"),
            postgresql_where=sa.text("event_seq > sealed_seq"),
        ),
        sa.Index(
            "ix_run_waiting",
            "account_id",
            "serial_key",
            "id",
            sqlite_where=sa.text("serial_key IS NOT NULL AND state = 'queued'"),
            postgresql_where=sa.text("serial_key IS NOT NULL AND state = 'queued'"),
        ),
        sa.Index(
            "ix_run_class",
            "provider",
            "model",
            "assistant",
            "kind",
            "id",
            sqlite_where=sa.text("finished_at IS NOT NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    key: str = Field(sa_type=ANY_LENGTH, unique=True)
    origin_ledger: str = Field(sa_type=ANY_LENGTH)
    origin_run: int = Field(sa_type=BigId)
    provider: str = Field(sa_type=ANY_LENGTH)
    account_id: int = Field(sa_type=BigId, foreign_key="account.id", ondelete="RESTRICT")
    model: str | None = Field(default=None, sa_type=ANY_LENGTH)
    assistant: str | None = Field(default=None, sa_type=ANY_LENGTH)
    kind: str | None = Field(default=None, sa_type=ANY_LENGTH)
    serial_key: str | None = Field(default=None, sa_type=ANY_LENGTH)
    tags: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    policy: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    state: State = Field(sa_type=words(State, "state"))
    attempts: int
    deadline_at: datetime
    cancel_requested_at: datetime | None = None
    needs_attention: Attention | None = Field(
        default=None, sa_type=words(Attention, "needs_attention")
    )
    error_code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    error_origin: ErrorOrigin | None = Field(
        default=None, sa_type=words(ErrorOrigin, "error_origin")
    )
    error_message: str | None = Field(default=None, sa_type=ANY_LENGTH)
    fingerprint: str | None = Field(default=None, sa_type=ANY_LENGTH)
    usage: dict[str, Any] | None = Field(default=None, sa_type=Json)
    calls: int = Field(default=0, sa_type=BigId)
    call_counts: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    result: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int = Field(sa_type=BigId)
    event_seq: int = Field(sa_type=BigId)
    head_hash: bytes
    sealed_seq: int = Field(sa_type=BigId)
    payload_seq: int = Field(sa_type=BigId)
    evidence_seen: int = Field(sa_type=BigId)


class AttemptRow(Table, table=True):
    """One try."""

    __tablename__ = "attempt"
    __table_args__ = (
        sa.Index(
            "ix_attempt_fingerprint",
            "fingerprint",
            "ended_at",
            "run_id",
            sqlite_where=sa.text("fingerprint IS NOT NULL"),
            postgresql_where=sa.text("fingerprint IS NOT NULL"),
        ),
        sa.Index(
            "ix_attempt_failed_at",
            "ended_at",
            "fingerprint",
            "run_id",
            sqlite_where=sa.text("fingerprint IS NOT NULL"),
            postgresql_where=sa.text("fingerprint IS NOT NULL"),
        ),
    )
    run_id: int = run_key()
    number: int = Field(primary_key=True)
    cause: str = Field(sa_type=ANY_LENGTH)
    opened_at: datetime
    outcome: State | None = Field(default=None, sa_type=words(State, "outcome"))
    ended_at: datetime | None = None
    last_error: int | None = None
    error_code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    error_message: str | None = Field(default=None, sa_type=ANY_LENGTH)
    error_origin: ErrorOrigin | None = Field(
        default=None, sa_type=words(ErrorOrigin, "error_origin")
    )
    fingerprint: str | None = Field(default=None, sa_type=ANY_LENGTH)
    base: int | None = None
    not_before: datetime | None = None


class FingerprintRow(Table, table=True):
    """One kind of failure: what it was made of, and when it was seen first."""

    __tablename__ = "fingerprint"
    id: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    provider: str = Field(sa_type=ANY_LENGTH)
    origin: ErrorOrigin | None = Field(default=None, sa_type=words(ErrorOrigin, "origin"))
    code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    http_status: int | None = None
    incomplete_reason: str | None = Field(default=None, sa_type=ANY_LENGTH)
    tool: str | None = Field(default=None, sa_type=ANY_LENGTH)
    message: str | None = Field(default=None, sa_type=ANY_LENGTH)
    """Masked."""
    first_seen_at: datetime
    first_run: int = Field(sa_type=BigId)


class RemoteRow(Table, table=True):
    """One upstream object."""

    __tablename__ = "remote"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "kind", "parent_id", "remote_id"),
        sa.Index("ix_remote_remote_id", "remote_id"),
        sa.Index(
            "ix_remote_unresolved",
            "run_id",
            sqlite_where=sa.text("state = 'unknown'"),
            postgresql_where=sa.text("state = 'unknown'"),
        ),
    )
    run_id: int = run_key()
    n: int = Field(primary_key=True)
    attempt: int
    kind: RemoteKind = Field(sa_type=words(RemoteKind, "kind"))
    account_id: int = Field(sa_type=BigId, foreign_key="account.id", ondelete="RESTRICT")
    parent_id: str = Field(sa_type=ANY_LENGTH)
    remote_id: str | None = Field(default=None, sa_type=ANY_LENGTH)
    marker: str = Field(sa_type=ANY_LENGTH, unique=True)
    state: RemoteState = Field(sa_type=words(RemoteState, "state"))
    settled: bool
    previous: int | None = None
    round: int
    observed_status: str | None = Field(default=None, sa_type=ANY_LENGTH)
    observed: int | None = None
    observed_at: datetime | None = None
    live_at: datetime | None = None
    changed_at: datetime | None = None
    sent_at: datetime | None = None
    settle_until: datetime | None = None
    cancel_sent_at: datetime | None = None
    cancels: int
    remote_created_at: datetime | None = None
    remote_started_at: datetime | None = None
    remote_ended_at: datetime | None = None
    expires_at: datetime | None = None
    readable_until: datetime | None = None
    doubted_at: datetime | None = None
    request_id: str | None = Field(default=None, sa_type=ANY_LENGTH)
    usage: dict[str, Any] | None = Field(default=None, sa_type=Json)
    tokens_in: int | None = Field(default=None, sa_type=BigId)
    tokens_cached: int | None = Field(default=None, sa_type=BigId)
    tokens_out: int | None = Field(default=None, sa_type=BigId)
    usage_at: datetime | None = None


class ToolCallRow(Table, table=True):
    """One function call that the model asked for."""

    __tablename__ = "tool_call"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "remote", "round", "call_id"),
        sa.Index("ix_tool_call_key", "key"),
        sa.Index(
            "ix_tool_call_open",
            "run_id",
            sqlite_where=sa.text("state IN ('requested', 'started')"),
            postgresql_where=sa.text("state IN ('requested', 'started')"),
        ),
    )
    run_id: int = run_key()
    n: int = Field(primary_key=True)
    attempt: int
    remote: int
    round: int
    call_id: str = Field(sa_type=ANY_LENGTH)
    tool: str = Field(sa_type=ANY_LENGTH)
    arguments: int
    arguments_hash: bytes
    key: str = Field(sa_type=ANY_LENGTH)
    occurrence: int
    state: CallState = Field(sa_type=words(CallState, "state"))
    idempotent: bool | None = None
    transactional: bool | None = None
    on_unknown_outcome: OnUnknownOutcome | None = Field(
        default=None, sa_type=words(OnUnknownOutcome, "on_unknown_outcome")
    )
    reruns: int
    output: int | None = None
    is_error: bool
    held: bool
    started_by: str | None = Field(default=None, sa_type=ANY_LENGTH)
    requested_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    sent_at: datetime | None = None
    submitted_at: datetime | None = None
    confirmed_at: datetime | None = None
    approval: Approval | None = Field(default=None, sa_type=words(Approval, "approval"))
    approval_actor: str | None = Field(default=None, sa_type=ANY_LENGTH)
    approval_reason: str | None = Field(default=None, sa_type=ANY_LENGTH)
    approval_at: datetime | None = None
    approval_warned_at: datetime | None = None


class EventRow(Table, table=True):
    """One fact. Append-only; changed by ADD COLUMN alone."""

    __tablename__ = "event"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "seq"),
        sa.CheckConstraint(_triples(), name="legal_transition"),
        sa.Index(
            "ix_event_txid",
            "txid",
            "id",
            sqlite_where=sa.text("txid IS NOT NULL"),
            postgresql_where=sa.text("txid IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    run_id: int = run_key(primary=False)
    seq: int = Field(sa_type=BigId)
    kind: EventKind = Field(sa_type=words(EventKind, "kind"))
    from_state: State | None = Field(default=None, sa_type=words(State, "from_state"))
    trigger: Trigger | None = Field(default=None, sa_type=words(Trigger, "trigger"))
    to_state: State | None = Field(default=None, sa_type=words(State, "to_state"))
    source: Source = Field(sa_type=words(Source, "source"))
    actor: str = Field(sa_type=ANY_LENGTH)
    recorded_at: datetime
    remote_at: datetime | None = None
    remote_at_source: str | None = Field(default=None, sa_type=ANY_LENGTH)
    remote_status: str | None = Field(default=None, sa_type=ANY_LENGTH)
    request_id: str | None = Field(default=None, sa_type=ANY_LENGTH)
    error_code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    attempt: int
    remote: int | None = None
    detail: dict[str, Any] | None = Field(default=None, sa_type=Json)
    payloads: list[Any] | None = Field(default=None, sa_type=Json)
    prev_hash: bytes
    hash: bytes
    txid: int | None = Field(default=None, sa_type=BigId)


class PayloadRow(Table, table=True):
    """Bytes kept verbatim. Erasure blanks bytes and salt and leaves the digest."""

    __tablename__ = "payload"
    run_id: int = run_key()
    n: int = Field(primary_key=True)
    salt: bytes | None = None
    digest: bytes
    body: bytes | None = None
    media: str = Field(sa_type=ANY_LENGTH)


class EvidenceRow(Table, table=True):
    """One fact from outside ownership. Insert-only."""

    __tablename__ = "evidence"
    __table_args__ = (sa.UniqueConstraint("source", "key"), {"sqlite_autoincrement": True})
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    source: str = Field(sa_type=ANY_LENGTH)
    key: str = Field(sa_type=ANY_LENGTH)
    run_id: int | None = Field(
        default=None, sa_type=BigId, index=True, foreign_key="run.id", ondelete="RESTRICT"
    )
    account_id: int | None = Field(default=None, sa_type=BigId)
    remote_id: str | None = Field(default=None, sa_type=ANY_LENGTH, index=True)
    received_at: datetime
    salt: bytes | None = None
    digest: bytes
    body: bytes | None = None
