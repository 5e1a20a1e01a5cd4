"""Recompute the hash chain from what is stored, and name the first event that does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ledger.core.hashing import event_hash, genesis, payload_digest
from ledger.core.model import EventDraft
from ledger.store.facts import RUN
from ledger.store.queries import EVENT, PAYLOAD
from ledger.store.rows import clean_json

PAGE = 500


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing in a run's history that does not fit."""

    run_id: int
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked and what is broken."""

    runs: int
    events: int
    erased: int
    broken: tuple[Broken, ...]


def verify(connection: sa.Connection, run_ids: Sequence[int] | None = None) -> Verified:
    """Check runs (all of them by default), a page at a time. One entry per broken run."""
    runs = events = erased = 0
    broken: list[Broken] = []
    for page in _pages(connection, run_ids):
        ids = [row.id for row in page]
        by_run = _events(connection, ids)
        digests, blank, wrong = _payloads(connection, ids, _details(by_run))
        erased += blank
        for row in page:
            history = by_run.get(row.id, [])
            runs, events = runs + 1, events + len(history)
            fault = _check(row, history, digests.get(row.id, {}), wrong.get(row.id, set()))
            if fault is not None:
                broken.append(fault)
    return Verified(runs, events, erased, tuple(broken))


def _pages(connection: sa.Connection, run_ids: Sequence[int] | None) -> Iterator[list[sa.Row[Any]]]:
    columns = (
        RUN.c.id,
        RUN.c.origin_ledger,
        RUN.c.origin_run,
        RUN.c.event_seq,
        RUN.c.head_hash,
        RUN.c.state,
    )
    last = 0
    while True:
        statement = sa.select(*columns).where(RUN.c.id > last).order_by(RUN.c.id).limit(PAGE)
        if run_ids is not None:
            statement = statement.where(RUN.c.id.in_(run_ids))
        page: list[sa.Row[Any]] = [*connection.execute(statement)]
        if not page:
            return
        yield page
        last = page[-1].id


def _events(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    statement = (
        sa.select(EVENT).where(EVENT.c.run_id.in_(ids)).order_by(EVENT.c.run_id, EVENT.c.seq)
    )
    found: dict[int, list[sa.Row[Any]]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.run_id, []).append(row)
    return found


def _details(by_run: dict[int, list[sa.Row[Any]]]) -> dict[tuple[int, int], Any]:
    """What the events show of their details, by the payload that was hashed."""
    return {
        (row.run_id, number): row.detail
        for history in by_run.values()
        for row in history
        for role, number in row.payloads or []
        if role == "detail"
    }


def _payloads(
    connection: sa.Connection, ids: Sequence[int], shown: dict[tuple[int, int], Any]
) -> tuple[dict[int, dict[int, bytes]], int, dict[int, set[int]]]:
    """Digests by run and number, how many are erased, and which bytes do not match."""
    digests: dict[int, dict[int, bytes]] = {}
    wrong: dict[int, set[int]] = {}
    erased = 0
    for row in connection.execute(sa.select(PAYLOAD).where(PAYLOAD.c.run_id.in_(ids))):
        digests.setdefault(row.run_id, {})[row.n] = bytes(row.digest)
        if row.body is None or row.salt is None:
            erased += 1
            continue
        body, key = bytes(row.body), (row.run_id, row.n)
        forged = key in shown and shown[key] != clean_json(json.loads(body))
        if forged or payload_digest(bytes(row.salt), body) != bytes(row.digest):
            wrong.setdefault(row.run_id, set()).add(row.n)
    return digests, erased, wrong


def _check(
    run: sa.Row[Any], history: Sequence[sa.Row[Any]], digests: dict[int, bytes], wrong: set[int]
) -> Broken | None:
    previous = genesis(run.origin_ledger, run.origin_run)
    for position, row in enumerate(history, start=1):
        if row.seq != position:
            return Broken(run.id, position, "the event is missing")
        references = row.payloads or []
        if any(number not in digests for _, number in references):
            return Broken(run.id, row.seq, "a payload that it names is missing")
        if any(number in wrong for _, number in references):
            return Broken(run.id, row.seq, "the bytes of a payload that it names were changed")
        if bytes(row.prev_hash) != previous:
            return Broken(run.id, row.seq, "it does not follow the event before it")
        previous = _hash(run, row, digests, previous)
        if bytes(row.hash) != previous:
            return Broken(run.id, row.seq, "the event was changed")
    if len(history) != run.event_seq:
        return Broken(run.id, len(history) + 1, "the event is missing")
    states = [row.to_state for row in history if row.to_state is not None]
    if states and run.state != states[-1]:
        return Broken(run.id, run.event_seq, "the run's state is not where its history ends")
    if history and bytes(run.head_hash) != previous:
        return Broken(run.id, run.event_seq, "the run's head names another event")
    return None


def _hash(run: sa.Row[Any], row: sa.Row[Any], digests: dict[int, bytes], previous: bytes) -> bytes:
    event = EventDraft(
        kind=row.kind,
        source=row.source,
        actor=row.actor,
        recorded_at=row.recorded_at,
        attempt=row.attempt,
        remote=row.remote,
        from_state=row.from_state,
        trigger=row.trigger,
        to_state=row.to_state,
        remote_at=row.remote_at,
        remote_at_source=row.remote_at_source,
        remote_status=row.remote_status,
        request_id=row.request_id,
        error_code=row.error_code,
    )
    return event_hash(
        event,
        ledger=run.origin_ledger,
        run=run.origin_run,
        seq=row.seq,
        digests=[(role, digests[number]) for role, number in row.payloads or []],
        previous=previous,
    )
