"""What failures have in common: written down once, and forgotten with the last run that had it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from ledger.store.direct import execute, execute_many
from ledger.store.rows import Bulk, clean_text, table_of
from ledger.store.tables import FingerprintRow

MASKED: Final = "SELECT fingerprint FROM attempt WHERE run_id = {run:d}"
BLANKED: Final = (
    f"UPDATE fingerprint SET message = NULL WHERE message IS NOT NULL AND id IN ({MASKED}) "
    "AND NOT EXISTS (SELECT 1 FROM attempt AS a JOIN run AS r ON r.id = a.run_id "
    "WHERE a.fingerprint = fingerprint.id AND r.erased_at IS NULL)"
)


class Fingerprints:
    """Writes fingerprints down."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._rows = Bulk(table_of(FingerprintRow), ("id",), dialect)
        self._sqlite = dialect.name == "sqlite"

    def add(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Those that are new; and of known ones what was said, where erasing has blanked it."""
        # In one order, so that two writers never wait for each other.
        seen = sorted(rows, key=lambda row: str(row["id"]))
        self._rows.insert(connection, seen, ignore=True)
        said = [
            (clean_text(row["message"]), row["id"]) for row in seen if row["message"] is not None
        ]
        if said and self._sqlite:
            fill = "UPDATE fingerprint SET message = ? WHERE id = ? AND message IS NULL"
            execute_many(connection, fill, said)
        elif said:
            fill = (
                "UPDATE fingerprint AS f SET message = u.message "
                "FROM unnest(%s::text[], %s::text[]) AS u(message, id) "
                "WHERE f.id = u.id AND f.message IS NULL"
            )
            execute(connection, fill, [list(column) for column in zip(*said, strict=True)])


def forget_messages(connection: sa.Connection, run_id: int) -> None:
    """Blank what a run's failures said, unless a run that is not erased had the same ones. In the
    transaction that erases the run."""
    if connection.dialect.name == "postgresql":
        # Of two runs erased at once, the one that comes second finds the other erased.
        locked = f"SELECT 1 FROM fingerprint WHERE id IN ({MASKED}) ORDER BY id FOR UPDATE"
        execute(connection, locked.format(run=run_id))
    execute(connection, BLANKED.format(run=run_id))
