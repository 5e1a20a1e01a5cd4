"""What runs have cost upstream, summed in the database: by group, model and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import RemoteKind, State
from ledger.core.counting import LOOKS, OK, UNCHANGED
from ledger.core.lifecycle import FINAL
from ledger.core.pacing.experience import RunClass, class_of
from ledger.core.pacing.lasting import lasted
from ledger.core.tokens import Tokens
from ledger.store.durations import TIMED
from ledger.store.facts import ATTEMPT, REMOTE, RUN
from ledger.store.queries import ACCOUNT
from ledger.store.tally import USAGE

USED: Final = "used"
OPEN: Final = "open"
DUPLICATE: Final = "duplicate"
RESTARTED: Final = "restarted"
"""The attempt ended well, and another followed all the same."""
GROUP: Final = sa.literal_column("cost_group", sa.Text)
NAME: Final = sa.literal_column("cost_name", sa.Text)
END: Final = sa.literal_column("cost_end", sa.Text)
"""Named where they are grouped by: with bound values, an expression is not the same one twice."""
TAG: Final = "tag:"
GROUPS: Final = ("model", "profile", "provider", "kind", "state")
COUNTED: Final = (RemoteKind.response, RemoteKind.thread_run)
"""The objects that use tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Runs by when they were created: from `since`, and before `until` where that is given."""

    since: datetime
    until: datetime | None = None

    @property
    def condition(self) -> sa.ColumnElement[bool]:
        """As the index on the times of creation has it."""
        after = RUN.c.created_at >= self.since
        return after if self.until is None else sa.and_(after, RUN.c.created_at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """The runs of one group."""

    group: str | None
    runs: int
    attempts: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCount:
    """The calls of one group, of one kind: `observe.unchanged`."""

    group: str | None
    name: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """The tokens of one group, of one model, with one end: USED, OPEN, or why they were not used.

    `untold` objects ended, and upstream did not say what they used.
    """

    group: str | None
    model: str | None
    end: str
    objects: int
    untold: int
    tokens: Tokens


def count_runs(
    connection: sa.Connection, window: Window, by: str | None, *, limit: int
) -> list[RunCount]:
    """Runs, attempts and calls by group, the group with most calls first."""
    group, source = _group(by)
    calls = sa.func.sum(RUN.c.calls)
    statement = (
        sa.select(group, sa.func.count(), sa.func.sum(RUN.c.attempts), calls)
        .select_from(source)
        .where(window.condition)
        .group_by(GROUP)
        .order_by(calls.desc(), GROUP)
        .limit(limit)
    )
    return [
        RunCount(group=_text(name), runs=int(runs), attempts=int(attempts), calls=int(made))
        for name, runs, attempts, made in connection.execute(statement)
    ]


def count_calls(connection: sa.Connection, window: Window, by: str | None) -> list[CallCount]:
    """Calls by group, operation and outcome."""
    group, source = _group(by)
    each, name, calls = _each_call(connection)
    statement = (
        sa.select(group, name.label(NAME.name), sa.func.sum(calls))
        .select_from(source.join(each, sa.true()))
        .where(window.condition)
        .group_by(GROUP, NAME)
    )
    return [
        CallCount(group=_text(row[0]), name=str(row[1]), calls=int(row[2]))
        for row in connection.execute(statement)
    ]


def _each_call(connection: sa.Connection) -> tuple[Any, Any, Any]:
    """The counts of a run as rows."""
    if connection.dialect.name == "sqlite":
        each = sa.func.json_each(RUN.c.call_counts).table_valued("key", "value")
        return each, each.c.key, each.c.value
    each = sa.func.jsonb_each_text(RUN.c.call_counts).table_valued("key", "value")
    return each, each.c.key, sa.cast(each.c.value, sa.BigInteger)


def count_tokens(connection: sa.Connection, window: Window, by: str | None) -> list[TokenCount]:
    """Tokens by group, model, and what became of the object that used them."""
    group, source = _group(by)
    attempt, last = ATTEMPT.alias("of"), ATTEMPT.alias("last")
    told = sa.or_(REMOTE.c.tokens_in.is_not(None), REMOTE.c.tokens_out.is_not(None))
    over = sa.and_(REMOTE.c.settled, REMOTE.c.remote_id.is_not(None))
    one = sa.case((told, 1), else_=0)
    joined = (
        source.join(REMOTE, REMOTE.c.run_id == RUN.c.id)
        .join(
            attempt,
            sa.and_(attempt.c.run_id == RUN.c.id, attempt.c.number == REMOTE.c.attempt),
        )
        .join(last, sa.and_(last.c.run_id == RUN.c.id, last.c.number == RUN.c.attempts))
    )
    statement = (
        sa.select(
            group,
            RUN.c.model,
            _end(attempt, last).label(END.name),
            sa.func.sum(one),
            sa.func.sum(1 - one),
            *(
                sa.func.coalesce(sa.func.sum(column), 0)
                for column in (REMOTE.c.tokens_in, REMOTE.c.tokens_cached, REMOTE.c.tokens_out)
            ),
        )
        .select_from(joined)
        .where(window.condition, REMOTE.c.kind.in_(COUNTED), sa.or_(told, over))
        .group_by(GROUP, RUN.c.model, END)
    )
    return [_token_count(tuple(row)) for row in connection.execute(statement)]


def _token_count(row: Sequence[Any]) -> TokenCount:
    group, model, end, objects, untold, used, cached, made = row
    return TokenCount(
        group=_text(group),
        model=model,
        end=str(end),
        objects=int(objects),
        untold=int(untold),
        tokens=Tokens(input=int(used), cached=int(cached), output=int(made)),
    )


def _end(attempt: Any, last: Any) -> sa.ColumnElement[str]:
    """What became of an object's work: in the result, not decided yet, or why it was for nothing.

    In the result of a completed run are its last object and the links before that one, also those
    of an earlier attempt that the last one went on from.
    """
    other = REMOTE.alias("other")
    newest = (
        sa.select(sa.func.max(other.c.n))
        .where(other.c.run_id == RUN.c.id, other.c.attempt == RUN.c.attempts)
        .scalar_subquery()
    )
    link = sa.exists().where(other.c.run_id == RUN.c.id, other.c.previous == REMOTE.c.n)
    here = REMOTE.c.attempt == RUN.c.attempts
    reached = sa.or_(here, REMOTE.c.n <= last.c.base)
    used = sa.or_(REMOTE.c.n == sa.func.coalesce(newest, last.c.base), sa.and_(reached, link))
    state = sa.type_coerce(RUN.c.state, sa.Text)
    ended = sa.type_coerce(attempt.c.outcome, sa.Text)
    completed = state == State.completed.value
    return sa.case(
        (sa.and_(completed, used), USED),
        (sa.and_(sa.not_(state.in_([s.value for s in sorted(FINAL)])), reached), OPEN),
        (sa.and_(completed, here), DUPLICATE),
        (here, state),
        (ended == State.completed.value, RESTARTED),
        else_=ended,
    )


def _group(by: str | None) -> tuple[Any, Any]:
    """What to group by, under its name, and the tables that it is found in."""
    column: Any
    source: Any = RUN
    if by is None:
        column = sa.literal(None, sa.Text)
    elif by.startswith(TAG):
        column = RUN.c.tags[by.removeprefix(TAG)].as_string()
    elif by == "profile":
        column, source = ACCOUNT.c.profile, RUN.join(ACCOUNT, ACCOUNT.c.id == RUN.c.account_id)
    else:
        column = sa.type_coerce(RUN.c[by], sa.Text)
    return column.label(GROUP.name), source


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def look_seconds(connection: sa.Connection, since: datetime) -> tuple[int, float]:
    """Looks that were answered since this hour, and the seconds that they took."""
    statement = sa.select(
        sa.func.coalesce(sa.func.sum(USAGE.c.calls), 0),
        sa.func.coalesce(sa.func.sum(USAGE.c.latency_seconds), 0.0),
    ).where(
        USAGE.c.hour >= since,
        USAGE.c.operation == "observe",
        USAGE.c.outcome.in_((OK, UNCHANGED)),
    )
    calls, seconds = connection.execute(statement).one()
    return int(calls), float(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One upstream object that ended by itself, of a run with a verdict.

    `seconds` is how long it took, `delay` how much later we noticed; `looks` are those of the whole
    run, and stand with its first object alone. The delay is None for what we did not send.
    """

    run_id: int
    n: int
    account_id: int
    begun_at: datetime
    of: RunClass
    seconds: float
    delay: float | None
    looks: int


def ended_objects(connection: sa.Connection, window: Window, *, limit: int) -> list[Ended]:
    """The newest objects of the window's runs, at most `limit`, in the order of their runs."""
    statement = (
        sa.select(
            RUN.c.id,
            RUN.c.account_id,
            RUN.c.created_at,
            REMOTE.c.n,
            RUN.c.provider,
            RUN.c.model,
            RUN.c.assistant,
            RUN.c.kind,
            RUN.c.call_counts,
            *TIMED,
        )
        .select_from(RUN.join(REMOTE, REMOTE.c.run_id == RUN.c.id))
        .where(
            window.condition,
            RUN.c.finished_at.is_not(None),
            REMOTE.c.kind.in_(COUNTED),
            REMOTE.c.observed_at.is_not(None),
        )
        .order_by(RUN.c.created_at.desc(), RUN.c.id.desc(), REMOTE.c.n.desc())
        .limit(limit)
    )
    found: list[Ended] = []
    before: int | None = None
    for row in reversed(connection.execute(statement).all()):
        one = _ended(row, first=row.id != before)
        if one is not None:
            found.append(one)
            before = row.id
    return found


def _ended(row: Any, *, first: bool) -> Ended | None:
    seconds = lasted(row)
    if seconds is None:
        return None
    delay = None
    if row.sent_at is not None:
        delay = max((row.observed_at - row.sent_at).total_seconds() - seconds, 0.0)
    looks = [n for name, n in row.call_counts.items() if name.partition(".")[0] in LOOKS]
    return Ended(
        run_id=row.id,
        n=row.n,
        account_id=row.account_id,
        begun_at=row.sent_at or row.created_at,
        of=class_of(row.provider, row.model, row.assistant, row.kind),
        seconds=max(seconds, 0.0),
        delay=delay,
        looks=sum(looks) if first else 0,
    )
