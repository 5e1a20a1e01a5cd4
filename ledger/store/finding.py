"""Runs that match a query, the newest first, a page at a time.

Planners guess badly which condition is rare. So each condition that has an index is asked, up to a
cap, for the runs that it leaves: where one leaves few, those are all that is looked at. Otherwise
runs are walked through in the order of the list, along the index of the rarest value where there is
one, until the page is full. What is not to be used for finding is hidden from the planner.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.model import Run
from ledger.core.query import Term
from ledger.store.facts import RUN, RUN_NAMES, RUNS
from ledger.store.leads import (
    EVERYTHING,
    Condition,
    Lead,
    Walk,
    Window,
    among_ids,
    hidden,
    leads_of,
    window_of,
)
from ledger.store.rows import table_of
from ledger.store.search import matching
from ledger.store.tables import TombstoneRow

PAGE_MAX: Final = 1_000
FEW: Final = 2_000
"""So many runs are looked at one by one."""
COUNTED: Final = 100_000
"""How far two frequent conditions are counted, to tell which is the rarer."""
SAMPLED: Final = 10_000
"""Among so many of the newest runs, where that can be told of all conditions."""
TIMES: Final = ("since", "until")
TOMBSTONE: Final = table_of(TombstoneRow)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """How to find the runs of a query: among these ids, or along these walks.

    `lead` leaves fewest, for whoever needs no order; None where nothing leads anywhere.
    """

    ids: tuple[int, ...] | None
    walks: tuple[Walk, ...]
    lead: Lead | None
    rest: Condition
    window: Window


def list_runs(
    connection: sa.Connection, terms: Sequence[Term], *, limit: int, before: int | None
) -> list[Run]:
    """Runs that match all terms, the newest first, after run `before` in that order."""
    ids = page_of(connection, terms, limit=min(limit, PAGE_MAX), before=before)
    return runs_of(connection, ids)


def runs_of(connection: sa.Connection, ids: Sequence[int]) -> list[Run]:
    """These runs, in this order."""
    found = {row[0]: row for row in RUNS.rows(connection, ids)}
    return [Run(**dict(zip(RUN_NAMES, found[run_id], strict=True))) for run_id in ids]


def page_of(
    connection: sa.Connection, terms: Sequence[Term], *, limit: int, before: int | None = None
) -> list[int]:
    """The ids of one page."""
    search = plan(connection, terms)
    mark = None if before is None else place_of(connection, before)
    if before is not None and mark is None:
        return []
    if search.ids is not None:
        walk = Walk()
        some = among_ids(connection.dialect.name, RUN.c.id, search.ids)
        found = _page(connection, walk, sa.and_(some, hidden(search.rest)), mark, limit)
        return [run_id for _, run_id in found]
    pages = []
    for walk in search.walks:
        where = sa.and_(walk.during(search.window), hidden(search.rest))
        pages.append(_page(connection, walk, where, mark, limit))
    return [run_id for _, run_id in heapq.merge(*pages, reverse=True)][:limit]


def _page(
    connection: sa.Connection,
    walk: Walk,
    where: Condition,
    mark: tuple[datetime, int] | None,
    limit: int,
) -> list[tuple[datetime, int]]:
    columns = (walk.created_at, walk.run_id)
    if mark is not None:
        at = sa.bindparam(None, mark[0], RUN.c.created_at.type)
        where = sa.and_(where, sa.tuple_(*columns) < sa.tuple_(at, sa.literal(mark[1])))
    newest = (column.desc() for column in columns)
    statement = sa.select(*columns).select_from(walk.source).where(walk.where, where)
    return [(at, n) for at, n in connection.execute(statement.order_by(*newest).limit(limit))]


def place_of(connection: sa.Connection, before: int) -> tuple[datetime, int] | None:
    """Where a run stands in a list, also one that is gone; None where nothing comes after it."""
    exact = sa.select(RUN.c.created_at).where(RUN.c.id == before)
    gone = sa.select(TOMBSTONE.c.created_at).where(TOMBSTONE.c.run_id == before)
    near = sa.select(RUN.c.created_at).where(RUN.c.id < before).order_by(RUN.c.id.desc()).limit(1)
    for statement in (exact, gone, near):
        at = connection.execute(statement).scalar()
        if at is not None:
            return at, before
    return None


def plan(connection: sa.Connection, terms: Sequence[Term]) -> Search:
    """How to find the runs that match. Reads some thousand index entries at most."""
    window, rest = window_of(terms), matching(terms)
    if any(term.name in TIMES and not term.negated for term in terms):
        within = sa.select(RUN.c.id).where(window(RUN.c.created_at)).limit(FEW + 1)
        ids = connection.execute(within).scalars().all()
        if len(ids) <= FEW:
            return Search(ids=tuple(ids), walks=(), lead=None, rest=rest, window=window)
    leads = leads_of(connection, terms)
    found: set[int] | None = None
    for lead in leads:
        ids = connection.execute(lead.ids(window).limit(FEW + 1)).scalars().all()
        if len(ids) <= FEW:
            found = set(ids) if found is None else found & set(ids)
    if found is not None:
        return Search(ids=tuple(found), walks=(), lead=None, rest=rest, window=window)
    ranked = _ranked(connection, leads, window)
    walking = [lead for lead in ranked if lead.walks]
    return Search(
        ids=None,
        walks=walking[0].walks if walking else (Walk(),),
        lead=ranked[0] if ranked else None,
        rest=rest,
        window=window,
    )


def _ranked(connection: sa.Connection, leads: Sequence[Lead], window: Window) -> list[Lead]:
    """The leads, the one that leaves fewest first; where all have walks, of the newest runs."""
    if len(leads) < 2:
        return list(leads)
    walked = all(lead.walks for lead in leads)
    recent = _newest(connection, window) if walked else window

    def count(lead: Lead) -> int:
        some = lead.ids(window).limit(COUNTED).subquery()
        counted = [sa.select(sa.func.count()).select_from(some)]
        if walked:
            each = sa.select(sa.func.count())
            counted = [each.where(walk.where, walk.during(recent)) for walk in lead.walks]
        return sum(int(connection.execute(one).scalar_one()) for one in counted)

    return sorted(leads, key=count)


def _newest(connection: sa.Connection, window: Window) -> Window:
    """A window with no more than the newest SAMPLED of its runs."""
    at = RUN.c.created_at
    newest = sa.select(at).where(window(at)).order_by(at.desc(), RUN.c.id.desc())
    since = connection.execute(newest.offset(SAMPLED).limit(1)).scalar()
    if since is None:
        return window
    return lambda column: sa.and_(window(column), column > since)


def all_runs(connection: sa.Connection, search: Search, columns: Sequence[Any]) -> sa.Select[Any]:
    """A statement for all runs of a search, in no order."""
    if search.ids is not None:
        some = among_ids(connection.dialect.name, RUN.c.id, search.ids)
        return sa.select(*columns).where(some, hidden(search.rest))
    lead = search.lead.where if search.lead else EVERYTHING
    return sa.select(*columns).where(lead, search.window(RUN.c.created_at), hidden(search.rest))


def few_runs(search: Search, limit: int) -> sa.Select[Any]:
    """The ids of so many runs among which those of a search are; of all runs, the newest."""
    if search.lead is not None:
        return search.lead.ids(search.window).limit(limit)
    newest = (RUN.c.created_at.desc(), RUN.c.id.desc())
    within = search.window(RUN.c.created_at)
    return sa.select(RUN.c.id).where(within).order_by(*newest).limit(limit)
