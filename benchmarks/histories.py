"""A large ledger in minutes: the runs of one simulated night again and again, each with its own id,
key and times, and a hash chain and seals of its own.

Whatever columns the tables have come along, since rows are copied whole; what belongs to one run
alone is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from benchmarks.targets import PostgresTarget, Row, SqliteTarget
from ledger.core.alphabet import EventKind, Source, State, Trigger
from ledger.core.hashing import event_hash, genesis, payload_digest
from ledger.core.merkle import MerkleTree, leaf_hash, seal_genesis, seal_hash
from ledger.core.model import EventDraft
from ledger.fuzzing.nights import BAD, Night, play_night
from ledger.store.rows import is_time
from ledger.store.store import Store
from ledger.store.tables import Table

TEMPLATE: Final = Night(
    seed=BAD.seed,
    hours=0.4,
    runs=96,
    usual_share=0.06,
    ill_model=BAD.ill_model,
    storm=(0.1, 0.11),
    slow_tool=(0.0, 0.4),
)
"""Short, since each virtual hour is work: still about eight events a run, webhooks and failures."""
TABLES: Final = ("run", "tag", "attempt", "remote", "tool_call", "payload", "event", "evidence")
SHARED: Final = ("account", "fingerprint")
OWN_TEXT: Final = {"key", "remote_id", "request_id"}
"""Texts that no two runs share: the number of the copy is put behind them."""
BATCH_RUNS: Final = 2_000


@dataclass(slots=True)
class Shape:
    """One row of the template: what stays, and the places of what does not."""

    values: Row
    times: list[tuple[int, datetime]]
    texts: list[int]
    run: int
    draft: EventDraft | None = None
    digests: list[tuple[str, bytes]] = field(default_factory=list)
    base: tuple[datetime, datetime | None] | None = None
    told: tuple[int, bytes] | None = None
    """The detail that names a delivery, by the number of its payload, and the name in it."""


@dataclass(slots=True)
class Sheet:
    """One table: its columns, and for each run of the template its rows."""

    name: str
    columns: list[str]
    by_run: dict[int, list[Shape]]

    def place(self, name: str) -> int:
        """Where a column stands."""
        return self.columns.index(name)


def load(url: str, runs: int, *, until: datetime, days: float) -> None:
    """Fill an empty database with `runs` runs, handed over evenly in the `days` before `until`."""
    with contextlib.closing(sqlite3.connect(":memory:")) as source:
        source.deserialize(_night())
        _copy(url, source, runs, until, days)


@functools.cache
def _night() -> bytes:
    """The template, played once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "night.db"
        truth = play_night(TEMPLATE, path)
        assert not truth.problems, truth.problems
        with contextlib.closing(sqlite3.connect(path)) as source:
            # One in memory cannot have a log beside it.
            source.execute("PRAGMA journal_mode = DELETE")
            return source.serialize()


def _copy(url: str, source: sqlite3.Connection, runs: int, until: datetime, days: float) -> None:
    store = Store.open(url)
    ledger = store.ledger_id
    store.close()
    target = SqliteTarget(url) if url.startswith("sqlite") else PostgresTarget(url)
    sheets = [_sheet(source, name) for name in TABLES if name in Table.metadata.tables]
    for name in SHARED:
        columns = [c.name for c in Table.metadata.tables[name].columns]
        rows = source.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall()
        target.insert(name, columns, [list(row) for row in rows])
    for rows_by_table in _Copier(sheets, ledger, runs, until, days).batches():
        for name, columns, rows in rows_by_table:
            target.insert(name, columns, rows)
        target.commit()
    target.finish()


def _sheet(source: sqlite3.Connection, name: str) -> Sheet:
    table = Table.metadata.tables[name]
    # Local row ids are given by the database.
    columns = [c.name for c in table.columns if c.name != "id" or name == "run"]
    key = "id" if name == "run" else "run_id"
    order = ", ".join(c.name for c in table.primary_key) or "rowid"
    listed = ", ".join(f'"{column}"' for column in columns)
    found: dict[int, list[Shape]] = defaultdict(list)
    digests = _digests(source) if name == "event" else {}
    for row in source.execute(f'SELECT {listed} FROM "{name}" ORDER BY {order}'):
        found[row[columns.index(key)]].append(_shape(name, columns, table, list(row), digests))
    return Sheet(name, columns, found)


def _digests(source: sqlite3.Connection) -> dict[tuple[int, int], bytes]:
    return {(run, n): d for run, n, d in source.execute("SELECT run_id, n, digest FROM payload")}


def _shape(
    name: str,
    columns: list[str],
    table: sa.Table,
    row: Row,
    digests: dict[tuple[int, int], bytes],
) -> Shape:
    times = [
        (place, datetime.fromisoformat(row[place]).replace(tzinfo=UTC))
        for place, column in enumerate(columns)
        if row[place] is not None and is_time(table.columns[column].type)
    ]
    texts = [
        place
        for place, column in enumerate(columns)
        if row[place] is not None and column in OWN_TEXT and name != "tag"
    ]
    shape = Shape(row, times, texts, columns.index("id" if name == "run" else "run_id"))
    if name == "event":
        _as_event(shape, columns, digests)
    return shape


def _as_event(shape: Shape, columns: list[str], digests: dict[tuple[int, int], bytes]) -> None:
    told = dict(zip(columns, shape.values, strict=True))
    at = dict(shape.times)
    pairs = json.loads(told["payloads"]) if told["payloads"] else []
    shape.digests = [(role, digests[told["run_id"], n]) for role, n in pairs]
    recorded = at[columns.index("recorded_at")]
    remote = at.get(columns.index("remote_at"))
    shape.base = (recorded, remote)
    if told["kind"] == EventKind.notified:
        detail = next(n for role, n in pairs if role == "detail")
        shape.told = (detail, json.loads(told["detail"])["webhook_id"].encode())
    shape.draft = EventDraft(
        kind=EventKind(told["kind"]),
        source=Source(told["source"]),
        actor=told["actor"],
        recorded_at=recorded,
        attempt=told["attempt"],
        remote=told["remote"],
        from_state=State(told["from_state"]) if told["from_state"] else None,
        trigger=Trigger(told["trigger"]) if told["trigger"] else None,
        to_state=State(told["to_state"]) if told["to_state"] else None,
        remote_at=remote,
        remote_at_source=told["remote_at_source"],
        remote_status=told["remote_status"],
        request_id=told["request_id"],
        error_code=told["error_code"],
    )


def _salted(sheet: Sheet) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Salt and bytes of the payloads of the template, by run and number."""
    n, salt, body = (sheet.place(name) for name in ("n", "salt", "body"))
    return {
        (run, shape.values[n]): (shape.values[salt], shape.values[body])
        for run, shapes in sheet.by_run.items()
        for shape in shapes
    }


def _stored(at: datetime) -> str:
    """A time as SQLite has it, with all six places also where they are noughts."""
    return at.isoformat(" ", "microseconds")[:26]


class _Copier:
    """Makes the rows of copies."""

    def __init__(
        self, sheets: Sequence[Sheet], ledger: str, runs: int, until: datetime, days: float
    ) -> None:
        self._sheets, self._ledger, self._runs = sheets, ledger, runs
        self._step = timedelta(days=days) / max(runs, 1)
        self._begin = until - timedelta(days=days)
        runs_sheet = sheets[0]
        self._templates = sorted(runs_sheet.by_run)
        created = runs_sheet.place("created_at")
        self._created = {
            run: dict(shapes[0].times)[created] for run, shapes in runs_sheet.by_run.items()
        }
        self._salted = _salted(next(sheet for sheet in sheets if sheet.name == "payload"))
        self._seal, self._previous = 0, seal_genesis(ledger)

    def batches(self) -> Iterator[list[tuple[str, list[str], list[Row]]]]:
        """Rows by table, in the order in which they refer to each other."""
        for first in range(1, self._runs + 1, BATCH_RUNS):
            numbers = range(first, min(first + BATCH_RUNS, self._runs + 1))
            rows: dict[str, list[Row]] = {sheet.name: [] for sheet in self._sheets}
            leaves: list[tuple[int, int, bytes]] = []
            for number in numbers:
                leaves.append(self._run(number, rows))
            made = [(sheet.name, sheet.columns, rows[sheet.name]) for sheet in self._sheets]
            yield [*made, *self._sealed(leaves)]

    def _run(self, number: int, rows: dict[str, list[Row]]) -> tuple[int, int, bytes]:
        template = self._templates[number % len(self._templates)]
        shift = self._begin + (number - 1) * self._step - self._created[template]
        suffix = f"-{number}"
        seq, head = 0, genesis(self._ledger, number)
        details: dict[int, tuple[bytes, bytes]] = {}
        for sheet in reversed(self._sheets):
            # Events before runs: a run's row names the newest of them.
            for shape in sheet.by_run.get(template, ()):
                row = shape.values.copy()
                row[shape.run] = number
                for place, time in shape.times:
                    row[place] = _stored(time + shift)
                for place in shape.texts:
                    row[place] += suffix
                if shape.draft is not None:
                    seq += 1
                    if shape.told is not None:
                        details[shape.told[0]] = self._detail(sheet, row, shape, template, suffix)
                    previous, head = (
                        head,
                        self._hash(shape, number, seq, shift, head, suffix, details),
                    )
                    row[sheet.place("prev_hash")], row[sheet.place("hash")] = previous, head
                elif sheet.name == "payload" and row[sheet.place("n")] in details:
                    made = details[row[sheet.place("n")]]
                    row[sheet.place("body")], row[sheet.place("digest")] = made
                elif sheet.name == "remote":
                    tried = row[sheet.place("marker")].split(":", 2)[2]
                    row[sheet.place("marker")] = f"{self._ledger}:{number}:{tried}"
                elif sheet.name == "run":
                    self._as_run(sheet, row, number, seq, head)
                rows[sheet.name].append(row)
        return number, seq, head

    def _detail(
        self, sheet: Sheet, row: Row, shape: Shape, template: int, suffix: str
    ) -> tuple[bytes, bytes]:
        """The detail of an event names the delivery of this copy; its bytes and their digest."""
        assert shape.told is not None
        number, name = shape.told
        salt, body = self._salted[template, number]
        place, shown = sheet.place("detail"), name.decode()
        row[place] = row[place].replace(shown, shown + suffix)
        body = body.replace(name, name + suffix.encode())
        return body, payload_digest(salt, body)

    def _as_run(self, sheet: Sheet, row: Row, number: int, seq: int, head: bytes) -> None:
        row[sheet.place("origin_ledger")] = self._ledger
        row[sheet.place("origin_run")] = number
        row[sheet.place("event_seq")] = row[sheet.place("sealed_seq")] = seq
        row[sheet.place("head_hash")] = head
        row[sheet.place("evidence_seen")] = 0

    def _hash(
        self,
        shape: Shape,
        number: int,
        seq: int,
        shift: timedelta,
        head: bytes,
        suffix: str,
        details: dict[int, tuple[bytes, bytes]],
    ) -> bytes:
        draft, base = shape.draft, shape.base
        assert draft is not None
        assert base is not None
        move = object.__setattr__
        move(draft, "recorded_at", base[0] + shift)
        move(draft, "remote_at", base[1] + shift if base[1] else None)
        named, draft_id = draft.request_id, draft.request_id
        if named is not None:
            move(draft, "request_id", named + suffix)
        digests = shape.digests
        if shape.told is not None:
            made = details[shape.told[0]][1]
            digests = [(role, made if role == "detail" else d) for role, d in digests]
        try:
            return event_hash(
                draft, ledger=self._ledger, run=number, seq=seq, digests=digests, previous=head
            )
        finally:
            move(draft, "request_id", draft_id)

    def _sealed(
        self, leaves: list[tuple[int, int, bytes]]
    ) -> list[tuple[str, list[str], list[Row]]]:
        self._seal += 1
        root = MerkleTree(
            leaf_hash(self._ledger, run, seq, head) for run, seq, head in leaves
        ).root()
        at = self._begin + leaves[-1][0] * self._step + timedelta(hours=1)
        previous = self._previous
        self._previous = seal_hash(
            ledger=self._ledger, number=self._seal, sealed_at=at, leaves=len(leaves), root=root,
            previous=previous,
        )  # fmt: skip
        text = _stored(at)
        seal = [self._seal, text, len(leaves), root, previous, self._previous]
        columns = ["number", "sealed_at", "leaves", "root", "prev_hash", "hash"]
        rows = [[self._seal, run, seq, head] for run, seq, head in leaves]
        return [("seal", columns, [seal]), ("seal_leaf", ["seal", "run_id", "seq", "head"], rows)]
