"""Tokens as the event log tells of them: each object's once, by the event that brought them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ledger.core.alphabet import EventKind, State
from ledger.core.lifecycle import FINAL
from ledger.store.facts import ATTEMPT, REMOTE, RUN
from ledger.store.queries import EVENT

DIRECTIONS = {
    "input": REMOTE.c.tokens_in,
    "cached_input": REMOTE.c.tokens_cached,
    "output": REMOTE.c.tokens_out,
}
_TOTAL = sa.func.coalesce(REMOTE.c.tokens_in, 0) + sa.func.coalesce(REMOTE.c.tokens_out, 0)
_UNUSED = [state.value for state in sorted(FINAL) if state != State.completed]
_TELLING = sa.and_(
    EVENT.c.kind.in_((EventKind.observed, EventKind.create_confirmed)),
    REMOTE.c.run_id == EVENT.c.run_id,
    REMOTE.c.n == EVENT.c.remote,
    REMOTE.c.usage_at == EVENT.c.recorded_at,
)
"""The event that brought the count."""


def tokens(
    connection: sa.Connection, within: sa.ColumnElement[bool]
) -> dict[tuple[str, ...], float]:
    """Tokens by direction and model."""
    statement = (
        sa.select(RUN.c.model, *(sa.func.coalesce(sa.func.sum(c), 0) for c in DIRECTIONS.values()))
        .select_from(EVENT.join(REMOTE, _TELLING).join(RUN, RUN.c.id == EVENT.c.run_id))
        .where(within)
        .group_by(RUN.c.model)
    )
    return {
        (direction, row[0] or ""): float(count)
        for row in connection.execute(statement)
        for direction, count in zip(DIRECTIONS, row[1:], strict=True)
    }


def wasted(
    connection: sa.Connection, within: sa.ColumnElement[bool]
) -> dict[tuple[str, ...], float]:
    """Tokens of attempts that ended other than `completed`, by that end.

    What was told before the attempt's end is counted with its end; the rest when it is told.
    """
    found: dict[tuple[str, ...], float] = {}
    for statement in (_with_the_end(within), _behind_the_end(within)):
        for row in connection.execute(statement):
            cause = (str(row[0]),)
            found[cause] = found.get(cause, 0.0) + float(row[1])
    return found


def _with_the_end(within: sa.ColumnElement[bool]) -> sa.Select[Any]:
    theirs = sa.and_(
        REMOTE.c.run_id == EVENT.c.run_id,
        REMOTE.c.attempt == EVENT.c.attempt,
        REMOTE.c.usage_at < EVENT.c.recorded_at,
    )
    return (
        sa.select(EVENT.c.to_state, sa.func.coalesce(sa.func.sum(_TOTAL), 0))
        .select_from(EVENT.join(REMOTE, theirs))
        .where(within, EVENT.c.to_state.in_(_UNUSED))
        .group_by(EVENT.c.to_state)
    )


def _behind_the_end(within: sa.ColumnElement[bool]) -> sa.Select[Any]:
    over = sa.and_(
        ATTEMPT.c.run_id == REMOTE.c.run_id,
        ATTEMPT.c.number == REMOTE.c.attempt,
        ATTEMPT.c.ended_at <= REMOTE.c.usage_at,
        ATTEMPT.c.outcome.in_(_UNUSED),
    )
    return (
        sa.select(ATTEMPT.c.outcome, sa.func.coalesce(sa.func.sum(_TOTAL), 0))
        .select_from(EVENT.join(REMOTE, _TELLING).join(ATTEMPT, over))
        .where(within)
        .group_by(ATTEMPT.c.outcome)
    )
