"""Tombstones: found by run or key, and held against the seal that covers each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import State
from ledger.core.tombstone import Tombstone, epitaph, tombstone_head
from ledger.errors import NotFound
from ledger.store.rows import table_of
from ledger.store.tables import TombstoneRow

TOMBSTONE = table_of(TombstoneRow)
FIELDS: Final = tuple(entry.name for entry in fields(Tombstone))
STONES: Final = f"SELECT {', '.join(FIELDS)} FROM tombstone"
UNREADABLE: Final = (ArithmeticError, AssertionError, AttributeError, TypeError, ValueError)
"""What values raise that this program cannot have written."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that does not fit: in a run's history at event `seq`, or (without a run) in
    a seal."""

    run_id: int | None
    seq: int
    why: str
    seal: int | None = None


class Grave:
    """A tombstone under check, as the driver gives its row in the order of STONES."""

    def __init__(self, row: Any, time: Callable[[Any], datetime]) -> None:
        given = dict(zip(FIELDS, row, strict=True))
        self._run, self._last, self._head = given["run_id"], given["last_seq"], given["head"]
        self.fault: Broken | None = None
        self._covered = False
        try:
            same = tombstone_head(_stone(given, time)) == bytes(self._head)
        except UNREADABLE:
            same = False
        if not same:
            self._fail("the tombstone was changed")

    def leaf(self, seq: int, head: bytes) -> None:
        """Hold it against one leaf of its run; leaves come in the order of their seals."""
        if seq > self._last:
            self._fail("a seal covers events after those that the tombstone speaks of")
        elif seq == self._last and head == bytes(self._head):
            self._covered = True
        elif seq == self._last:
            self._fail("the tombstone is not the one that was sealed")

    def end(self) -> Broken | None:
        """What is wrong with it, once all its leaves were seen."""
        if not self._covered:
            self._fail("no seal covers the tombstone")
        return self.fault

    def _fail(self, why: str) -> None:
        if self.fault is None:
            self.fault = Broken(self._run, self._last, why)


def _stone(given: dict[str, Any], time: Callable[[Any], datetime]) -> Tombstone:
    """A row as the driver gives it, as a record."""
    counts = given["counts"]
    times = {name: time(given[name]) for name in ("created_at", "finished_at", "pruned_at")}
    digests = ("request_digest", "head", "prev_hash", "salt")
    return Tombstone(
        **given
        | times
        | {name: bytes(given[name]) for name in digests}
        | {"counts": json.loads(counts) if isinstance(counts, str) else counts}
        | {"state": State(given["state"])}
    )


def tombstone_of(
    connection: sa.Connection, *, run_id: int | None = None, key: str | None = None
) -> Tombstone | None:
    """The tombstone of a run, by number or key."""
    where = TOMBSTONE.c.run_id == run_id if key is None else TOMBSTONE.c.key == key
    row = connection.execute(sa.select(TOMBSTONE).where(where)).one_or_none()
    return None if row is None else _stone(dict(row._mapping), same_time)


def no_run(stone: Tombstone | None, name: int | str) -> NotFound:
    """What to say of a run that is not there: when, by whom and why it was pruned, if it was."""
    if stone is None:
        hint = "runward list shows the newest runs"
        return NotFound(f"there is no run {name!r}", hint=hint)
    return NotFound(epitaph(stone), hint="if it was archived, the file of --archive has it")


def same_time(time: datetime) -> datetime:
    """A time as PostgreSQL's driver gives it."""
    return time
