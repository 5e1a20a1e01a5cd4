"""Who owns which run. Ownership changes hands only here, and raises the fence each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import LifeEventKind
from ledger.core.model import Facts
from ledger.core.steps import ASIDE, UNDER_WAY
from ledger.store.facts import RUN, WATCH, load_facts
from ledger.store.following import FOLLOWER
from ledger.store.life_events import note
from ledger.store.lives import WORKER, Lives, has_ended

SHARE_SLACK: Final = 1.2
CLAIM_MAX: Final = 1_000


def claim(
    connection: sa.Connection,
    life_id: str,
    *,
    dead: Sequence[str],
    limit: int = CLAIM_MAX,
    only: Sequence[int] | None = None,
    now: datetime | None = None,
) -> list[Facts]:
    """Take runs that nobody owns, or whose owner is dead; the most urgent first.

    A life that was declared ended meanwhile gets none: they would be nobody's for ever. What was
    set aside is left alone until its deadline, which only ends it.
    """
    if has_ended(connection, life_id):
        return []
    # Without the empty IN, which SQLite answers by reading the whole index.
    free: list[sa.ColumnElement[bool]] = [WATCH.c.owner.is_(None)]
    if dead:
        free.append(WATCH.c.owner.in_(dead))
    if now is not None:
        late = sa.select(RUN.c.id).where(RUN.c.id == WATCH.c.run_id, RUN.c.deadline_at <= now)
        free.append(sa.and_(WATCH.c.owner == ASIDE, late.exists()))
    candidate = sa.select(WATCH.c.run_id).where(sa.or_(*free))
    if only is not None:
        candidate = candidate.where(WATCH.c.run_id.in_(only))
    chosen = (
        candidate.order_by(WATCH.c.due_at, WATCH.c.run_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    statement = (
        sa.update(WATCH)
        .where(WATCH.c.run_id == chosen.c.run_id)
        .values(owner=life_id, fence=WATCH.c.fence + 1)
        .returning(WATCH.c.run_id)
    )
    ids = sorted(row[0] for row in connection.execute(statement))
    facts = load_facts(connection, ids)
    return [facts[run_id] for run_id in ids]


_WATCHED = sa.select(sa.func.count()).select_from(WATCH)


def count_watched(connection: sa.Connection) -> int:
    """How many runs somebody has to look after."""
    return int(connection.execute(_WATCHED).scalar_one())


_OTHERS = (
    sa.select(sa.func.count())
    .select_from(WORKER)
    .where(WORKER.c.ended_at.is_(None), WORKER.c.drain.is_(False), WORKER.c.role == "daemon")
    .where(WORKER.c.id.not_in(sa.bindparam("not_these", expanding=True)))
)


def fair_share(connection: sa.Connection, life_id: str, gone: Sequence[str] = ()) -> int:
    """How many runs this life may own: its part of all watched runs, plus a fifth."""
    watched = count_watched(connection)
    lives = connection.execute(_OTHERS, {"not_these": [life_id, *gone]}).scalar_one()
    return math.ceil(watched / (lives + 1) * SHARE_SLACK) if lives else watched


def release(
    connection: sa.Connection, life_id: str, *, run_ids: Sequence[int] | None = None
) -> int:
    """Give up runs, so that another life may take them at once; without `run_ids` all of them,
    and what the life follows. Returns how many."""
    statement = sa.update(WATCH).where(WATCH.c.owner == life_id).values(owner=None)
    if run_ids is not None:
        statement = statement.where(WATCH.c.run_id.in_(run_ids))
    else:
        mine = FOLLOWER.c.owner == life_id
        connection.execute(sa.update(FOLLOWER).where(mine).values(owner=None))
    return connection.execute(statement).rowcount


def bury(
    connection: sa.Connection, *, lives: Lives, life_id: str, now: datetime, by: str
) -> dict[int, list[str]]:
    """End a dead life and free its runs, together: an ended life is never judged again, so what
    it still owned would be nobody's for ever.

    Returns the runs that it was driving when it died, each with the lives that died in the same
    step, this one included: a run that only waited is not suspected. `by` is who found it dead.
    """
    row = lives.end_dead(connection, life_id, now)
    driven = (
        sa.update(WATCH)
        .where(WATCH.c.owner == life_id, WATCH.c.why.endswith(UNDER_WAY))
        .values(deaths=sa.func.trim(WATCH.c.deaths + f" {life_id}"))
        .returning(WATCH.c.run_id, WATCH.c.deaths)
    )
    found = {row[0]: row[1].split() for row in connection.execute(driven)}
    freed = release(connection, life_id)
    if row is not None:
        _note_end(connection, LifeEventKind.died, row, life_id, freed, by, now)
    return found


def bury_overdue(
    connection: sa.Connection, *, lives: Lives, life_id: str, now: datetime, by: str
) -> bool:
    """The same for a life that hangs: should it wake up, it begins again under a new name."""
    row = lives.end_overdue(connection, life_id, now)
    if row is not None:
        freed = release(connection, life_id)
        _note_end(connection, LifeEventKind.overdue, row, life_id, freed, by, now)
    return row is not None


def _note_end(
    connection: sa.Connection,
    kind: LifeEventKind,
    row: sa.Row[Any],
    life_id: str,
    freed: int,
    by: str,
    now: datetime,
) -> None:
    """What a life cannot say of itself: that it is gone, since when, and who has its runs now."""
    last = {"role": row.role, "host": row.host, "pid": row.pid}
    detail = {**last, "heartbeat_at": row.heartbeat_at.isoformat(), "runs": freed, "by": by}
    note(connection, kind, at=now, life=life_id, detail=detail)
    if freed:
        taken = {"from": life_id, "runs": freed}
        note(connection, LifeEventKind.takeover, at=now, life=by, detail=taken)


def owned(connection: sa.Connection, life_id: str) -> dict[int, tuple[int, Any]]:
    """What the rows say that this life owns: run to (fence, due time)."""
    statement = sa.select(WATCH.c.run_id, WATCH.c.fence, WATCH.c.due_at).where(
        WATCH.c.owner == life_id
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(statement)}


def owner_counts(connection: sa.Connection) -> dict[str, int]:
    """How many runs each life owns."""
    statement = sa.select(WATCH.c.owner, sa.func.count()).group_by(WATCH.c.owner)
    return {row[0]: row[1] for row in connection.execute(statement) if row[0] is not None}


def versions(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, int]:
    """The version of each run, to find those that moved under their owner."""
    found: dict[int, int] = {}
    for start in range(0, len(run_ids), 500):
        page = run_ids[start : start + 500]
        statement = sa.select(RUN.c.id, RUN.c.version).where(RUN.c.id.in_(page))
        found.update({row[0]: row[1] for row in connection.execute(statement)})
    return found


def still_owned(connection: sa.Connection, life_id: str, run_id: int, fence: int) -> bool:
    """Whether the ownership holds, asked inside a write transaction just before an effect."""
    statement = (
        sa.select(WATCH.c.owner, WATCH.c.fence).where(WATCH.c.run_id == run_id).with_for_update()
    )
    row = connection.execute(statement).first()
    return row is not None and (row[0], row[1]) == (life_id, fence)
