"""Runs of another ledger written into this one, many in a transaction, each whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import RemoteState
from ledger.core.delivery import PARKED, WEBHOOK
from ledger.core.export_format import PARTS
from ledger.core.intent import AccountProfile
from ledger.core.tombstone import epitaph
from ledger.errors import RunwardError
from ledger.store.batch import new_run_ids
from ledger.store.direct import among, execute, listed
from ledger.store.facts import EVIDENCE, RUN
from ledger.store.failures import FINGERPRINT
from ledger.store.fingerprints import Fingerprints
from ledger.store.lanes import LANE
from ledger.store.parcels import BadRun, Parcel, Row
from ledger.store.queries import EVENT
from ledger.store.records import Decision
from ledger.store.rows import Bulk, table_of
from ledger.store.store import ensure_account
from ledger.store.tables import Table, TagRow
from ledger.store.tombs import tombstone_of

if TYPE_CHECKING:
    from ledger.store.store import Store

NOT_FOLLOWED: Final = 0
"""The transaction number of events that came with an import: whoever follows the log of this ledger
is not told of what happened in another."""
IDENTITY: Final = ("provider", "base_url", "project", "fingerprint")
TAG: Final = table_of(TagRow)
Decide = Callable[[Parcel], Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one run: its number here, or (None) why it was not taken."""

    parcel: Parcel
    here: int | None = None
    skipped: bool = False
    why: str | None = None


def judge(
    connection: sa.Connection, ledger: str, parcel: Parcel, *, take_over: bool
) -> Verdict | None:
    """What is to be said of a run without writing it; None for one that can be written."""
    key, row = parcel.key, parcel.row
    names = (RUN.c.id, RUN.c.origin_ledger, RUN.c.origin_run)
    found = connection.execute(sa.select(*names).where(RUN.c.key == key)).one_or_none()
    if found is not None:
        same = (found.origin_ledger, found.origin_run) == (row["origin_ledger"], row["origin_run"])
        return _there(connection, parcel, found.id, same=same)
    stone = tombstone_of(connection, key=key)
    if stone is not None:
        return Verdict(parcel, why=f"the key {key!r} is taken: {epitaph(stone)}")
    if row["origin_ledger"] == ledger:
        return Verdict(parcel, why="it was made in this very ledger, which knows no such run")
    if parcel.moves and not take_over:
        return Verdict(
            parcel,
            why=f"it is {row['state']} and still moves: stop the daemons of the other ledger for "
            "good, export again, and import with --take-over",
        )
    return None


def _there(connection: sa.Connection, parcel: Parcel, run_id: int, *, same: bool) -> Verdict:
    if not same:
        return Verdict(parcel, why=f"the key {parcel.key!r} is taken by run {run_id}, another run")
    seq = parcel.row["event_seq"]
    statement = sa.select(EVENT.c.hash).where(EVENT.c.run_id == run_id, EVENT.c.seq == seq)
    hashed = connection.execute(statement).scalar()
    if hashed is not None and bytes(hashed) == parcel.head:
        return Verdict(parcel, here=run_id, skipped=True)
    return Verdict(parcel, why=f"run {run_id} is the same run, with another history here")


def place(
    connection: sa.Connection,
    store: Store,
    parcels: Sequence[Parcel],
    decide: Decide,
    now: datetime,
    *,
    take_over: bool,
) -> list[Verdict]:
    """Write these runs, each under a new number, and their `imported` events. In a write
    transaction; one that the database refuses is undone and named, and the others stay."""
    verdicts = [
        judge(connection, store.ledger_id, parcel, take_over=take_over) for parcel in parcels
    ]
    fresh = [p for p, verdict in zip(parcels, verdicts, strict=True) if verdict is None]
    placed = iter(_place(connection, store, fresh, decide, now))
    return [verdict or next(placed) for verdict in verdicts]


def _place(
    connection: sa.Connection,
    store: Store,
    parcels: Sequence[Parcel],
    decide: Decide,
    now: datetime,
) -> list[Verdict]:
    try:
        with connection.begin_nested():
            return _write(connection, store, parcels, decide, now)
    except (sa.exc.StatementError, RunwardError, BadRun) as error:
        if getattr(error, "connection_invalidated", False) or not _tells(error):
            raise
        if len(parcels) == 1:
            return [Verdict(parcels[0], why=_why(error))]
    return [_place(connection, store, [parcel], decide, now)[0] for parcel in parcels]


def _tells(error: Exception) -> bool:
    """Whether the cause lies in a run, and not in the database or the way to it."""
    return not isinstance(error, sa.exc.OperationalError)


def _why(error: Exception) -> str:
    if isinstance(error, sa.exc.StatementError):
        said = str(error.orig).strip().splitlines() or [""]
        return f"the database refuses it: {said[0]}"[:300]
    return str(error)[:300]


def _write(
    connection: sa.Connection,
    store: Store,
    parcels: Sequence[Parcel],
    decide: Decide,
    now: datetime,
) -> list[Verdict]:
    if not parcels:
        return []
    ids = new_run_ids(connection, len(parcels))
    accounts = _Accounts(connection, now)
    rows: dict[str, list[Row]] = defaultdict(list)
    for run_id, parcel in zip(ids, parcels, strict=True):
        _collect(rows, run_id, parcel, accounts, now)
    _insert(connection, rows)
    for run_id, parcel in zip(ids, parcels, strict=True):
        _insert_tags(connection, run_id, parcel)
    decisions = [
        Decision(run_id=run_id, decide=decide(parcel))
        for run_id, parcel in zip(ids, parcels, strict=True)
    ]
    store.all_or_none(decisions, lambda: now)(connection)
    return [Verdict(parcel, here=run_id) for run_id, parcel in zip(ids, parcels, strict=True)]


class _Accounts:
    """Accounts here for those of the file, made where they are missing."""

    def __init__(self, connection: sa.Connection, now: datetime) -> None:
        self._connection, self._now = connection, now
        self._known: dict[tuple[str, ...], int] = {}

    def id(self, account: Row) -> int:
        """The number that an account has here."""
        identity = tuple(account[name] for name in IDENTITY)
        if identity not in self._known:
            provider, base_url, project, fingerprint = identity
            profile = AccountProfile(provider=provider, base_url=base_url, project=project)
            self._known[identity] = ensure_account(
                self._connection, account["profile"], profile, fingerprint, self._now
            )
        return self._known[identity]


def _collect(
    rows: dict[str, list[Row]], run_id: int, parcel: Parcel, accounts: _Accounts, now: datetime
) -> None:
    account_id = accounts.id(parcel.account)
    local = {"id": run_id, "account_id": account_id, "version": 1, "sealed_seq": 0}
    rows["run"].append({**parcel.row, **local, "evidence_seen": 0})
    for name in PARTS:
        for part in parcel.parts[name]:
            row = {**part, "run_id": run_id}
            if name == "event":
                row["txid"] = NOT_FOLLOWED
            if name == "attempt":
                failure = row.pop("failure")
                if failure is not None:
                    seen = {"first_seen_at": row["ended_at"], "first_run": run_id}
                    rows["fingerprint"].append({"id": row["fingerprint"], **failure, **seen})
            if name == "remote":
                row["account_id"] = accounts.id(row.pop("account"))
            kind = name
            if name == "evidence" and row.pop("seen"):
                kind = "seen"
            rows[kind].append(row)
    key = parcel.row["serial_key"]
    if key is not None and any(_holds(remote) for remote in parcel.parts["remote"]):
        rows["lane"].append(
            {"account_id": account_id, "serial_key": key, "run_id": run_id, "taken_at": now}
        )


def _holds(remote: Row) -> bool:
    """Whether an object keeps others off its serial key."""
    return not remote["settled"] and remote["state"] != RemoteState.intended


def _insert(connection: sa.Connection, rows: dict[str, list[Row]]) -> None:
    dialect = connection.dialect
    for name in ("run", "attempt", "remote", "tool_call", "payload", "event"):
        table = Table.metadata.tables[name]
        Bulk(table, ("id",), dialect).insert(connection, rows[name])
    _insert_fingerprints(connection, rows["fingerprint"])
    Bulk(LANE, ("account_id",), dialect).insert(connection, rows["lane"])
    _rename(connection, [*rows["seen"], *rows["evidence"]])
    evidence = Bulk(EVIDENCE, ("id",), dialect)
    evidence.insert(connection, rows["seen"], ignore=True)
    runs = sorted({row["run_id"] for row in rows["seen"]})
    newest = sa.select(EVIDENCE.c.run_id, sa.func.max(EVIDENCE.c.id))
    newest = newest.where(EVIDENCE.c.run_id.in_(runs)).group_by(EVIDENCE.c.run_id)
    seen = [{"id": run, "evidence_seen": last} for run, last in connection.execute(newest)]
    Bulk(RUN, ("id",), dialect).update(connection, seen)
    evidence.insert(connection, rows["evidence"], ignore=True)


def _rename(connection: sa.Connection, rows: list[Row]) -> None:
    """The same delivery may have reached this ledger too, and have found nobody: then this is one
    of which it became known later whose it is. The history names its digest, so it has to come."""
    keys = [row["key"] for row in rows if row["source"] == WEBHOOK]
    kind = connection.dialect.name
    statement = f"SELECT key FROM evidence WHERE source = '{WEBHOOK}' AND key {among(kind, 'text')}"
    found = execute(connection, statement, (listed(kind, keys),), rows=True) if keys else ()
    taken = {row[0] for row in found}
    for row in rows:
        if row["source"] == WEBHOOK and row["key"] in taken:
            row["source"] = PARKED


def _insert_fingerprints(connection: sa.Connection, rows: list[Row]) -> None:
    """Those that are new here, the earliest of each; what was seen earlier there was seen then."""
    latest_first = sorted(rows, key=lambda row: row["first_seen_at"], reverse=True)
    earliest = sorted({row["id"]: row for row in latest_first}.items())
    first_ones = [row for _, row in earliest]
    Fingerprints(connection.dialect).add(connection, first_ones)
    for row in first_ones:
        late = FINGERPRINT.c.first_seen_at > row["first_seen_at"]
        earlier = sa.update(FINGERPRINT).where(FINGERPRINT.c.id == row["id"], late)
        first = {name: row[name] for name in ("first_seen_at", "first_run")}
        connection.execute(earlier.values(**first))


def _insert_tags(connection: sa.Connection, run_id: int, parcel: Parcel) -> None:
    row = parcel.row
    rows = [
        {"name": name, "value": value, "created_at": row["created_at"], "run_id": run_id}
        for name, value in row["tags"].items()
    ]
    if rows:
        connection.execute(sa.insert(TAG), rows)
