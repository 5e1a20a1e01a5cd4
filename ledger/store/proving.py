"""How one run is tied to the seal that covers it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ledger.core.merkle import audit_path, leaf_hash
from ledger.store.seals import LEAF, SEAL
from ledger.store.verify_seals import leaves_of


def seal_proof(connection: sa.Connection, run_id: int) -> dict[str, Any] | None:
    """The newest seal over a run, as plain values: its fields, the run's leaf, and the path from
    the leaf to the root. None for a run that nothing covers yet."""
    newest = sa.select(SEAL).join(LEAF, LEAF.c.seal == SEAL.c.number)
    newest = newest.where(LEAF.c.run_id == run_id).order_by(SEAL.c.number.desc()).limit(1)
    seal = connection.execute(newest).one_or_none()
    if seal is None:
        return None
    leaves = leaves_of(connection, seal.number)
    index = next(i for i, leaf in enumerate(leaves) if leaf[1] == run_id)
    hashes = [leaf_hash(ledger, run, seq, bytes(head)) for _, _, seq, head, ledger, run in leaves]
    return {
        "number": seal.number,
        "sealed_at": seal.sealed_at.isoformat(),
        "leaves": seal.leaves,
        "root": bytes(seal.root).hex(),
        "prev_hash": bytes(seal.prev_hash).hex(),
        "hash": bytes(seal.hash).hex(),
        "seq": leaves[index][2],
        "head": bytes(leaves[index][3]).hex(),
        "path": [[side, hashed.hex()] for side, hashed in audit_path(hashes, index)],
    }
