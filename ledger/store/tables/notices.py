"""The tables of what reaches us unasked and of what we pass on: deliveries, followers, outbox."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from ledger.core.alphabet import DeliveryState, OutboxState
from ledger.store.tables.base import ANY_LENGTH, BigId, Table, words


class DeliveryRow(Table, table=True):
    """One webhook delivery, as often as it came. Its bytes are the evidence of the same key."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.Index("ix_delivery_profile_received_at", "profile", "received_at"),
        sa.Index(
            "ix_delivery_parked",
            "next_at",
            sqlite_where=sa.text("state = 'parked'"),
            postgresql_where=sa.text("state = 'parked'"),
        ),
        sa.Index(
            "ix_delivery_foreign",
            "received_at",
            sqlite_where=sa.text("state = 'foreign'"),
            postgresql_where=sa.text("state = 'foreign'"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    webhook_id: str = Field(sa_type=ANY_LENGTH, unique=True)
    event_id: str | None = Field(default=None, sa_type=ANY_LENGTH)
    type: str = Field(sa_type=ANY_LENGTH)
    object_id: str = Field(sa_type=ANY_LENGTH, index=True)
    profile: str = Field(sa_type=ANY_LENGTH)
    secret: str = Field(sa_type=ANY_LENGTH)
    """Fingerprint of the signing secret that matched."""
    via: str = Field(sa_type=ANY_LENGTH)
    created_at: datetime | None = None
    sent_at: datetime
    received_at: datetime
    state: DeliveryState = Field(sa_type=words(DeliveryState, "state"))
    run_id: int | None = Field(
        default=None, sa_type=BigId, index=True, foreign_key="run.id", ondelete="RESTRICT"
    )
    tries: int
    next_at: datetime | None = None
    duplicates: int


class ReceiptRow(Table, table=True):
    """Requests to the receiver in one hour, also those that left no other row."""

    __tablename__ = "receipt"
    hour: datetime = Field(primary_key=True)
    profile: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    result: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    requests: int = Field(sa_type=BigId)


class GapRow(Table, table=True):
    """A time in which runs of a profile ended and no delivery came."""

    __tablename__ = "gap"
    __table_args__ = (
        sa.Index(
            "ix_gap_open",
            "profile",
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    profile: str = Field(sa_type=ANY_LENGTH)
    since: datetime
    """The last delivery before it, or the first end that none told of."""
    noticed_at: datetime
    missed: int
    """Runs that ended untold when it was noticed."""
    closed_at: datetime | None = None


class FollowerRow(Table, table=True):
    """Who reads the event log in order, and how far it has come: each event at least once."""

    __tablename__ = "follower"
    name: str = Field(sa_type=ANY_LENGTH, primary_key=True)
    owner: str | None = Field(default=None, sa_type=ANY_LENGTH)
    txid: int = Field(sa_type=BigId)
    event_id: int = Field(sa_type=BigId)
    tries: int
    next_at: datetime | None = None
    last_error: str | None = Field(default=None, sa_type=ANY_LENGTH)


class OutboxRow(Table, table=True):
    """One notification to one endpoint of the user's: sent until it is taken, or given up."""

    __tablename__ = "outbox"
    __table_args__ = (
        sa.UniqueConstraint("endpoint", "event_id"),
        sa.Index(
            "ix_outbox_waiting",
            "next_at",
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, sa_type=BigId, primary_key=True)
    endpoint: str = Field(sa_type=ANY_LENGTH)
    event_id: int = Field(sa_type=BigId)
    run_id: int = Field(sa_type=BigId, index=True, foreign_key="run.id", ondelete="RESTRICT")
    type: str = Field(sa_type=ANY_LENGTH)
    state: OutboxState = Field(sa_type=words(OutboxState, "state"))
    created_at: datetime
    tries: int
    next_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=ANY_LENGTH)
    taken_at: datetime | None = None
