"""Query terms into conditions over `run`: the one place that does. All values are bound."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from ledger.core.fingerprint import MESSAGE_MAX, spaced
from ledger.core.query import MOMENTS, WORDS, Term
from ledger.core.words import glob_of, regex_of
from ledger.store.facts import RUN
from ledger.store.queries import ACCOUNT
from ledger.store.rows import table_of
from ledger.store.tables import FingerprintRow, LedgerRow, TagRow

TAGS, PRINTS, LEDGER = table_of(TagRow), table_of(FingerprintRow), table_of(LedgerRow)
TAG_FIELD: Final = "tag."
LAST: Final = "\U0010ffff"
"""Sorts after every text that goes on after a prefix."""
COLUMNS: Final[dict[str, sa.Column[Any]]] = {
    "status": RUN.c.state,
    "provider": RUN.c.provider,
    "model": RUN.c.model,
    "assistant": RUN.c.assistant,
    "kind": RUN.c.kind,
    "error_code": RUN.c.error_code,
    "error_origin": RUN.c.error_origin,
    "fingerprint": RUN.c.fingerprint,
    "key": RUN.c.key,
}
NUMBERS: Final[dict[str, sa.Column[Any]]] = {
    "dur": RUN.c.took_seconds,
    "attempts": RUN.c.attempts,
    "calls": RUN.c.calls,
}
UNTIL: Final = ("until", "finished_until")
SIGNS: Final[dict[str, Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}


def matching(terms: Sequence[Term]) -> sa.ColumnElement[bool]:
    """That a row of `run` matches all terms."""
    return sa.and_(sa.true(), *(condition(term) for term in terms))


def condition(term: Term) -> sa.ColumnElement[bool]:
    """That a row of `run` matches a term."""
    found = positive(term)
    # NOT of an unknown is unknown in SQL; for people, a run without a model is not `model:x`.
    return sa.not_(sa.func.coalesce(found, sa.false())) if term.negated else found


def positive(term: Term) -> sa.ColumnElement[bool]:
    """A term's condition without its minus."""
    name = term.name
    if name in COLUMNS:
        return one_of(COLUMNS[name], term)
    if name in NUMBERS:
        number = NUMBERS[name]
        return sa.and_(sa.true(), *(SIGNS[sign](number, bound) for sign, bound in term.bounds))
    if name in MOMENTS:
        return _timed(term)
    if name.startswith(TAG_FIELD):
        return _tagged(term)
    if name == WORDS:
        return _said(term.values[0])
    if name == "profile":
        return RUN.c.account_id.in_(accounts_of(term))
    if name == "attention":
        return _flagged(term)
    return _truth(name, term.values[0] == "true")


def one_of(column: sa.ColumnElement[Any], term: Term) -> sa.ColumnElement[bool]:
    """That a column is one of a term's values, or begins with one of its prefixes."""
    plain = sa.type_coerce(column, sa.Text) if isinstance(column.type, sa.Enum) else column
    parts: list[Any] = [begins(plain, prefix) for prefix in term.prefixes]
    if len(term.values) == 1:
        parts.append(plain == term.values[0])
    elif term.values:
        parts.append(plain.in_(term.values))
    return sa.or_(*parts) if len(parts) > 1 else parts[0]


def accounts_of(term: Term) -> sa.Select[Any]:
    """The accounts of the profiles that a term names."""
    return sa.select(ACCOUNT.c.id).where(one_of(ACCOUNT.c.profile, term))


def tagged_runs(term: Term) -> sa.Select[Any]:
    """The runs that have a tag."""
    return sa.select(TAGS.c.run_id).where(
        TAGS.c.name == term.name.removeprefix(TAG_FIELD),
        one_of(TAGS.c.value, term),
    )


def _tagged(term: Term) -> sa.ColumnElement[bool]:
    # As a value and not as EXISTS, for which PostgreSQL may read all runs with the tag first.
    mine = (
        tagged_runs(term)
        .where(TAGS.c.run_id == RUN.c.id, TAGS.c.created_at == RUN.c.created_at)
        .correlate(RUN)
        .limit(1)
    )
    return mine.scalar_subquery().is_not(None)


def _said(word: str) -> sa.ColumnElement[bool]:
    return sa.or_(_has(RUN.c.error_message, word), RUN.c.fingerprint.in_(_named(word)))


def _has(column: sa.Column[Any], word: str) -> sa.ColumnElement[bool]:
    """That a text has a word in it, in any case of letters, as `said` of the core tells it."""
    if word.isascii():
        return column.icontains(word, autoescape=True)
    return Says(column, glob_of(word), regex_of(word))


def _named(word: str) -> sa.Select[Any]:
    """The fingerprints that a word stands for: their ids, and what they have in common."""
    return sa.select(PRINTS.c.id).where(sa.or_(PRINTS.c.id == word, _has(PRINTS.c.message, word)))


def telling(word: str) -> sa.Select[Any]:
    """The fingerprints of whose runs one may have a word in its message: where the masked message
    is whole and nothing in it is masked, all of them say just that."""
    whole = sa.and_(
        PRINTS.c.message.not_like("%<%"), sa.func.length(PRINTS.c.message) < MESSAGE_MAX
    )
    said = _has(PRINTS.c.message, spaced(word))
    return sa.select(PRINTS.c.id).where(sa.or_(PRINTS.c.id == word, said, sa.not_(whole)))


def fingerprints_of(connection: sa.Connection, word: str) -> frozenset[str]:
    """The fingerprints that a word stands for."""
    return frozenset(connection.execute(_named(word)).scalars())


def _timed(term: Term) -> sa.ColumnElement[bool]:
    column = RUN.c.finished_at if term.name.startswith("finished") else RUN.c.created_at
    return column < term.moment if term.name in UNTIL else column >= term.moment


def _flagged(term: Term) -> sa.ColumnElement[bool]:
    if term.values == ("true",):
        return RUN.c.needs_attention.is_not(None)
    if term.values == ("false",):
        return RUN.c.needs_attention.is_(None)
    return sa.type_coerce(RUN.c.needs_attention, sa.Text).in_(term.values)


def _truth(name: str, wanted: bool) -> sa.ColumnElement[bool]:
    since = RUN.c.pinned_at if name == "pinned" else RUN.c.imported_at
    return since.is_not(None) if wanted else since.is_(None)


def begins(column: sa.ColumnElement[Any], prefix: str) -> sa.ColumnElement[bool]:
    """That a text begins with a prefix, as an index has it."""
    return sa.and_(bytewise(column, ">=", prefix), bytewise(column, "<", prefix + LAST))


def bytewise(column: sa.ColumnElement[Any], sign: str, text: str) -> sa.ColumnElement[bool]:
    """Two texts compared by their bytes: so SQLite does, and so PostgreSQL's indexes are made."""
    if isinstance(column, sa.Column) and column.table is TAGS:
        # Its own order is that of bytes, and its index an ordinary one.
        own: sa.ColumnElement[bool] = SIGNS[sign](column, text)
        return own
    value = sa.bindparam(None, text, sa.Text(), unique=True)
    return Bytewise(column, value, SIGNS[sign], type_=sa.Boolean())


class Bytewise(sa.BinaryExpression[bool]):
    """A comparison that PostgreSQL has an operator of its own for."""

    inherit_cache = True


class Says(sa.sql.functions.FunctionElement[bool]):
    """That a text matches a pattern: its arguments are the text, and what either database reads."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(Says)
def _says(element: Says, compiler: Any, **options: Any) -> str:
    text, glob, _ = (compiler.process(part, **options) for part in element.clauses)
    return f"({text} GLOB {glob})"


@compiles(Says, "postgresql")
def _says_postgres(element: Says, compiler: Any, **options: Any) -> str:
    text, _, regex = (compiler.process(part, **options) for part in element.clauses)
    return f"({text} ~ {regex})"


class ByteOrder(sa.ColumnElement[Any]):
    """A text as what rows are ordered by, in the order of its bytes."""

    inherit_cache = False

    def __init__(self, column: sa.Column[Any]) -> None:
        self.column = column
        self.own = column.table is TAGS


@compiles(Bytewise)
def _bytewise(element: Bytewise, compiler: Any, **options: Any) -> str:
    return str(compiler.visit_binary(element, **options))


@compiles(Bytewise, "postgresql")
def _bytewise_postgres(element: Bytewise, compiler: Any, **options: Any) -> str:
    sign = next(sign for sign, made in SIGNS.items() if made is element.operator)
    left, right = (compiler.process(part, **options) for part in (element.left, element.right))
    return f"{left} ~{sign}~ {right}"


@compiles(ByteOrder)
def _order(element: ByteOrder, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(ByteOrder, "postgresql")
def _order_postgres(element: ByteOrder, compiler: Any, **options: Any) -> str:
    using = "" if element.own else " USING ~<~"
    return str(compiler.process(element.column, **options)) + using
