"""Recompute the hash chain from what is stored, and name the first event that does not fit.

Runs, events, payloads and the leaves of seals are read side by side, each in order of run and each
as a stream: memory does not grow with the ledger, nor with the length of one history but for the
digests of its payloads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import EventKind
from ledger.core.anchor import Anchor
from ledger.core.blanked import Blanked
from ledger.core.hashing import event_hash, genesis, payload_digest
from ledger.core.model import EventDraft
from ledger.core.witness import Witness
from ledger.store.direct import among, execute, listed, stream
from ledger.store.fetch import read_time
from ledger.store.rows import clean_json
from ledger.store.tombs import STONES, UNREADABLE, Grave, same_time
from ledger.store.verify_seals import Broken, check_seals

ROWS: Final = 1_000
BODIES: Final = 100
"""So many rows are fetched at a time; bodies may be large."""

RUNS: Final = (
    "SELECT id, origin_ledger, origin_run, event_seq, head_hash, state, sealed_seq FROM run"
)
EVENTS: Final = (
    "SELECT run_id, seq, kind, from_state, trigger, to_state, source, actor, recorded_at, "
    "remote_at, remote_at_source, remote_status, request_id, error_code, attempt, remote, "
    "CAST(detail AS text), CAST(payloads AS text), prev_hash, hash FROM event"
)
PAYLOADS: Final = "SELECT run_id, n, salt, digest, body FROM payload"
EVIDENCE: Final = (
    "SELECT run_id, key, salt, digest, body FROM "
    "(SELECT * FROM evidence WHERE run_id IS NOT NULL) AS known"
)
LEAVES: Final = "SELECT run_id, seq, head, seal FROM seal_leaf"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked and what is broken."""

    runs: int
    events: int
    erased: int
    broken: tuple[Broken, ...]
    seals: int = 0
    pruned: int = 0


def verify(
    connection: sa.Connection,
    run_ids: Sequence[int] | None = None,
    *,
    anchors: Sequence[Anchor] = (),
) -> Verified:
    """Check runs: one entry for each that is broken. Without `run_ids` all are checked, and the
    chain of seals, also against what `anchors` say of it."""
    check = _Check(connection, run_ids)
    broken = check.all()
    seals = 0
    if run_ids is None:
        seals, faults = check_seals(connection, anchors)
        broken += faults
    return Verified(
        check.runs, check.events, check.erased, tuple(broken), seals, pruned=check.pruned
    )


class _Ahead:
    """Rows in order of run, of which the next is known."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self.next: Any = next(rows, None)

    def of(self, run_id: int) -> Iterator[Any]:
        """The rows of this run, if they come next."""
        while self.next is not None and self.next[0] == run_id:
            yield self.take()

    def take(self) -> Any:
        """The next row."""
        row, self.next = self.next, next(self._rows, None)
        return row

    def before(self, run_id: int | None) -> Iterator[Any]:
        """The rows of runs before this one, or of all that are left."""
        while self.next is not None and (run_id is None or self.next[0] < run_id):
            yield self.take()


@dataclass(slots=True)
class _History:
    """How far one run has been checked. `digests` are those of its payloads, by number."""

    id: int
    ledger: str
    run: int
    previous: bytes
    digests: dict[int, bytes] = field(default_factory=dict)
    wrong: set[int] = field(default_factory=set)
    blanked: Blanked = field(default_factory=Blanked)
    witness: Witness = field(default_factory=Witness)
    seq: int = 0
    state: str | None = None
    fault: Broken | None = None

    def fail(self, seq: int, why: str) -> None:
        """Only the first fault is named: what follows it, follows from it."""
        if self.fault is None:
            self.fault = Broken(self.id, seq, why)


class _Check:
    """One pass over runs."""

    def __init__(self, connection: sa.Connection, run_ids: Sequence[int] | None) -> None:
        self._connection = connection
        self._kind = connection.dialect.name
        self._ids = None if run_ids is None else sorted(set(run_ids))
        self._events = self._open(EVENTS, "run_id", ", seq", ROWS)
        self._payloads = self._open(PAYLOADS, "run_id", ", n", BODIES)
        self._evidence = self._open(EVIDENCE, "run_id", "", BODIES)
        self._leaves = self._open(LEAVES, "run_id", ", seal", ROWS)
        self._tombstones = self._open(STONES, "run_id", "", ROWS)
        self._time: Callable[[Any], datetime] = read_time if self._kind == "sqlite" else same_time
        self.runs = self.events = self.erased = self.pruned = 0

    def all(self) -> list[Broken]:
        """The first fault of each run that has one."""
        broken: list[Broken] = []
        runs = self._open(RUNS, "id", "", ROWS)
        while runs.next is not None:
            row = runs.take()
            broken += self._orphans(row[0])
            fault = self._run(row)
            if fault is not None:
                broken.append(fault)
        return broken + self._orphans(None)

    def _open(self, select: str, key: str, order: str, size: int) -> _Ahead:
        where, values = "", []
        if self._ids is not None:
            where = f" WHERE {key} {among(self._kind, 'bigint')}"
            values = [listed(self._kind, self._ids)]
        statement = f"{select}{where} ORDER BY {key}{order}"
        return _Ahead(stream(self._connection, statement, values, size=size))

    def _orphans(self, run_id: int | None) -> list[Broken]:
        """What is left of runs that are gone, and were not pruned."""
        found: dict[int, Broken] = {}
        stones = {row[0]: row for row in self._tombstones.before(run_id)}
        ends = {run: Grave(row, self._time) for run, row in stones.items()}
        self.pruned += len(ends)
        for run, seq, head, _ in self._leaves.before(run_id):
            if run not in ends:
                found.setdefault(run, Broken(run, seq, "a seal covers the run, and it is gone"))
            else:
                ends[run].leaf(seq, bytes(head))
        found |= {run: fault for run, grave in ends.items() if (fault := grave.end())}
        for row in self._events.before(run_id):
            found.setdefault(row[0], Broken(row[0], row[1], "the run that it belongs to is gone"))
        for rows in (self._payloads, self._evidence):
            for _ in rows.before(run_id):
                pass
        return [found[run] for run in sorted(found)]

    def _run(self, row: Any) -> Broken | None:
        run_id, ledger, number, event_seq, head, state, sealed_seq = row
        history = _History(run_id, ledger, number, genesis(ledger, number))
        sealed = 0
        for event in self._events.of(run_id):
            self.events += 1
            if history.fault is None:
                sealed = self._next(history, event, sealed)
        self.runs += 1
        for _ in self._tombstones.of(run_id):
            history.fail(event_seq, "a tombstone says that it was pruned, and it is there")
        if history.seq != event_seq:
            history.fail(history.seq + 1, "the event is missing")
        for _, seq, _, _ in self._leaves.of(run_id):
            history.fail(seq, "a seal covers the event, and it is missing")
        if history.state is not None and state != history.state:
            history.fail(event_seq, "the run's state is not where its history ends")
        if history.seq and bytes(head) != history.previous:
            history.fail(event_seq, "the run's head names another event")
        if sealed != sealed_seq:
            history.fail(sealed_seq, "no seal covers the run up to where it says")
        for payload in self._payloads.of(run_id):
            self._payload(history, payload)
        if (lost := history.blanked.lost()) is not None:
            history.fail(lost, "bytes are gone, and no event destroyed them")
        self._witnessed(history)
        return history.fault

    def _witnessed(self, history: _History) -> None:
        """What reached the run unasked is what its events speak of."""
        for _, key, salt, digest, body in self._evidence.of(history.id):
            kept = [None if value is None else bytes(value) for value in (salt, body)]
            wrong = history.witness.row(key, kept[0], bytes(digest), kept[1])
            if wrong is not None:
                history.fail(wrong[0] or history.seq, wrong[1])
        if (missing := history.witness.missing()) is not None:
            history.fail(*missing)

    def _next(self, history: _History, event: Any, sealed: int) -> int:
        try:
            self._event(history, event)
        except UNREADABLE:
            history.fail(history.seq, "the event was changed")
        return self._leaf(history, sealed)

    def _leaf(self, history: _History, sealed: int) -> int:
        """Hold the event just checked against the seal that covers it, if one ends there."""
        leaf = self._leaves.next
        if leaf is None or leaf[0] != history.id or leaf[1] > history.seq:
            return sealed
        _, seq, head, _ = self._leaves.take()
        if seq < history.seq:
            history.fail(seq, "two seals cover the run in the wrong order")
        elif bytes(head) != history.previous:
            history.fail(seq, "a seal covers another event in its place")
        return int(seq)

    def _event(self, history: _History, row: Any) -> None:
        seq, position = row[1], history.seq + 1
        detail, references, prev_hash, hashed = row[16:20]
        if seq != position:
            history.fail(position, "the event is missing")
            return
        history.seq, history.state = seq, row[5] or history.state
        pairs = () if references is None else _pairs(references) or ()
        for role, n in pairs:
            self._payloads_to(history, n, (detail,) if role == "detail" else ())
        history.blanked.event(row[2], pairs)
        notified = row[2] == EventKind.notified and detail is not None
        told = json.loads(detail) if notified else None
        history.witness.event(row[2], seq, told)
        digests = history.digests
        if any(n not in digests for _, n in pairs):
            history.fail(seq, "a payload that it names is missing")
        elif history.wrong and any(n in history.wrong for _, n in pairs):
            history.fail(seq, "the bytes of a payload that it names were changed")
        elif detail is not None and not any(role == "detail" for role, _ in pairs):
            history.fail(seq, "it shows a detail that was never hashed")
        elif bytes(prev_hash) != history.previous:
            history.fail(seq, "it does not follow the event before it")
        else:
            named = [(role, digests[n]) for role, n in pairs]
            history.previous = self._hash(history, row, named)
            if bytes(hashed) != history.previous:
                history.fail(seq, "the event was changed")

    def _payloads_to(self, history: _History, number: int, shown: tuple[Any, ...]) -> None:
        """Check the payloads up to this number; `shown` is what the event shows of that one."""
        if number in history.digests:
            # Only a forger numbers payloads otherwise than in the order of the events.
            if shown:
                self._payload(history, self._one(history.id, number), shown)
            return
        source = self._payloads
        while source.next is not None and source.next[0] == history.id and source.next[1] <= number:
            row = source.take()
            self._payload(history, row, shown if row[1] == number else ())

    def _payload(self, history: _History, row: Any, shown: tuple[Any, ...] = ()) -> None:
        _, n, salt, digest, body = row
        again = n in history.digests
        history.digests[n] = bytes(digest)
        if body is None or salt is None:
            self.erased += not again
            history.blanked.add(n, history.seq)
            right = body is None and salt is None and shown in ((), (None,))
        else:
            body = bytes(body)
            right = payload_digest(bytes(salt), body) == digest
            right = right and (not shown or _shows(shown[0], body))
        if not right:
            history.wrong.add(n)

    def _one(self, run_id: int, number: int) -> Any:
        mark = "?" if self._kind == "sqlite" else "%s"
        statement = f"{PAYLOADS} WHERE run_id = {mark} AND n = {mark}"
        return execute(self._connection, statement, (run_id, number), rows=True)[0]

    def _hash(self, history: _History, row: Any, digests: list[tuple[str, bytes]]) -> bytes:
        time = self._time
        event = EventDraft(
            kind=row[2],
            from_state=row[3],
            trigger=row[4],
            to_state=row[5],
            source=row[6],
            actor=row[7],
            recorded_at=time(row[8]),
            remote_at=None if row[9] is None else time(row[9]),
            remote_at_source=row[10],
            remote_status=row[11],
            request_id=row[12],
            error_code=row[13],
            attempt=row[14],
            remote=row[15],
        )
        return event_hash(
            event,
            ledger=history.ledger,
            run=history.run,
            seq=row[1],
            digests=digests,
            previous=history.previous,
        )


@functools.lru_cache(maxsize=1_024)
def _pairs(references: str) -> Any:
    """The payloads that an event names: many events have the same roles and numbers."""
    return json.loads(references)


def _shows(detail: str | None, body: bytes) -> bool:
    """Whether a detail as it is shown is what was hashed."""
    if detail is None:
        return False
    try:
        shown, hashed = json.loads(detail), json.loads(body)
        return bool(shown == hashed or shown == clean_json(hashed))
    except (ValueError, RecursionError):
        return False
