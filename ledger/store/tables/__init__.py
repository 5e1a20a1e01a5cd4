"""The tables, in SQLModel. Column names are the field names of the core's records.

Everything that belongs to one run is numbered within the run, so rows keep their keys when a
run is imported elsewhere, and no row id has to be asked of the database on the hot path.
"""

from ledger.store.tables.access import AuditRow, TokenRow
from ledger.store.tables.base import Table, close
from ledger.store.tables.history import (
    AttemptRow,
    EventRow,
    EvidenceRow,
    PayloadRow,
    RemoteRow,
    RunRow,
    ToolCallRow,
)
from ledger.store.tables.notices import (
    DeliveryRow,
    FollowerRow,
    GapRow,
    OutboxRow,
    ReceiptRow,
)
from ledger.store.tables.searched import FingerprintRow, TagRow
from ledger.store.tables.work import (
    AccountRow,
    ApiLimitRow,
    ApiUsageRow,
    BatchRow,
    LaneRow,
    LedgerRow,
    LifeEventRow,
    SealLeafRow,
    SealRow,
    TombstoneRow,
    WatchRow,
    WorkerRow,
)

close(Table.metadata)

__all__ = [
    "AccountRow",
    "ApiLimitRow",
    "ApiUsageRow",
    "AttemptRow",
    "AuditRow",
    "BatchRow",
    "DeliveryRow",
    "EventRow",
    "EvidenceRow",
    "FingerprintRow",
    "FollowerRow",
    "GapRow",
    "LaneRow",
    "LedgerRow",
    "LifeEventRow",
    "OutboxRow",
    "PayloadRow",
    "ReceiptRow",
    "RemoteRow",
    "RunRow",
    "SealLeafRow",
    "SealRow",
    "Table",
    "TagRow",
    "TokenRow",
    "TombstoneRow",
    "ToolCallRow",
    "WatchRow",
    "WorkerRow",
]
