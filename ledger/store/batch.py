"""One transaction for many records: each commits, or is told why not, and no bad one harms another.

The protocol: read version, sequence, head and ownership of all runs in id order, locked; sort the
records into ok, stale and moved; decide the moved again on what is there now; allocate sequence
numbers and hashes; write all rows table by table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.core.accept import accept
from ledger.core.alphabet import Attention, Source
from ledger.core.decide.draft import Draft
from ledger.core.hashing import payload_digest
from ledger.core.model import CHECK_PAYLOAD, REQUEST_PAYLOAD, Change, Facts
from ledger.core.tombstone import epitaph
from ledger.entropy import new_id
from ledger.errors import BadRecord, Conflict, RunwardError
from ledger.store.direct import among, execute, listed
from ledger.store.effects import carry_out
from ledger.store.evidence import Fact, Filing, watch_again
from ledger.store.facts import load_facts
from ledger.store.heads import Head, lock_heads
from ledger.store.hints import notify
from ledger.store.lanes import Lanes
from ledger.store.queries import StoredPayload, payloads_of
from ledger.store.records import (
    Decision,
    LaneBusy,
    Record,
    Rejected,
    Result,
    Stale,
    Submission,
    Written,
)
from ledger.store.rows import Bulk, table_of
from ledger.store.tables import BatchRow, PayloadRow, RunRow
from ledger.store.tombs import no_run, tombstone_of
from ledger.store.write import Pen

RUN, PAYLOAD, BATCH = table_of(RunRow), table_of(PayloadRow), table_of(BatchRow)
_KNOWN = (
    "SELECT key, id FROM run WHERE key {0} UNION ALL SELECT key, 0 FROM tombstone WHERE key {0}"
)
KNOWN = {dialect: _KNOWN.format(among(dialect, "text")) for dialect in ("sqlite", "postgresql")}
KEPT = (REQUEST_PAYLOAD, CHECK_PAYLOAD)
CONFLICT_HINT = "use another key, or submit exactly the same request to get the existing run"


class Batch:
    """Commits batches for one ledger. Not safe for threads: the writer owns it."""

    def __init__(self, ledger: str, dialect: sa.Dialect) -> None:
        self.ledger = ledger
        self._pen = Pen(ledger, dialect)
        self._marks = Bulk(BATCH, ("uid",), dialect)
        self._filing = Filing(dialect)
        self._dialect = dialect.name

    def write(
        self, connection: sa.Connection, records: Sequence[Record], now: datetime
    ) -> list[Result]:
        """Write all records inside the caller's transaction. Raises what the driver raises."""
        lanes = Lanes(connection)
        results: list[Result | None] = [None] * len(records)
        changes: list[tuple[int, Change, Head | None]] = []
        self._accept_all(connection, records, results, changes, now)
        self._decide_all(connection, records, results, changes, lanes, now)
        written = self._pen.write(connection, [(c, h) for _, c, h in changes])
        woken = lanes.release(connection, [change for _, change, _ in changes], now)
        for (index, _, _), facts in zip(changes, written, strict=True):
            results[index] = Written(facts=facts, woken=woken)
        if any(isinstance(r, Submission) or r.guard is None for r in records):
            notify(connection)
        assert all(result is not None for result in results)
        return [result for result in results if result is not None]

    def mark(self, connection: sa.Connection, now: datetime) -> str:
        """Name this batch, so that a connection lost in COMMIT can be asked about it later."""
        uid = new_id()
        self._marks.insert(connection, [{"uid": uid, "committed_at": now}])
        return uid

    def _accept_all(
        self,
        connection: sa.Connection,
        records: Sequence[Record],
        results: list[Result | None],
        changes: list[tuple[int, Change, Head | None]],
        now: datetime,
    ) -> None:
        fresh = [(i, r.new) for i, r in enumerate(records) if isinstance(r, Submission)]
        if not fresh:
            return
        known = self._known(connection, [new.key for _, new in fresh])
        unknown = [(i, new) for i, new in fresh if new.key not in known]
        ids = iter(new_run_ids(connection, len(unknown)))
        for index, new in unknown:
            change = accept(new, run_id=next(ids), ledger=self.ledger, now=now)
            changes.append((index, change, None))
        for index, new in fresh:
            if new.key in known:
                results[index] = self._existing(connection, known[new.key], new.request, new)

    def _known(self, connection: sa.Connection, keys: Sequence[str]) -> dict[str, int]:
        wanted = listed(self._dialect, keys)
        return dict(execute(connection, KNOWN[self._dialect], (wanted, wanted), rows=True))

    def _existing(self, connection: sa.Connection, run_id: int, request: bytes, new: Any) -> Result:
        text = f"the key {new.key!r} is taken"
        if run_id == 0:
            return Rejected(_of_pruned(connection, new.key))
        facts = load_facts(connection, [run_id])[run_id]
        same = self._same(payloads_of(connection, run_id, KEPT), facts, request, new)
        if not (
            same and (facts.run.provider, facts.run.account_id) == (new.provider, new.account_id)
        ):
            text += f" by run {run_id} with another request"
            return Rejected(Conflict(text, hint=CONFLICT_HINT))
        return Written(facts=facts, created=False)

    def _same(
        self, kept: Mapping[int, StoredPayload], facts: Facts, request: bytes, new: Any
    ) -> bool:
        """Whether a run was asked for by this very request, also where that is erased by now."""
        asked = kept[REQUEST_PAYLOAD]
        if asked.salt is not None:
            return payload_digest(asked.salt, request) == asked.digest
        check = kept[CHECK_PAYLOAD].body if facts.run.policy.forget_request else None
        return bool(check) and check == new.check

    def _decide_all(
        self,
        connection: sa.Connection,
        records: Sequence[Record],
        results: list[Result | None],
        changes: list[tuple[int, Change, Head | None]],
        lanes: Lanes,
        now: datetime,
    ) -> None:
        decisions = [(i, r) for i, r in enumerate(records) if isinstance(r, Decision)]
        heads = lock_heads(connection, sorted({record.run_id for _, record in decisions}))
        moved = [r.run_id for _, r in decisions if _moved(r, heads.get(r.run_id))]
        facts = load_facts(connection, moved) if moved else {}
        for index, record in decisions:
            head = heads.get(record.run_id)
            if head is None:
                stone = tombstone_of(connection, run_id=record.run_id)
                results[index] = Rejected(no_run(stone, record.run_id))
            elif record.guard and (head.owner, head.fence) != (
                record.guard.owner,
                record.guard.fence,
            ):
                self._file(connection, record, now)
                results[index] = Stale()
            else:
                change, refused = self._settled(record, facts)
                if refused is not None:
                    results[index] = refused
                elif change.take_lane and not lanes.take(connection, change, now):
                    results[index] = LaneBusy()
                elif change.writes:
                    changes.append((index, carry_out(connection, record, change), head))
                else:
                    changes.append((index, change, head))

    def _settled(
        self, record: Decision, facts: dict[int, Facts]
    ) -> tuple[Change, None] | tuple[Any, Result]:
        """The record's change, decided again where its run has moved."""
        if record.run_id not in facts:
            assert record.change is not None
            return record.change, None
        try:
            return record.decide(facts[record.run_id]), None
        except RunwardError as error:
            return None, Rejected(error)

    def _file(self, connection: sa.Connection, record: Decision, now: datetime) -> None:
        """Keep what a life without ownership learned, and make the owner look at once."""
        if record.evidence is None:
            return
        body = record.evidence()
        key = hashlib.sha256(b"%d:" % record.run_id + body).hexdigest()
        self._filing.add(connection, [Fact("life", key, record.run_id, body)], now)
        watch_again(connection, record.run_id, now)

    def flag(
        self, connection: sa.Connection, record: Decision, error: Exception, now: datetime
    ) -> None:
        """Mark a run whose record could not be stored, so that a person sees it."""
        head = lock_heads(connection, [record.run_id]).get(record.run_id)
        facts = load_facts(connection, [record.run_id]).get(record.run_id)
        if head is None or facts is None or facts.run.needs_attention == Attention.unstorable:
            return
        draft = Draft(facts, now=now, actor="writer", source=Source.recovery)
        draft.before = replace(facts, evidence=())
        draft.attend(Attention.unstorable, error=type(error).__name__)
        change = draft.change(due_at=now, why="unstorable record")
        self._pen.write(connection, [(change, head)])


def _moved(record: Decision, head: Head | None) -> bool:
    if head is None:
        return False
    change = record.change
    return change is None or change.before.run.version != head.version


def bad_record(error: Exception) -> BadRecord:
    """The typed error for a record that the database would not take; names no values."""
    original = getattr(error, "orig", None) or error
    return BadRecord(f"the database refused one record: {type(original).__name__}")


def new_run_ids(connection: sa.Connection, count: int) -> list[int]:
    """Numbers for so many new runs. On SQLite nobody else writes meanwhile."""
    if connection.dialect.name == "sqlite":
        last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'run'")
        start = last.scalar() or 0
        return list(range(start + 1, start + 1 + count))
    rows = connection.execute(
        sa.text("SELECT nextval('run_id_seq') FROM generate_series(1, :count)"),
        {"count": count},
    )
    return sorted(row[0] for row in rows)


def _of_pruned(connection: sa.Connection, key: str) -> Conflict:
    """Also for the same request: there is no run and no result left to answer with, and to do the
    work again under a key that was used is what a key is there to prevent."""
    stone = tombstone_of(connection, key=key)
    assert stone is not None
    return Conflict(
        f"the key {key!r} is taken: {epitaph(stone)}",
        hint="its result is gone; to have the work done again, use another key",
    )
