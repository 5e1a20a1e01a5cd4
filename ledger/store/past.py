"""The ledger as it stood: only runs that were under way then need their events.

What had finished by then, and was not restarted since, stands as it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.folding import CHANGING, Past, fold, was
from ledger.core.model import Attempt
from ledger.core.query import WORDS, Term
from ledger.errors import InvalidInput
from ledger.store.facts import ATTEMPT, RUN
from ledger.store.finding import TOMBSTONE, page_of, place_of
from ledger.store.leads import among_ids, hidden, window_of
from ledger.store.queries import EVENT
from ledger.store.search import fingerprints_of, matching

UNDER_WAY_MAX: Final = 100_000
CHUNK: Final = 5_000
INSTANT: Final = timedelta(microseconds=1)


def finished_by(at: datetime) -> Term:
    """That a run had its present verdict already."""
    return Term(name="finished_until", moment=at + INSTANT)


def page_at(
    connection: sa.Connection,
    terms: Sequence[Term],
    at: datetime,
    *,
    limit: int,
    before: int | None,
) -> list[tuple[int, Past | None]]:
    """One page of the runs that matched then, the newest first: None for those that stand as they
    are. Raises InvalidInput where too many were under way."""
    standing = page_of(connection, [*terms, finished_by(at)], limit=limit, before=before)
    created = _created(connection, standing)
    found: dict[int, tuple[datetime, Past | None]] = {n: (created[n], None) for n in standing}
    mark = None if before is None else place_of(connection, before)
    if before is None or mark is not None:
        for run_id, created_at, past in under_way(connection, terms, at):
            if mark is None or (created_at, run_id) < mark:
                found[run_id] = (created_at, past)
    order = sorted(found, key=lambda n: (found[n][0], n), reverse=True)
    return [(run_id, found[run_id][1]) for run_id in order[:limit]]


def under_way(
    connection: sa.Connection, terms: Sequence[Term], at: datetime
) -> Iterator[tuple[int, datetime, Past]]:
    """The runs without their present verdict then, as they stood, where they matched.

    Raises InvalidInput for more than UNDER_WAY_MAX.
    """
    lasting = [term for term in terms if term.name not in CHANGING]
    changing = [term for term in terms if term.name in CHANGING]
    words = {
        term.values[0]: fingerprints_of(connection, term.values[0])
        for term in changing
        if term.name == WORDS
    }
    found = _candidates(connection, lasting, at)
    for start in range(0, len(found), CHUNK):
        chunk = found[start : start + CHUNK]
        for (run_id, created_at), past in zip(chunk, folded(connection, chunk, at), strict=True):
            if all(was(past, term, words) for term in changing):
                yield run_id, created_at, past


def _candidates(
    connection: sa.Connection, lasting: Sequence[Term], at: datetime
) -> list[tuple[int, datetime]]:
    window = window_of(lasting)(RUN.c.created_at)
    there = sa.and_(RUN.c.created_at <= at, window)
    columns = (RUN.c.id, RUN.c.created_at)
    parts = (RUN.c.finished_at.is_(None), RUN.c.finished_at > at)
    where = hidden(matching(lasting)) if lasting else sa.true()
    found: list[tuple[int, datetime]] = []
    for part in parts:
        statement = sa.select(*columns).where(part, there, where).limit(UNDER_WAY_MAX + 1)
        found += [(run_id, created) for run_id, created in connection.execute(statement)]
        if len(found) > UNDER_WAY_MAX:
            raise InvalidInput(
                f"more than {UNDER_WAY_MAX} runs were under way at {at.isoformat()}",
                hint="ask for fewer, as with since:, provider: or a tag",
            )
    return found


def folded(
    connection: sa.Connection, runs: Sequence[tuple[int, datetime]], at: datetime
) -> list[Past]:
    """These runs, as they stood."""
    ids = [run_id for run_id, _ in runs]
    moves, attempts = _moves(connection, ids, at), _attempts(connection, ids, at)
    return [fold(created_at, moves[run_id], attempts[run_id], at) for run_id, created_at in runs]


def _moves(connection: sa.Connection, ids: Sequence[int], at: datetime) -> dict[int, list[Any]]:
    columns = (
        EVENT.c.run_id, EVENT.c.recorded_at, EVENT.c.trigger, EVENT.c.to_state, EVENT.c.attempt,
    )  # fmt: skip
    statement = (
        sa.select(*columns)
        .where(
            among_ids(connection.dialect.name, EVENT.c.run_id, ids),
            hidden(sa.and_(EVENT.c.to_state.is_not(None), EVENT.c.recorded_at <= at)),
        )
        .order_by(EVENT.c.run_id, EVENT.c.seq)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(statement):
        found[row.run_id].append(row)
    return found


def _attempts(
    connection: sa.Connection, ids: Sequence[int], at: datetime
) -> dict[int, list[Attempt]]:
    statement = sa.select(ATTEMPT).where(
        among_ids(connection.dialect.name, ATTEMPT.c.run_id, ids),
        hidden(ATTEMPT.c.ended_at <= at),
    )
    found: dict[int, list[Attempt]] = defaultdict(list)
    for row in connection.execute(statement):
        values = dict(row._mapping)
        found[values.pop("run_id")].append(Attempt(**values))
    return found


def _created(connection: sa.Connection, ids: Sequence[int]) -> dict[int, datetime]:
    some = among_ids(connection.dialect.name, RUN.c.id, ids)
    statement = sa.select(RUN.c.id, RUN.c.created_at).where(some)
    return {row.id: row.created_at for row in connection.execute(statement)}


def fleet_at(connection: sa.Connection, at: datetime) -> dict[str, int]:
    """How many runs were in which state; those pruned since are `unknown`."""
    statement = (
        sa.select(RUN.c.state, sa.func.count())
        .where(RUN.c.finished_at.is_not(None), RUN.c.finished_at <= at)
        .group_by(RUN.c.state)
    )
    found = Counter({str(state): count for state, count in connection.execute(statement)})
    found.update(str(past.state) for _, _, past in under_way(connection, (), at))
    return {**found, "unknown": pruned_of(connection, at, sa.true())}


def pruned_of(connection: sa.Connection, at: datetime, where: Any) -> int:
    """How many runs were there, and are gone since."""
    there = sa.and_(TOMBSTONE.c.created_at <= at, where)
    gone = sa.select(sa.func.count()).select_from(TOMBSTONE).where(there)
    return int(connection.execute(gone).scalar_one())
