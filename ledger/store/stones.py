"""Tombstones of another ledger taken into this one: their keys stay taken here too, under a number
and a seal of this ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.core.export_format import TOMBSTONE as KIND
from ledger.core.lifecycle import FINAL
from ledger.core.record import evolve
from ledger.core.request import judge_key, judge_provider
from ledger.core.tombstone import Tombstone, epitaph, tombstone_head
from ledger.store.batch import new_run_ids
from ledger.store.facts import RUN
from ledger.store.parcels import WRONG, BadRun, read_row
from ledger.store.rows import Bulk
from ledger.store.seals import seal_heads, take_turn
from ledger.store.tombs import FIELDS, TOMBSTONE, tombstone_of


@dataclass(frozen=True, slots=True)
class Laid:
    """What became of one tombstone: taken, skipped since it is here, or (`why`) refused."""

    stone: Tombstone
    skipped: bool = False
    why: str | None = None


def read_stone(line: Mapping[str, Any]) -> Tombstone:
    """The tombstone that a line tells of, as what it was sealed. Raises BadRun."""
    fields = dict(line)
    try:
        number = fields.pop("run")
        fields.pop("type")
        stone = Tombstone(run_id=number, **read_row(KIND, fields))
        judge_key(stone.key)
        judge_provider(stone.provider)
        same = tombstone_head(stone) == stone.head
        counted = all(type(count) is int for count in stone.counts.values())
    except BadRun:
        raise
    except WRONG as error:
        raise BadRun(f"it cannot be read: {type(error).__name__}: {error}"[:300]) from None
    if not same or not counted or stone.state not in FINAL or type(number) is not int:
        raise BadRun("the tombstone was changed")
    return stone


def judge_stone(connection: sa.Connection, ledger: str, stone: Tombstone) -> Laid | None:
    """What is to be said of a tombstone without writing it; None for one that can be written."""
    origin = (stone.origin_ledger, stone.origin_run)
    here = tombstone_of(connection, key=stone.key)
    if here is not None:
        same = here.head == stone.head
        return Laid(stone, same, None if same else f"the key is taken: {epitaph(here)}")
    columns = (RUN.c.id, RUN.c.origin_ledger, RUN.c.origin_run)
    run = connection.execute(sa.select(*columns).where(RUN.c.key == stone.key)).one_or_none()
    if run is not None:
        # A run that was pruned there while it was exported: it is here, and that is more.
        same = (run.origin_ledger, run.origin_run) == origin
        return Laid(stone, same, None if same else f"the key is taken by run {run.id}, another run")
    if stone.origin_ledger == ledger:
        return Laid(stone, why="it was made in this very ledger, which knows no such tombstone")
    return None


def lay(
    connection: sa.Connection, ledger: str, stones: Sequence[Tombstone], now: datetime
) -> list[Laid]:
    """Write these tombstones, whose keys differ, each under a new number, and a seal over them. In
    a write transaction."""
    take_turn(connection)
    judged = [(stone, judge_stone(connection, ledger, stone)) for stone in stones]
    fresh = [stone for stone, said in judged if said is None]
    if fresh:
        ids = _numbers(connection, len(fresh))
        laid = [evolve(s, run_id=run_id) for s, run_id in zip(fresh, ids, strict=True)]
        rows = [{name: getattr(stone, name) for name in FIELDS} for stone in laid]
        Bulk(TOMBSTONE, ("run_id",), connection.dialect).insert(connection, rows)
        ends = [(s.run_id, s.origin_ledger, s.origin_run, s.last_seq, s.head) for s in laid]
        seal_heads(connection, ledger, now, ends)
    return [said or Laid(stone) for stone, said in judged]


def _numbers(connection: sa.Connection, count: int) -> list[int]:
    """Numbers of runs, which no run gets afterwards."""
    ids = new_run_ids(connection, count)
    if connection.dialect.name == "sqlite":
        used = sa.text("UPDATE sqlite_sequence SET seq = :last WHERE name = 'run'")
        if not connection.execute(used, {"last": ids[-1]}).rowcount:
            first = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('run', :last)")
            connection.execute(first, {"last": ids[-1]})
    return ids
