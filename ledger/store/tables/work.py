"""The tables of the work itself: accounts, ownership, lives, batches, usage, seals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from ledger.core.alphabet import LifeEventKind, State
from ledger.store.tables.base import ANY_LENGTH, BigId, Json, Table, run_key, words


class LedgerRow(Table, table=True):
    """This database."""

    __tablename__ = "ledger"
    id: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    created_at: datetime


class AccountRow(Table, table=True):
    """One upstream account: never a secret, only a credential's fingerprint."""

    __tablename__ = "account"
    __table_args__ = (sa.UniqueConstraint("provider", "base_url", "project", "fingerprint"),)
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    provider: str = Field(sa_type=ANY_LENGTH)
    base_url: str = Field(sa_type=ANY_LENGTH)
    project: str = Field(default="", sa_type=ANY_LENGTH)
    fingerprint: str = Field(default="", sa_type=ANY_LENGTH)
    profile: str = Field(sa_type=ANY_LENGTH)
    created_at: datetime
    stopped_at: datetime | None = None
    stopped_why: str | None = Field(default=None, sa_type=ANY_LENGTH)
    limit_seen: float | None = None
    """Requests a minute, as upstream named them for the credential."""
    limit_left: float | None = None
    limit_at: datetime | None = None
    held_until: datetime | None = None
    """No life calls before: Retry-After."""
    breaker: str | None = Field(default=None, sa_type=ANY_LENGTH)
    """"open" while upstream is not there, as the life saw it that said so last."""


class LaneRow(Table, table=True):
    """One serial key in use."""

    __tablename__ = "lane"
    account_id: int = Field(
        sa_type=BigId, primary_key=True, foreign_key="account.id", ondelete="RESTRICT"
    )
    serial_key: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    run_id: int = Field(sa_type=BigId, index=True, foreign_key="run.id", ondelete="RESTRICT")
    taken_at: datetime


class WatchRow(Table, table=True):
    """One run that still needs looking at."""

    __tablename__ = "watch"
    __table_args__ = (sa.Index("ix_watch_owner_due_at", "owner", "due_at"),)
    run_id: int = run_key()
    owner: str | None = Field(default=None, sa_type=ANY_LENGTH)
    fence: int = Field(sa_type=BigId)
    due_at: datetime
    why: str = Field(sa_type=ANY_LENGTH)
    deaths: str = Field(sa_type=ANY_LENGTH)
    """The lives that died while a step of the run was under way, since one was committed."""


class WorkerRow(Table, table=True):
    """One life. `lease_until` is on the lease clock: CLOCK_BOOTTIME, or the database's clock."""

    __tablename__ = "worker"
    __table_args__ = (
        sa.Index(
            "ix_worker_alive",
            "id",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )
    id: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    role: str = Field(sa_type=ANY_LENGTH)
    host: str = Field(sa_type=ANY_LENGTH)
    boot_id: str = Field(sa_type=ANY_LENGTH)
    pid: int = Field(sa_type=BigId)
    pid_started: str = Field(sa_type=ANY_LENGTH)
    version: str = Field(sa_type=ANY_LENGTH)
    started_at: datetime
    heartbeat_at: datetime
    beat: float
    lease_until: float
    drain: bool = False
    ended_at: datetime | None = None
    end: str | None = Field(default=None, sa_type=ANY_LENGTH)


class LifeEventRow(Table, table=True):
    """Something that befell a life, a daemon's or the database's own."""

    __tablename__ = "life_event"
    __table_args__ = (sa.Index("ix_life_event_at", "at", "id"), {"sqlite_autoincrement": True})
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    at: datetime
    kind: LifeEventKind = Field(sa_type=words(LifeEventKind, "kind"))
    life: str | None = Field(default=None, sa_type=ANY_LENGTH)
    """Whom it befell; none for what is the database's."""
    host: str = Field(sa_type=ANY_LENGTH)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=Json)


class BatchRow(Table, table=True):
    """One committed batch: after a connection lost in COMMIT, its uid tells what happened."""

    __tablename__ = "batch"
    uid: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    committed_at: datetime = Field(index=True)


class ApiUsageRow(Table, table=True):
    """Calls made in one hour."""

    __tablename__ = "api_usage"
    hour: datetime = Field(primary_key=True)
    account_id: int = Field(sa_type=BigId, primary_key=True)
    operation: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    outcome: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    calls: int = Field(sa_type=BigId)
    latency_seconds: float


class ApiLimitRow(Table, table=True):
    """What was seen of an account's limits in one minute: a storm is over within half an hour."""

    __tablename__ = "api_limit"
    minute: datetime = Field(primary_key=True)
    account_id: int = Field(sa_type=BigId, primary_key=True)
    limit_seen: float | None = None
    lowest_left: float | None = None
    calls: int = Field(default=0, sa_type=BigId)
    """Those that upstream answered, or refused as too many."""
    refused: int = Field(sa_type=BigId)
    throttled: int = Field(sa_type=BigId)
    throttled_seconds: float


class SealRow(Table, table=True):
    """One link of the chain over the whole ledger."""

    __tablename__ = "seal"
    number: int = Field(sa_type=BigId, primary_key=True)
    sealed_at: datetime
    leaves: int = Field(sa_type=BigId)
    root: bytes
    prev_hash: bytes
    hash: bytes


class SealLeafRow(Table, table=True):
    """One run under a seal."""

    __tablename__ = "seal_leaf"
    __table_args__ = (sa.Index("ix_seal_leaf_run_id", "run_id", "seal"),)
    seal: int = Field(sa_type=BigId, primary_key=True, foreign_key="seal.number")
    run_id: int = Field(sa_type=BigId, primary_key=True)
    seq: int = Field(sa_type=BigId)
    head: bytes


class TombstoneRow(Table, table=True):
    """One pruned run: its key stays taken, its end stays known.

    With `prev_hash` and `salt` every other column can be held against `head`, the hash of the run's
    last event, which a seal covers: see store/tombs.py. None of it ever changes.
    """

    __tablename__ = "tombstone"
    run_id: int = Field(sa_type=BigId, primary_key=True)
    key: str = Field(sa_type=ANY_LENGTH, unique=True)
    origin_ledger: str = Field(sa_type=ANY_LENGTH)
    origin_run: int = Field(sa_type=BigId)
    request_digest: bytes
    last_seq: int = Field(sa_type=BigId)
    head: bytes
    counts: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    state: State = Field(sa_type=words(State, "state"))
    attempts: int
    provider: str = Field(sa_type=ANY_LENGTH)
    model: str | None = Field(default=None, sa_type=ANY_LENGTH)
    error_code: str | None = Field(default=None, sa_type=ANY_LENGTH)
    fingerprint: str | None = Field(default=None, sa_type=ANY_LENGTH)
    created_at: datetime = Field(index=True)
    finished_at: datetime
    actor: str = Field(sa_type=ANY_LENGTH)
    reason: str = Field(sa_type=ANY_LENGTH)
    pruned_at: datetime
    prev_hash: bytes
    salt: bytes
