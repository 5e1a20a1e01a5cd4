"""Reading the ledger: one run whole, lists by keyset, events in order, payloads, evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import CallState, Source, State, Trigger
from ledger.core.model import Facts
from ledger.core.query import UNSENDABLE
from ledger.errors import InvalidInput, NotFound
from ledger.store.direct import among, execute, listed
from ledger.store.facts import CALL, EVIDENCE, REMOTE, RUN, WATCH, load_facts
from ledger.store.rows import table_of
from ledger.store.tables import AccountRow, EventRow, PayloadRow
from ledger.store.tombs import no_run, tombstone_of

EVENT, PAYLOAD, ACCOUNT = table_of(EventRow), table_of(PayloadRow), table_of(AccountRow)
PAGE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPayload:
    """Bytes as they were kept; None once erased."""

    n: int
    media: str
    body: bytes | None
    digest: bytes
    salt: bytes | None


_NUMBER = re.compile(r"(#?)(0|[1-9][0-9]{0,17})", re.ASCII)
KEY_PREFIX = "key:"


def find_run(connection: sa.Connection, name: str) -> int:
    """The id of a run named by number, key or upstream id. Raises NotFound or InvalidInput.

    `#17` is a number and `key:17` a key, where 17 could be either.
    """
    if UNSENDABLE.search(name):
        raise NotFound(f"there is no run {name!a}", hint="runward list shows the newest runs")
    number = _NUMBER.fullmatch(name)
    if number:
        found = connection.execute(sa.select(RUN.c.id).where(RUN.c.id == int(number[2]))).scalar()
        if found is not None:
            if not number[1]:
                _refuse_ambiguous(connection, name)
            return int(found)
    for key in (name, name.removeprefix(KEY_PREFIX)):
        by_key = connection.execute(sa.select(RUN.c.id).where(RUN.c.key == key)).scalar()
        if by_key is not None:
            return int(by_key)
    statement = sa.select(REMOTE.c.run_id).where(REMOTE.c.remote_id == name).distinct().limit(3)
    ids = [row[0] for row in connection.execute(statement)]
    if len(ids) > 1:
        raise InvalidInput(f"{name!r} belongs to several runs: {', '.join(map(str, ids))}")
    if not ids:
        raise _gone(connection, name, number)
    return int(ids[0])


def _gone(connection: sa.Connection, name: str, number: re.Match[str] | None) -> NotFound:
    """That there is no such run; of one that was pruned, when and why."""
    by_number = tombstone_of(connection, run_id=int(number[2])) if number else None
    keys = [name, name.removeprefix(KEY_PREFIX)]
    found = [stone for key in keys if (stone := tombstone_of(connection, key=key))]
    return no_run(by_number or next(iter(found), None), name)


def _refuse_ambiguous(connection: sa.Connection, name: str) -> None:
    """A key may look like a number; which run is meant is then not for us to guess."""
    other = connection.execute(sa.select(RUN.c.id).where(RUN.c.key == name)).scalar()
    if other is not None and int(other) != int(name):
        raise InvalidInput(
            f"{name!r} is the number of one run and the key of run {other}",
            hint=f"#{name} is the number, {KEY_PREFIX}{name} the key",
        )


def ahead_of(connection: sa.Connection, run_ids: Sequence[int]) -> list[int]:
    """Runs without a verdict that hold, or wait earlier for, a serial key of these runs."""
    mine = RUN.alias()
    statement = (
        sa.select(RUN.c.id)
        .join(
            mine,
            sa.and_(mine.c.account_id == RUN.c.account_id, mine.c.serial_key == RUN.c.serial_key),
        )
        .where(mine.c.id.in_(run_ids), RUN.c.id < mine.c.id, RUN.c.finished_at.is_(None))
        .distinct()
    )
    return [row[0] for row in connection.execute(statement)]


def remote_holder(connection: sa.Connection, remote_id: str, parent_id: str) -> int | None:
    """The run that already has this upstream object."""
    statement = sa.select(REMOTE.c.run_id).where(REMOTE.c.remote_id == remote_id)
    if parent_id:
        statement = statement.where(REMOTE.c.parent_id == parent_id)
    return connection.execute(statement.limit(1)).scalar()


def one(connection: sa.Connection, run_id: int) -> Facts:
    """One run with all its parts. Raises NotFound."""
    found = load_facts(connection, [run_id])
    if run_id not in found:
        raise no_run(tombstone_of(connection, run_id=run_id), run_id)
    return found[run_id]


def events_of(
    connection: sa.Connection, run_id: int, *, after: int = 0, limit: int = PAGE_MAX
) -> list[sa.Row[Any]]:
    """A run's events in order, above sequence number `after`."""
    statement = (
        sa.select(EVENT)
        .where(EVENT.c.run_id == run_id, EVENT.c.seq > after)
        .order_by(EVENT.c.seq)
        .limit(limit)
    )
    return list(connection.execute(statement).all())


# Written out, because every create reads its request.
_PAYLOADS = "SELECT n, media, body, digest, salt FROM payload WHERE run_id = {} AND n {}"
_LISTED = {
    "sqlite": _PAYLOADS.format("?", among("sqlite", "bigint")),
    "postgresql": _PAYLOADS.format("%s", among("postgresql", "bigint")),
}


def restarted_by(after: Any) -> sa.ColumnElement[bool]:
    """That `after` is the restart with which policy answered an event in the same transaction: the
    event is no end of the run then."""
    return sa.and_(
        after.c.run_id == EVENT.c.run_id,
        after.c.seq == EVENT.c.seq + 1,
        after.c.trigger == Trigger.restart,
        after.c.source == Source.policy,
    )


def payloads_of(
    connection: sa.Connection, run_id: int, numbers: Sequence[int]
) -> dict[int, StoredPayload]:
    """Payloads of a run by number."""
    kind = connection.dialect.name
    rows = execute(connection, _LISTED[kind], (run_id, listed(kind, numbers)), rows=True)
    return {
        n: StoredPayload(
            n=n,
            media=media,
            body=None if body is None else bytes(body),
            digest=bytes(digest),
            salt=None if salt is None else bytes(salt),
        )
        for n, media, body, digest, salt in rows
    }


# Made once: every pass of every life asks.
_NEWEST = sa.select(
    sa.select(sa.func.max(EVENT.c.id)).scalar_subquery(),
    sa.select(sa.func.max(EVIDENCE.c.id)).scalar_subquery(),
)
_NEWS = sa.union(
    sa.select(EVENT.c.run_id).where(
        EVENT.c.id > sa.bindparam("event"),
        EVENT.c.id <= sa.bindparam("last_event"),
        EVENT.c.source == Source.operator,
    ),
    sa.select(EVIDENCE.c.run_id).where(
        EVIDENCE.c.id > sa.bindparam("evidence"),
        EVIDENCE.c.id <= sa.bindparam("last_evidence"),
        EVIDENCE.c.run_id == RUN.c.id,
        EVIDENCE.c.id > RUN.c.evidence_seen,
    ),
)
EVIDENCE_OVERLAP: Final = 200


def news_since(
    connection: sa.Connection, event_id: int, evidence_id: int
) -> tuple[set[int], int, int]:
    """Runs that somebody outside touched above these ids, and the newest ids: a hint, no more."""
    last_event, last_evidence = newest_ids(connection)
    # On PostgreSQL a lower id may be committed later, and the owner would not see it for long.
    again = EVIDENCE_OVERLAP if connection.dialect.name == "postgresql" else 0
    if not again and (last_event, last_evidence) == (event_id, evidence_id):
        return set(), last_event, last_evidence
    between = {
        "event": event_id,
        "last_event": last_event,
        "evidence": evidence_id - again,
        "last_evidence": last_evidence,
    }
    runs = {row[0] for row in connection.execute(_NEWS, between)}
    return runs, last_event, last_evidence


def newest_ids(connection: sa.Connection) -> tuple[int, int]:
    """The newest event and evidence ids."""
    event, evidence = connection.execute(_NEWEST).one()
    return event or 0, evidence or 0


def open_calls(connection: sa.Connection, *, limit: int = PAGE_MAX) -> list[sa.Row[Any]]:
    """Tool calls without an output in runs without a verdict, the oldest first."""
    statement = (
        sa.select(
            CALL,
            RUN.c.key.label("run_key"),
            RUN.c.state.label("run_state"),
            RUN.c.deadline_at,
            REMOTE.c.expires_at,
            REMOTE.c.settled,
        )
        .join(RUN, RUN.c.id == CALL.c.run_id)
        .join(REMOTE, sa.and_(REMOTE.c.run_id == CALL.c.run_id, REMOTE.c.n == CALL.c.remote))
        .where(CALL.c.state.in_([CallState.requested, CallState.started]))
        .where(RUN.c.state == State.requires_action)
        .order_by(CALL.c.run_id, CALL.c.n)
        .limit(limit)
    )
    return list(connection.execute(statement).all())


def accounts(connection: sa.Connection) -> list[sa.Row[Any]]:
    """All accounts."""
    return list(connection.execute(sa.select(ACCOUNT).order_by(ACCOUNT.c.id)).all())


def counts(connection: sa.Connection) -> dict[str, int]:
    """Sizes that people ask for: runs by state, watched, flagged."""
    by_state = connection.execute(
        sa.select(RUN.c.state, sa.func.count()).group_by(RUN.c.state)
    ).all()
    found = {str(state): count for state, count in by_state}
    watched = connection.execute(sa.select(sa.func.count()).select_from(WATCH)).scalar_one()
    flagged = connection.execute(
        sa.select(sa.func.count()).select_from(RUN).where(RUN.c.needs_attention.is_not(None))
    ).scalar_one()
    return {**found, "watched": watched, "attention": flagged}
