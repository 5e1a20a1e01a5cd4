"""What the terms of a query can find by themselves, each along its index."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.core.query import WORDS, Term
from ledger.store.direct import listed
from ledger.store.facts import RUN
from ledger.store.search import (
    COLUMNS,
    LAST,
    NUMBERS,
    TAG_FIELD,
    TAGS,
    UNTIL,
    ByteOrder,
    accounts_of,
    bytewise,
    one_of,
    positive,
    tagged_runs,
    telling,
)

Condition = sa.ColumnElement[bool]
WALKS_MAX: Final = 16
"""So many values are walked along one by one, and merged."""
UNNAMED_MAX: Final = 1_000
INDEXED: Final = {"attempts": (2, "run.attempts > 1"), "calls": (10, "run.calls > 9")}
"""The least numbers that are in a partial index, and its condition."""
FLAGS: Final[dict[str, Condition]] = {
    "attention": RUN.c.needs_attention.is_not(None),
    "pinned": RUN.c.pinned_at.is_not(None),
    "imported": RUN.c.imported_at.is_not(None),
    WORDS: sa.or_(RUN.c.error_message.is_not(None), RUN.c.fingerprint.is_not(None)),
}
"""Conditions that have a partial index of their own, which holds all that a term may find."""
UNNAMED: Final = sa.text("run.fingerprint IS NULL AND length(run.error_message) >= 0")
"""What was said, and has no fingerprint to be found by; as its partial index has it."""
BROAD: Final = ("kind", "model", "profile", "provider", "status")
FINISHED: Final = ("finished_since", "finished_until")
EVERYTHING: Final = sa.true()


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """An index that has runs in the order of lists: of `run`, or of a tag."""

    where: Condition = EVERYTHING
    tag: bool = False

    @property
    def source(self) -> sa.FromClause:
        """What is read: the table of tags leads to the run."""
        return TAGS.join(RUN, RUN.c.id == TAGS.c.run_id) if self.tag else RUN

    @property
    def created_at(self) -> sa.Column[Any]:
        """The first column of the order."""
        return TAGS.c.created_at if self.tag else RUN.c.created_at

    @property
    def run_id(self) -> sa.Column[Any]:
        """The second column of the order."""
        return TAGS.c.run_id if self.tag else RUN.c.id

    def during(self, window: Window) -> Condition:
        """That the run was created within a window."""
        return window(self.created_at)


Window = Callable[[sa.Column[Any]], Condition]


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """A condition by which runs can be found, and the walks that have them in order."""

    where: Condition
    walks: tuple[Walk, ...] = ()
    tags: sa.Select[Any] | None = None
    parts: tuple[Condition, ...] = ()
    """What it comes apart in, where it says more than an index knows."""

    def ids(self, window: Window) -> sa.Select[Any]:
        """The runs that it leaves within a window."""
        if self.tags is not None:
            return self.tags.where(window(TAGS.c.created_at))
        within = sa.select(RUN.c.id).where(window(RUN.c.created_at))
        if self.parts:
            return sa.select(sa.union_all(*map(within.where, self.parts)).subquery().c.id)
        return within.where(self.where)


def window_of(terms: Sequence[Term]) -> Window:
    """The times of creation that are possible: what has finished by then was created before."""
    wanted = [term for term in terms if not term.negated]

    def window(column: sa.Column[Any]) -> Condition:
        after = [column >= term.moment for term in wanted if term.name == "since"]
        return sa.and_(
            sa.true(), *after, *(column < term.moment for term in wanted if term.name in UNTIL)
        )

    return window


def leads_of(connection: sa.Connection, terms: Sequence[Term]) -> list[Lead]:
    """What can be found by the terms, the broadest last; those with a minus, and some others, find
    nothing."""
    wanted = [term for term in terms if not term.negated]
    wanted.sort(key=lambda term: 1 + BROAD.index(term.name) if term.name in BROAD else 0)
    leads = [lead for term in wanted if (lead := _lead(connection, term)) is not None]
    finished = [positive(term) for term in wanted if term.name in FINISHED]
    if finished:
        leads.append(Lead(sa.and_(RUN.c.finished_at.is_not(None), *finished)))
    return leads


def _lead(connection: sa.Connection, term: Term) -> Lead | None:
    name = term.name
    if name.startswith(TAG_FIELD):
        return _tag_lead(connection, term)
    if name in COLUMNS:
        return Lead(positive(term), _each(connection, term))
    if name == "profile":
        ids = connection.execute(accounts_of(term)).scalars().all()
        walks = tuple(Walk(RUN.c.account_id == one) for one in ids)
        return Lead(RUN.c.account_id.in_(ids), walks if len(walks) <= WALKS_MAX else ())
    if name in NUMBERS:
        where = _indexed(term)
        return None if where is None else Lead(where)
    if name == WORDS:
        return _said_lead(connection, term.values[0])
    if name in FLAGS and term.values != ("false",):
        return Lead(FLAGS[name], (Walk(FLAGS[name]),))
    return None


def _tag_lead(connection: sa.Connection, term: Term) -> Lead:
    runs = tagged_runs(term)
    named = TAGS.c.name == term.name.removeprefix(TAG_FIELD)
    values = _values(connection, TAGS.c.value, term, named)
    walks = tuple(Walk(sa.and_(named, TAGS.c.value == value), tag=True) for value in values)
    return Lead(RUN.c.id.in_(runs), walks, runs)


def _said_lead(connection: sa.Connection, word: str) -> Lead:
    """Messages are many, and the fingerprints that they share few."""
    said = FLAGS[WORDS]
    marks = connection.execute(telling(word).limit(WALKS_MAX + 1)).scalars().all()
    unnamed = sa.select(RUN.c.id).where(UNNAMED).limit(UNNAMED_MAX + 1)
    ids = connection.execute(unnamed).scalars().all()
    if len(marks) > WALKS_MAX or len(ids) > UNNAMED_MAX:
        return Lead(said, (Walk(said),))
    others = among_ids(connection.dialect.name, RUN.c.id, ids)
    parts = (others, *(RUN.c.fingerprint == mark for mark in marks))
    return Lead(said, tuple(map(Walk, parts)), parts=parts)


def _each(connection: sa.Connection, term: Term) -> tuple[Walk, ...]:
    """A walk for each value; none where a unique key leaves nothing to walk."""
    if term.name == "key":
        return ()
    column = COLUMNS[term.name]
    values = _values(connection, column, term, sa.true())
    return tuple(Walk(one_of(column, Term(name=term.name, values=(v,)))) for v in values)


def _values(
    connection: sa.Connection, column: sa.Column[Any], term: Term, where: Condition
) -> tuple[str, ...]:
    """All values that a term may find; none where they are too many.

    What begins with a prefix is found by leaping through the index from each value to the next.
    """
    values = dict.fromkeys(term.values)
    for prefix in term.prefixes:
        # One lower bound at a time: SQLite goes to the first of two, and reads on from there.
        low, high = bytewise(column, ">=", prefix), bytewise(column, "<", prefix + LAST)
        while len(values) <= WALKS_MAX:
            leap = sa.select(column).where(where, low, high).order_by(ByteOrder(column)).limit(1)
            found = connection.execute(leap).scalar()
            if found is None:
                break
            values[found] = None
            low = bytewise(column, ">", found)
    return tuple(values) if len(values) <= WALKS_MAX else ()


def _indexed(term: Term) -> Condition | None:
    """The condition as its partial index has it, None where the index leaves some of it out."""
    least = INDEXED.get(term.name)
    if least is None:
        return positive(term)
    number, predicate = least
    low = max((_least(sign, bound) for sign, bound in term.bounds), default=0.0)
    return sa.and_(positive(term), sa.text(predicate)) if low >= number else None


def _least(sign: str, bound: float) -> float:
    """The least whole number that a bound allows."""
    return {">": bound + 1, ">=": bound, "=": bound}.get(sign, 0.0)


def hidden(where: Condition) -> Condition:
    """The same condition as something no planner uses an index for; each part of it by itself, or
    SQLite would look at all of them where the first is not met."""
    if isinstance(where, sa.BooleanClauseList) and where.operator is operator.and_:
        return sa.and_(*map(hidden, where.clauses))
    return sa.func.coalesce(where, sa.false())


def among_ids(dialect: str, column: sa.Column[Any], ids: Sequence[int | str]) -> Condition:
    """That a column is one of these, bound as one parameter."""
    if dialect == "sqlite":
        each = sa.func.json_each(listed(dialect, ids)).table_valued("value", name="chosen")
        return column.in_(sa.select(each.c.value))
    kind: ARRAY[Any] = ARRAY(column.type)
    given: sa.BindParameter[Any]
    if isinstance(column.type, sa.Integer):
        # As the text of an array, which the driver need not look through; with no type, or the
        # server would convert it for each row.
        given = sa.bindparam(None, f"{{{','.join(map(str, ids))}}}", sa.types.NullType())
    else:
        given = sa.bindparam(None, value=list(ids), type_=kind)
    return column == sa.any_(sa.cast(given, kind))
