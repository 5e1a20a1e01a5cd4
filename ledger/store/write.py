"""Changes into rows. Sequence numbers and hashes are allocated here and nowhere else."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import State
from ledger.core.hashing import event_hash, genesis, payload_digest
from ledger.core.lifecycle import FINAL
from ledger.core.model import (
    REQUEST_PAYLOAD,
    Attempt,
    Change,
    EventDraft,
    Facts,
    Fingerprint,
    Remote,
    Run,
    ToolCall,
)
from ledger.core.record import evolve
from ledger.core.steps import ASIDE, UNDER_WAY
from ledger.entropy import random_bytes
from ledger.store.direct import execute
from ledger.store.fingerprints import Fingerprints
from ledger.store.heads import Head
from ledger.store.rows import Bulk, clean_text, table_of
from ledger.store.tables import (
    AttemptRow,
    EventRow,
    PayloadRow,
    RemoteRow,
    RunRow,
    TagRow,
    ToolCallRow,
    WatchRow,
)

FENCE_SHIFT: Final = 20
"""A watch made anew starts above every fence its run ever had: versions only grow."""
FIXED: Final = frozenset(
    {"id", "key", "origin_ledger", "origin_run", "provider", "account_id", "created_at", "kind"}
    # Moved by the sealer alone, under the row's lock and without a new version.
    | {"sealed_seq"}
)


def _fields(record: type[Any], *, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(record) if f.name not in without)


EVENT_TEXTS: Final = ("actor", "remote_at_source", "remote_status", "request_id", "error_code")
RUN_FIELDS: Final = _fields(Run, without=frozenset({"policy"}))
RUN_CHANGING: Final = tuple(name for name in RUN_FIELDS if name not in FIXED)
PARTS: Final = (
    ("attempts", "number", _fields(Attempt)),
    ("remotes", "n", _fields(Remote)),
    ("calls", "n", _fields(ToolCall)),
)

Rows = dict[str, list[dict[str, Any]]]


class Pen:
    """Writes the difference between two states of the facts."""

    def __init__(self, ledger: str, dialect: sa.Dialect) -> None:
        self._ledger = ledger
        self._postgres = dialect.name == "postgresql"

        def bulk(row: Any, *keys: str) -> Bulk:
            return Bulk(table_of(row), keys, dialect)

        self._run = bulk(RunRow, "id")
        self._event, self._payload = bulk(EventRow, "id"), bulk(PayloadRow, "run_id", "n")
        self._fingerprints = Fingerprints(dialect)
        self._watch = bulk(WatchRow, "run_id")
        self._tag = bulk(TagRow, "name", "value", "created_at", "run_id")
        self._parts = {
            "attempts": bulk(AttemptRow, "run_id", "number"),
            "remotes": bulk(RemoteRow, "run_id", "n"),
            "calls": bulk(ToolCallRow, "run_id", "n"),
        }

    def write(
        self,
        connection: sa.Connection,
        changes: Sequence[tuple[Change, Head | None]],
    ) -> list[Facts]:
        """Write all changes; returns the facts as they now stand. A None head is a new run."""
        if not changes:
            return []
        rows: Rows = defaultdict(list)
        txid = self._txid(connection)
        written = [self._collect(change, head, rows, txid) for change, head in changes]
        self._flush(connection, rows)
        return written

    def _txid(self, connection: sa.Connection) -> int | None:
        if not self._postgres:
            return None
        return int(execute(connection, "SELECT pg_current_xact_id()::text", rows=True)[0][0])

    def _collect(self, change: Change, head: Head | None, rows: Rows, txid: int | None) -> Facts:
        run = change.after.run
        digests = self._payloads(change, rows)
        seq, last = (
            (head.event_seq, head.head_hash)
            if head and head.event_seq
            else (0, genesis(run.origin_ledger, run.origin_run))
        )
        for event in change.events:
            seq += 1
            last = self._event_row(event, run, seq, last, digests, rows, txid)
        version = 1 if head is None else head.version + 1
        run = evolve(run, version=version, event_seq=seq, head_hash=last)
        self._run_row(change, run, head, rows)
        for name, key, fields in PARTS:
            self._part(name, key, fields, change, head is None, rows)
        _tag_rows(change, head is None, rows)
        if run.policy.forget_request and not change.after.watched:
            # Over for good: nothing will send it again. The digest stays, and the chain with it.
            erased = {"run_id": run.id, "n": REQUEST_PAYLOAD, "salt": None, "body": None}
            rows["erased"].append(erased)
        rows["fingerprint"] += [_first_seen(seen, run, change) for seen in change.fingerprints]
        fence = self._watch_row(change, run, head, rows)
        return evolve(change.after, run=run, fence=fence)

    def _payloads(self, change: Change, rows: Rows) -> dict[int, bytes]:
        digests = {}
        for payload in change.payloads:
            salt = random_bytes(16)
            digests[payload.n] = payload_digest(salt, payload.body)
            rows["payload"].append(
                {
                    "run_id": change.after.run.id,
                    "n": payload.n,
                    "salt": salt,
                    "digest": digests[payload.n],
                    "body": payload.body,
                    "media": payload.media,
                }
            )
        return digests

    def _event_row(
        self,
        event: EventDraft,
        run: Run,
        seq: int,
        previous: bytes,
        digests: dict[int, bytes],
        rows: Rows,
        txid: int | None,
    ) -> bytes:
        event = _as_stored(event)
        hashed = event_hash(
            event,
            ledger=run.origin_ledger,
            run=run.origin_run,
            seq=seq,
            digests=[(role, digests[n]) for role, n in event.payloads],
            previous=previous,
        )
        rows["event"].append(
            {
                "run_id": run.id,
                "seq": seq,
                "kind": event.kind,
                "from_state": event.from_state,
                "trigger": event.trigger,
                "to_state": event.to_state,
                "source": event.source,
                "actor": event.actor,
                "recorded_at": event.recorded_at,
                "remote_at": event.remote_at,
                "remote_at_source": event.remote_at_source,
                "remote_status": event.remote_status,
                "request_id": event.request_id,
                "error_code": event.error_code,
                "attempt": event.attempt,
                "remote": event.remote,
                "detail": event.detail,
                "payloads": [list(pair) for pair in event.payloads] or None,
                "prev_hash": previous,
                "hash": hashed,
                "txid": txid,
            }
        )
        return hashed

    def _run_row(self, change: Change, run: Run, head: Head | None, rows: Rows) -> None:
        if head is None:
            row = {name: getattr(run, name) for name in RUN_FIELDS}
            rows["run+"].append({**row, "policy": run.policy.as_json()})
            return
        rows["passed"] += [_passed(run.id, state, change) for state in change.passed]
        row = {"id": run.id, **_changed(change.before.run, run, RUN_CHANGING)}
        if change.passed:
            row |= {"state": run.state, "finished_at": run.finished_at}
        if run.policy != change.before.run.policy:
            row["policy"] = run.policy.as_json()
        rows["run"].append(row)

    def _part(
        self,
        name: str,
        key: str,
        fields: tuple[str, ...],
        change: Change,
        fresh: bool,
        rows: Rows,
    ) -> None:
        before = () if fresh else getattr(change.before, name)
        for index, record in enumerate(getattr(change.after, name)):
            row = {"run_id": change.after.run.id, key: getattr(record, key)}
            if index >= len(before):
                rows[name + "+"].append(row | {field: getattr(record, field) for field in fields})
            elif record is not before[index] and record != before[index]:
                rows[name].append(row | _changed(before[index], record, fields))

    def _watch_row(self, change: Change, run: Run, head: Head | None, rows: Rows) -> int:
        watched = head is not None and head.watched
        plan = {"run_id": run.id, "due_at": change.due_at, "why": change.why}
        if not change.after.watched:
            if watched:
                rows["watch-"].append(plan)
            return 0
        if watched:
            assert head is not None
            if change.why != head.why:
                rows["watch"].append(plan | _ownership(change, head))
            return head.fence
        fence = run.version << FENCE_SHIFT
        rows["watch+"].append({**plan, "owner": None, "fence": fence, "deaths": ""})
        return fence

    def _flush(self, connection: sa.Connection, rows: Rows) -> None:
        self._run.insert(connection, rows["run+"])
        for row in rows["passed"]:
            self._run.update(connection, [row])
        self._run.update(connection, rows["run"])
        self._tag.delete(connection, rows["tag-"])
        self._tag.insert(connection, rows["tag+"])
        self._payload.insert(connection, rows["payload"])
        self._payload.update(connection, rows["erased"])
        for name, bulk in self._parts.items():
            bulk.insert(connection, rows[name + "+"])
            bulk.update(connection, rows[name])
        self._event.insert(connection, rows["event"])
        self._fingerprints.add(connection, rows["fingerprint"])
        self._watch.insert(connection, rows["watch+"])
        self._watch.update(connection, rows["watch"])
        self._watch.delete(connection, rows["watch-"])


def _tag_rows(change: Change, fresh: bool, rows: Rows) -> None:
    """What has changed in the table by which tags are found."""
    run = change.after.run
    before = {} if fresh else change.before.run.tags
    if run.tags is before:
        return
    old, new = set(before.items()), set(run.tags.items())
    for mark, pairs in (("tag-", old - new), ("tag+", new - old)):
        rows[mark] += [
            {"name": name, "value": value, "created_at": run.created_at, "run_id": run.id}
            for name, value in sorted(pairs)
        ]


def _ownership(change: Change, head: Head) -> dict[str, Any]:
    """What a new plan does to the count of deaths and, for a run set aside, to its owner."""
    if change.why.endswith(UNDER_WAY):
        return {}
    if change.why == ASIDE:
        # Owned by nobody who lives: no claim finds it, and claims need not ask.
        return {"deaths": "", "owner": ASIDE}
    return {"deaths": "", "owner": None} if head.owner == ASIDE else {"deaths": ""}


def _as_stored(event: EventDraft) -> EventDraft:
    """The event with its texts as the database will have them: only what can be read back may be
    hashed."""
    changed: dict[str, Any] = {
        name: clean_text(text)
        for name in EVENT_TEXTS
        if (text := getattr(event, name)) != clean_text(text)
    }
    return dataclasses.replace(event, **changed) if changed else event


def _changed(before: Any, after: Any, names: Iterable[str]) -> dict[str, Any]:
    """What is written of a record that is there already: indexes and CHECKs of other columns are
    then left in peace, which is most of the cost of a wide row."""
    return {name: new for name in names if (new := getattr(after, name)) != getattr(before, name)}


def _passed(run_id: int, state: State, change: Change) -> dict[str, Any]:
    """A state within the transaction: the database's own rules hold there too."""
    finished = change.events[-1].recorded_at if state in FINAL else None
    return {"id": run_id, "state": state, "finished_at": finished}


def _first_seen(seen: Fingerprint, run: Run, change: Change) -> dict[str, Any]:
    at = change.events[-1].recorded_at
    return {**dataclasses.asdict(seen), "first_seen_at": at, "first_run": run.id}
