"""SQL that tools give us, judged before it is run: one plain statement, on one table by name.

The judgement is strict rather than clever: what could be read in two ways is refused. It is the
first of two fences; the database itself is asked in `effects`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ledger.core.model import Scalar, Write
from ledger.errors import InvalidInput

WRITES_MAX: Final = 100
SQL_CHARS_MAX: Final = 16_384
"""Of one statement; all statements of a call together may have twice as many."""
PARAMETER_BYTES_MAX: Final = 1_048_576
"""Of all statements of a call together."""
INTEGER_MAX: Final = 2**63 - 1
FORBIDDEN: Final = {
    "\x00": "NUL",
    "\\": "a backslash",
    ";": "a semicolon",
    "--": "a comment",
    "/*": "a comment",
    "`": "a backquote",
}
DOLLAR: Final = re.compile(r"\$\w*\$")
TOKEN: Final = re.compile(
    r"(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")+\")"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[^'\"])",
    re.ASCII,
)
CHANGING: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
BEFORE_TARGET: Final = {"INSERT": "INTO", "DELETE": "FROM"}
NO_NAME: Final = frozenset({"OR", "ONLY", "TABLE", "INTO", "FROM", "SET", "AS"})


class Token(NamedTuple):
    """A word in upper case, a quoted name as it is meant, or one character; and its depth."""

    kind: str
    value: str
    depth: int
    raw: str


def judge_write(
    sql: str, params: Mapping[str, Scalar] | None, expect_rows: int | None, known: tuple[Write, ...]
) -> Write:
    """The statement as it will be executed after the `known` ones. Raises InvalidInput."""
    if len(known) >= WRITES_MAX:
        raise InvalidInput(f"more than {WRITES_MAX} statements in one call")
    target(sql)
    pairs = judge_parameters(sql, params)
    whole = [*known, made := Write(sql=sql, params=pairs, expect_rows=_count(expect_rows))]
    if sum(len(write.sql) for write in whole) > 2 * SQL_CHARS_MAX:
        raise InvalidInput(f"the statements have more than {2 * SQL_CHARS_MAX} characters")
    if sum(_size(value) for write in whole for _, value in write.params) > PARAMETER_BYTES_MAX:
        raise InvalidInput(f"the parameters have more than {PARAMETER_BYTES_MAX} bytes")
    return made


def judge_query(sql: str, params: Mapping[str, Scalar] | None) -> dict[str, Scalar]:
    """The parameters of a statement that reads. Raises InvalidInput."""
    words = [token for token in _tokens(sql) if token.kind != "mark" or token.value != "("]
    if not words or words[0].kind != "word" or words[0].value not in ("SELECT", "WITH", "VALUES"):
        raise InvalidInput("a query begins with SELECT, WITH or VALUES")
    return dict(judge_parameters(sql, params))


def target(sql: str) -> tuple[str, ...]:
    """The name, perhaps with a schema, of the table that a statement changes, as the database
    folds it. Raises InvalidInput for anything but one INSERT, UPDATE or DELETE."""
    tokens = _tokens(sql)
    main = _main(tokens)
    for place, token in enumerate(tokens):
        if token.depth and token.kind == "word" and _changes(tokens, place):
            raise InvalidInput(f"{token.value} within another statement is not allowed")
        if token.kind == "word" and token.value == "RETURNING":
            raise InvalidInput("RETURNING is not allowed: what it returns would reach nobody")
    after = main + 1
    introduced = BEFORE_TARGET.get(tokens[main].value)
    if introduced is not None:
        if not (after < len(tokens) and tokens[after][:2] == ("word", introduced)):
            raise InvalidInput(f"{tokens[main].value} must be followed by {introduced}")
        after += 1
    return _name(tokens[after:])


def _main(tokens: list[Token]) -> int:
    """The place of the statement's own keyword, behind its WITH if it has one."""
    first = tokens[0] if tokens else None
    if first is not None and first.kind == "word":
        if first.value in CHANGING - {"MERGE"}:
            return 0
        places = range(1, len(tokens)) if first.value == "WITH" else ()
        for place in places:
            outside = tokens[place].kind == "word" and tokens[place].depth == 0
            if outside and _changes(tokens, place):
                return place
    raise InvalidInput("a statement is an INSERT, UPDATE or DELETE, perhaps behind a WITH")


def _changes(tokens: list[Token], place: int) -> bool:
    """Whether the word there begins a change, and is no FOR UPDATE."""
    locking = place > 0 and tokens[place - 1][:2] in (("word", "FOR"), ("word", "KEY"))
    return tokens[place].value in CHANGING and not locking


def _name(tokens: list[Token]) -> tuple[str, ...]:
    parts: list[str] = []
    for place in (0, 2):
        if place >= len(tokens) or tokens[place].kind not in ("word", "quoted"):
            break
        token = tokens[place]
        if token.kind == "word" and token.value in NO_NAME:
            break
        parts.append(token.value.lower() if token.kind == "word" else token.value)
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        if following is None or following.kind == "word" or following.value == "(":
            return tuple(parts)
        if following.value != ".":
            break
    raise InvalidInput("the table must be named plainly, as in: UPDATE stock, or: UPDATE app.stock")


def _tokens(sql: str) -> list[Token]:
    if not isinstance(sql, str) or not sql.strip():
        raise InvalidInput("a statement is a text")
    if len(sql) > SQL_CHARS_MAX:
        raise InvalidInput(f"the statement is longer than {SQL_CHARS_MAX} characters")
    for mark, name in FORBIDDEN.items():
        if mark in sql:
            raise InvalidInput(f"{name} is not allowed in a statement: pass values as :parameters")
    if DOLLAR.search(sql):
        raise InvalidInput("a dollar quote is not allowed: pass values as :parameters")
    found, depth, place = [], 0, 0
    while place < len(sql):
        match = TOKEN.match(sql, place)
        if match is None or (match.lastgroup == "mark" and not match[0].isascii()):
            raise InvalidInput(f"the statement cannot be read at character {place + 1}")
        place, kind, raw = match.end(), str(match.lastgroup), match[0]
        depth -= raw == ")"
        if kind != "space":
            found.append(Token(kind, _value(kind, raw), depth, raw))
        depth += raw == "("
    return found


def _value(kind: str, raw: str) -> str:
    if kind == "word":
        return raw.upper()
    return raw[1:-1].replace('""', '"') if kind == "quoted" else raw


def judge_parameters(
    sql: str, params: Mapping[str, Scalar] | None
) -> tuple[tuple[str, Scalar], ...]:
    """The values for exactly the `:name` marks of the statement. Raises InvalidInput."""
    given: Mapping[str, Any] = {} if params is None else params
    if not isinstance(given, Mapping):
        raise InvalidInput("parameters are given by name, as in {'id': 7}")
    marks = set(sa.text(sql).compile().params)
    if marks != set(given):
        wrong = ", ".join(sorted(map(str, marks ^ set(given))))
        raise InvalidInput(f"parameters and marks differ: {wrong}")
    for name, value in given.items():
        _judge_value(name, value)
    return tuple(given.items())


def _judge_value(name: str, value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"parameter {name!r} holds half of a surrogate pair") from None
        if "\x00" in value:
            raise InvalidInput(f"parameter {name!r} holds a NUL")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"parameter {name!r} is {value}, which is no number")
    elif isinstance(value, int) and abs(value) > INTEGER_MAX:
        raise InvalidInput(f"parameter {name!r} is larger than a database's integers")
    elif not (value is None or isinstance(value, int | float | bytes)):
        kind = type(value).__name__
        raise InvalidInput(f"parameter {name!r} is a {kind}; give text, a number, bytes or None")


def _size(value: Scalar) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 8


def _count(expect_rows: int | None) -> int | None:
    whole = isinstance(expect_rows, int) and not isinstance(expect_rows, bool)
    if expect_rows is not None and not (whole and 0 <= expect_rows <= INTEGER_MAX):
        raise InvalidInput(f"expect_rows must be a count, not {expect_rows!r}")
    return expect_rows
