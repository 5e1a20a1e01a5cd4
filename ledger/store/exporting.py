"""Runs as lines of an export, a page at a time: each run as one transaction sees it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ledger.core.export_format import END, PARTS, TOMBSTONE, line
from ledger.core.export_format import RUN as RUN_LINE
from ledger.core.query import Term
from ledger.store.commit import failed
from ledger.store.facts import ATTEMPT, RUN
from ledger.store.failures import FINGERPRINT
from ledger.store.queries import ACCOUNT
from ledger.store.rows import is_time
from ledger.store.seals import LEAF
from ledger.store.search import matching
from ledger.store.tables import Table
from ledger.store.tombs import TOMBSTONE as STONE

if TYPE_CHECKING:
    from ledger.store.store import Store

ORDER: Final = {
    "attempt": "number",
    "remote": "n",
    "tool_call": "n",
    "event": "seq",
    "payload": "n",
    "evidence": "id",
}
LOCAL: Final = {
    "run": {"id", "account_id", "version", "sealed_seq", "evidence_seen"},
    "event": {"id", "run_id", "txid"},
    "evidence": {"id", "run_id", "account_id"},
    "remote": {"run_id", "account_id"},
}
"""Columns that mean something in this database alone."""
FAILURE_FIELDS: Final = (
    "provider", "origin", "code", "http_status", "incomplete_reason", "tool", "message",
)  # fmt: skip
ROWS: Final = 200
BODIES: Final = 20
Encode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Group:
    """One run. Its lines have to be taken before the next group is asked for."""

    run: int
    version: int
    events: int
    lines: Iterator[bytes]


@contextmanager
def page(store: Store) -> Iterator[sa.Connection]:
    """One transaction to read in. Raises DatabaseError."""
    try:
        with store.reading() as connection:
            yield connection
    except sa.exc.DBAPIError as error:
        raise failed(store.engine.url, error) from error


def last_run(connection: sa.Connection) -> int:
    """The highest number of a run, be it pruned or not."""
    highest = (sa.select(sa.func.max(number)) for number in (RUN.c.id, STONE.c.run_id))
    return max(int(connection.execute(one).scalar() or 0) for one in highest)


def matching_ids(
    connection: sa.Connection, terms: Sequence[Term], *, after: int, through: int, limit: int
) -> list[int]:
    """The next runs that match, in the order of their numbers."""
    between = (RUN.c.id > after, RUN.c.id <= through)
    statement = sa.select(RUN.c.id).where(*between, matching(terms)).order_by(RUN.c.id)
    return [int(row[0]) for row in connection.execute(statement.limit(limit))]


def groups(connection: sa.Connection, ids: Sequence[int]) -> Iterator[Group]:
    """These runs, as far as they are there."""
    accounts = {row.id: _account(row) for row in connection.execute(sa.select(ACCOUNT))}
    seals = _seals(connection, ids)
    parts = {name: _Part(connection, name, ids) for name in PARTS}
    failures = _failures(connection, ids)
    for row in connection.execute(sa.select(RUN).where(RUN.c.id.in_(ids)).order_by(RUN.c.id)):
        lines = _lines(row, parts, accounts, failures, seals.get(row.id, {}))
        yield Group(row.id, row.version, row.event_seq, lines)


def tombstone_lines(
    connection: sa.Connection, *, after: int, through: int, limit: int
) -> list[tuple[int, bytes]]:
    """The next tombstones, each with its run's number, in the order of those."""
    number = STONE.c.run_id
    between = sa.select(STONE).where(number > after, number <= through)
    rows = connection.execute(between.order_by(number).limit(limit))
    return [(row.run_id, line(TOMBSTONE, _columns(TOMBSTONE, row), run=row.run_id)) for row in rows]


def _columns(name: str, item: Any) -> dict[str, Any]:
    return {column: encode(getattr(item, column)) for column, encode in _ENCODERS[name].items()}


def _lines(
    row: Any,
    parts: dict[str, _Part],
    accounts: dict[int, Any],
    failures: dict[str, Any],
    seals: dict[int, int],
) -> Iterator[bytes]:
    fields = _columns(RUN_LINE, row)
    yield line(RUN_LINE, fields | {"account": accounts[row.account_id]}, run=row.id)
    for name, part in parts.items():
        for item in part.of(row.id):
            fields = _fields(name, item, row, accounts)
            if name == "attempt":
                # What an erased run said is not to travel, even where another run said the same.
                kept = row.erased_at is None
                fields["failure"] = failures.get(item.fingerprint) if kept else None
            yield line(name, fields, run=row.id)
    end = {
        "origin_ledger": row.origin_ledger,
        "origin_run": row.origin_run,
        "events": row.event_seq,
        "head": bytes(row.head_hash).hex(),
        "seal": seals.get(row.event_seq),
    }
    yield line(END, end, run=row.id)


def _fields(name: str, item: Any, run: Any, accounts: dict[int, Any]) -> dict[str, Any]:
    fields = _columns(name, item)
    if name in ("payload", "evidence"):
        fields |= _body(fields.pop("body"))
    if name == "evidence":
        fields["seen"] = item.id <= run.evidence_seen
    if name == "remote":
        fields["account"] = accounts[item.account_id]
    return fields


def _body(body: bytes | None) -> dict[str, Any]:
    """Bytes as text where they are text; erased ones as nothing."""
    if body is None:
        return {}
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


class _Part:
    """The rows of one table that belong to runs, read side by side with those of others."""

    def __init__(self, connection: sa.Connection, name: str, ids: Sequence[int]) -> None:
        table = Table.metadata.tables[name]
        size = BODIES if "body" in table.columns else ROWS
        statement = sa.select(table).where(table.c.run_id.in_(ids))
        ordered = statement.order_by(table.c.run_id, table.c[ORDER[name]])
        self._rows = iter(connection.execute(ordered.execution_options(yield_per=size)))
        self._next = next(self._rows, None)

    def of(self, run_id: int) -> Iterator[Any]:
        """The rows of this run; those of earlier ones are passed over."""
        while self._next is not None and self._next.run_id <= run_id:
            row, self._next = self._next, next(self._rows, None)
            if row.run_id == run_id:
                yield row


def _failures(connection: sa.Connection, ids: Sequence[int]) -> dict[str, Any]:
    """What the fingerprints of these runs' attempts are made of."""
    named = sa.select(ATTEMPT.c.fingerprint).where(ATTEMPT.c.run_id.in_(ids))
    rows = connection.execute(sa.select(FINGERPRINT).where(FINGERPRINT.c.id.in_(named)))
    return {row.id: {name: getattr(row, name) for name in FAILURE_FIELDS} for row in rows}


def _account(row: Any) -> dict[str, str]:
    return {name: getattr(row, name) for name in ACCOUNT_FIELDS}


ACCOUNT_FIELDS: Final = ("provider", "base_url", "project", "fingerprint", "profile")


def _seals(connection: sa.Connection, ids: Sequence[int]) -> dict[int, dict[int, int]]:
    """For each run, the seals that cover it, by the last event that each covers."""
    found: dict[int, dict[int, int]] = {}
    statement = sa.select(LEAF.c.run_id, LEAF.c.seq, LEAF.c.seal).where(LEAF.c.run_id.in_(ids))
    for run, seq, seal in connection.execute(statement):
        found.setdefault(run, {})[seq] = seal
    return found


def _hex(value: Any) -> str | None:
    return None if value is None else bytes(value).hex()


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _time(value: Any) -> str | None:
    return None if value is None else value.isoformat()


def _same(value: Any) -> Any:
    return value


def _encoder(column: sa.Column[Any]) -> Encode:
    if isinstance(column.type, sa.LargeBinary):
        return _bytes if column.name == "body" else _hex
    return _time if is_time(column.type) else _same


def _encoders(name: str) -> dict[str, Encode]:
    left_out = LOCAL.get(name, {"run_id"})
    columns = Table.metadata.tables[name].columns
    return {column.name: _encoder(column) for column in columns if column.name not in left_out}


_ENCODERS: Final = {name: _encoders(name) for name in (RUN_LINE, *PARTS, TOMBSTONE)}
