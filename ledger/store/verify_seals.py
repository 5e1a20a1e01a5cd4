"""Check the chain of seals: roots from leaves, each seal from the one before, and anchors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.anchor import Anchor
from ledger.core.merkle import MerkleTree, leaf_hash, seal_genesis, seal_hash
from ledger.store.direct import execute, stream
from ledger.store.seals import LEDGER, SEAL
from ledger.store.tombs import Broken

__all__ = ["Broken", "check_seals"]

ROWS: Final = 1_000
_LEAVES: Final = (
    "SELECT l.seal, l.run_id, l.seq, l.head, COALESCE(r.origin_ledger, t.origin_ledger), "
    "COALESCE(r.origin_run, t.origin_run) FROM seal_leaf AS l "
    "LEFT JOIN run AS r ON r.id = l.run_id LEFT JOIN tombstone AS t ON t.run_id = l.run_id "
)
LEAVES: Final = f"{_LEAVES}ORDER BY l.seal, l.run_id"


def leaves_of(connection: sa.Connection, seal: int) -> list[Any]:
    """The leaves of one seal in order: seal, run, seq, head, origin ledger, origin run."""
    return execute(connection, f"{_LEAVES}WHERE l.seal = {seal:d} ORDER BY l.run_id", rows=True)


def check_seals(
    connection: sa.Connection, anchors: Sequence[Anchor] = ()
) -> tuple[int, list[Broken]]:
    """How many seals there are, and the first fault of each that has one."""
    ledger = connection.execute(sa.select(LEDGER.c.id)).scalar_one()
    leaves = _Leaves(stream(connection, LEAVES, size=ROWS))
    named: dict[int, set[str]] = {}
    for anchor in anchors:
        named.setdefault(anchor.seal, set()).add(anchor.hash)
    previous, number, count, broken = seal_genesis(ledger), 0, 0, []
    for row in _seals(connection):
        count += 1
        if row.number != number + 1:
            broken.append(_fault(number + 1, "the seal is missing"))
        number = row.number
        hashes = named.pop(number, ())
        why = _why(ledger, row, leaves, previous) or _unlike(row, hashes)
        if why:
            broken.append(_fault(row.number, why))
        previous = bytes(row.hash)
    missing = [_fault(gone, "the seal that an anchor names is missing") for gone in sorted(named)]
    return count, broken + missing


def _seals(connection: sa.Connection) -> Iterator[Any]:
    last = 0
    while True:
        page = sa.select(SEAL).where(SEAL.c.number > last).order_by(SEAL.c.number).limit(ROWS)
        rows = connection.execute(page).all()
        yield from rows
        if len(rows) < ROWS:
            return
        last = rows[-1].number


def _why(ledger: str, row: Any, leaves: _Leaves, previous: bytes) -> str | None:
    tree, gone = leaves.tree(row.number)
    if bytes(row.prev_hash) != previous:
        return "it does not follow the seal before it"
    made = seal_hash(
        ledger=ledger,
        number=row.number,
        sealed_at=row.sealed_at,
        leaves=row.leaves,
        root=bytes(row.root),
        previous=previous,
    )
    if bytes(row.hash) != made:
        return "the seal was changed"
    if gone is not None:
        return f"it covers run {gone}, which is gone"
    if (tree.count, tree.root()) != (row.leaves, bytes(row.root)):
        return "its leaves are not those that were sealed"
    return None


def _unlike(row: Any, hashes: set[str] | tuple[()]) -> str | None:
    """Where the seal holds in itself, but an anchor knows it otherwise."""
    same = all(hashed == bytes(row.hash).hex() for hashed in hashes)
    return None if same else "it is not the seal that an anchor names: history was rewritten"


def _fault(seal: int, why: str) -> Broken:
    return Broken(None, 0, why, seal)


class _Leaves:
    """Leaves in order of seal."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._next: Any = next(rows, None)

    def tree(self, number: int) -> tuple[MerkleTree, int | None]:
        """The tree of one seal, and the first of its runs of which nothing is known."""
        tree, gone = MerkleTree(), None
        while self._next is not None and self._next[0] <= number:
            seal, run_id, seq, head, ledger, run = self._next
            self._next = next(self._rows, None)
            if seal == number and ledger is not None:
                tree.add(leaf_hash(ledger, run, seq, bytes(head)))
            elif seal == number and gone is None:
                gone = run_id
        return tree, gone
