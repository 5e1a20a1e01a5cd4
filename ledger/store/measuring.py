"""Runs with their times, a row each, for statistics: as they are, or as they stood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.folding import Past
from ledger.core.measures import Measured
from ledger.core.query import Term
from ledger.store.facts import CALL, REMOTE, RUN
from ledger.store.finding import Search, all_runs, plan
from ledger.store.leads import among_ids
from ledger.store.past import CHUNK, finished_by, under_way
from ledger.store.queries import ACCOUNT
from ledger.store.search import TAGS

COLUMNS: Final[dict[str, sa.Column[Any]]] = {
    "status": RUN.c.state,
    "model": RUN.c.model,
    "provider": RUN.c.provider,
    "kind": RUN.c.kind,
    "error_code": RUN.c.error_code,
}
TAG: Final = "tag:"
PROFILE: Final = "profile"
FETCHED: Final = 5_000


def measured(
    connection: sa.Connection, terms: Sequence[Term], by: str | None, at: datetime | None
) -> Iterator[Measured]:
    """All runs that match, in no order; as they stood at `at`, where that is given."""
    standing = terms if at is None else [*terms, finished_by(at)]
    columns = (
        RUN.c.id, RUN.c.state, RUN.c.created_at, RUN.c.started_at, RUN.c.finished_at,
        _ended_at(), _group(by),
    )  # fmt: skip
    statement = all_runs(connection, plan(connection, standing), columns)
    for run_id, state, created, started, finished, ended, group in _stream(connection, statement):
        yield Measured(
            run_id=run_id,
            group=None if group is None else str(group),
            state=str(state),
            created_at=created,
            started_at=started,
            finished_at=finished,
            ended_at=ended,
        )
    if at is not None:
        yield from _past(connection, terms, by, at)


def tool_seconds(
    connection: sa.Connection, terms: Sequence[Term], at: datetime | None
) -> dict[int, float]:
    """The time that the tools of each run took; a run without a finished call is not in it.

    Calls count that had finished by `at`, of all runs that match now or are not finished.
    """
    lasting = terms if at is None else [t for t in terms if t.name in ("since", "until")]
    search: Search = plan(connection, lasting)
    columns = (CALL.c.run_id, CALL.c.started_at, CALL.c.finished_at)
    done = [CALL.c.run_id == RUN.c.id, CALL.c.started_at.is_not(None)]
    done.append(CALL.c.finished_at.is_not(None) if at is None else CALL.c.finished_at <= at)
    found: dict[int, float] = defaultdict(float)
    statement = all_runs(connection, search, columns).where(*done)
    for run_id, started, finished in _stream(connection, statement):
        found[run_id] += (finished - started).total_seconds()
    return found


def _stream(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Any]:
    yield from connection.execute(statement, execution_options={"yield_per": FETCHED})


def _group(by: str | None) -> Any:
    if by is None:
        return sa.null()
    if by in COLUMNS:
        return COLUMNS[by]
    if by == PROFILE:
        of = sa.select(ACCOUNT.c.profile).where(ACCOUNT.c.id == RUN.c.account_id)
    else:
        of = sa.select(TAGS.c.value).where(
            TAGS.c.run_id == RUN.c.id, TAGS.c.name == by.removeprefix(TAG)
        )
    return of.correlate(RUN).limit(1).scalar_subquery()


def _ended_at() -> Any:
    """When upstream said that the newest attempt's work was over."""
    return (
        sa.select(sa.func.max(REMOTE.c.remote_ended_at))
        .where(REMOTE.c.run_id == RUN.c.id, REMOTE.c.attempt == RUN.c.attempts)
        .correlate(RUN)
        .scalar_subquery()
    )


def _past(
    connection: sa.Connection, terms: Sequence[Term], by: str | None, at: datetime
) -> Iterator[Measured]:
    found = list(under_way(connection, terms, at))
    for start in range(0, len(found), CHUNK):
        chunk = found[start : start + CHUNK]
        ids = [run_id for run_id, _, _ in chunk]
        groups, ends = _groups(connection, ids, by), _ends(connection, ids)
        for run_id, created_at, past in chunk:
            yield Measured(
                run_id=run_id,
                group=_past_group(past, by, groups[run_id]),
                state=str(past.state),
                created_at=created_at,
                started_at=past.started_at,
                finished_at=past.finished_at,
                ended_at=ends.get((run_id, past.attempts)),
            )


def _past_group(past: Past, by: str | None, now: object) -> str | None:
    value = {"status": past.state, "error_code": past.error_code}.get(by, now) if by else None
    return None if value is None else str(value)


def _groups(connection: sa.Connection, ids: Sequence[int], by: str | None) -> dict[int, Any]:
    some = among_ids(connection.dialect.name, RUN.c.id, ids)
    return {
        row[0]: row[1] for row in connection.execute(sa.select(RUN.c.id, _group(by)).where(some))
    }


def _ends(connection: sa.Connection, ids: Sequence[int]) -> dict[tuple[int, int], datetime]:
    some = among_ids(connection.dialect.name, REMOTE.c.run_id, ids)
    key = (REMOTE.c.run_id, REMOTE.c.attempt)
    statement = sa.select(*key, sa.func.max(REMOTE.c.remote_ended_at)).where(some).group_by(*key)
    return {(run, n): ended for run, n, ended in connection.execute(statement) if ended}
