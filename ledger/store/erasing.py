"""Erasing: what is destroyed of a run's contents, and how it is made to leave the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from ledger.clock import monotonic
from ledger.core.alphabet import EventKind
from ledger.errors import DatabaseError
from ledger.store.direct import execute
from ledger.store.fingerprints import forget_messages
from ledger.store.queries import EVENT, PAYLOAD
from ledger.store.rows import table_of
from ledger.store.tables import TagRow

TAG: Final = table_of(TagRow)
BLANKED: Final = (
    ("payload", "salt = NULL, body = NULL", "n NOT IN ({kept})"),
    ("event", "detail = NULL", "detail IS NOT NULL AND kind <> 'erased'"),
    ("evidence", "salt = NULL, body = NULL", "body IS NOT NULL"),
    ("attempt", "error_message = NULL", "error_message IS NOT NULL"),
    ("tool_call", "approval_reason = NULL, arguments_hash = {empty}, key = 'erased'", "1 = 1"),
    ("outbox", "last_error = NULL", "last_error IS NOT NULL"),
    ("tag", "value = ''", "1 = 1"),
)
"""What is blanked, by table: the run's row is blanked with the event that tells of it."""
PARKED: Final = (
    "source = 'webhook' AND run_id IS NULL AND key IN "
    "(SELECT webhook_id FROM delivery WHERE run_id {which} UNION ALL "
    "SELECT own.key FROM evidence AS own WHERE own.source = 'parked' AND own.run_id {which})"
)
"""Deliveries that came before anybody knew whose they were: their bytes name no run."""
CHECKPOINT_SECONDS: Final = 10.0


def contents(connection: sa.Connection, run_id: int) -> int:
    """How many payloads of a run are to be erased: all that are not, but for what was said of
    erasing it."""
    statement = sa.select(sa.func.count()).where(
        PAYLOAD.c.run_id == run_id,
        PAYLOAD.c.body.is_not(None),
        PAYLOAD.c.n.not_in(_words(connection, run_id)),
    )
    return int(connection.execute(statement).scalar_one())


def _words(connection: sa.Connection, run_id: int) -> list[int]:
    """The payloads that say who had the run erased, and why."""
    of_erasing = sa.and_(EVENT.c.run_id == run_id, EVENT.c.kind == EventKind.erased)
    found = connection.execute(sa.select(EVENT.c.payloads).where(of_erasing)).scalars()
    return [int(n) for pairs in found for _, n in pairs]


def tagged(connection: sa.Connection, name: str, value: str) -> list[int]:
    """Runs with this tag, in order."""
    statement = sa.select(TAG.c.run_id).where(TAG.c.name == name, TAG.c.value == value)
    return [int(row[0]) for row in connection.execute(statement.order_by(TAG.c.run_id))]


def overwrite(connection: sa.Connection) -> None:
    """Have SQLite write zeros over what this connection deletes from here on."""
    if connection.dialect.name == "sqlite":
        execute(connection, "PRAGMA secure_delete=ON")


def blank(connection: sa.Connection, run_id: int) -> None:
    """Destroy the contents of a run whose history says so: all but what was said of erasing it."""
    kept = ", ".join(map(str, _words(connection, run_id)))
    empty = "X''" if connection.dialect.name == "sqlite" else "''::bytea"
    for table, sets, where in BLANKED:
        which = where.format(kept=kept)
        statement = f"UPDATE {table} SET {sets.format(empty=empty)} WHERE run_id = {run_id:d}"
        execute(connection, f"{statement} AND {which}")
    parked = PARKED.format(which=f"= {run_id:d}")
    execute(connection, f"UPDATE evidence SET salt = NULL, body = NULL WHERE {parked}")
    forget_messages(connection, run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """How far what was blanked has left the database's own files, and why not further."""

    done: bool
    note: str = ""


def clean(engine: sa.Engine, *, rewrite: bool) -> Cleaned:
    """Have the files forget what was blanked. On SQLite the write-ahead log is emptied; on
    PostgreSQL the dead rows are vacuumed. `rewrite` writes every page anew, which takes the space
    of the whole database once more, and holds others up meanwhile."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name == "sqlite":
            return _clean_sqlite(driver, rewrite)
        return _clean_postgres(driver, rewrite)


def _clean_sqlite(driver: Any, rewrite: bool) -> Cleaned:
    try:
        if rewrite:
            driver.execute("VACUUM").close()
        end = monotonic() + CHECKPOINT_SECONDS
        busy = 1
        while busy and monotonic() < end:
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except Exception as error:
        raise DatabaseError(f"erased, and not off the disk yet: {error}"[:300]) from error
    if busy:
        return Cleaned(done=False, note="a reader holds the write-ahead log; erase again later")
    return Cleaned(done=True)


def _clean_postgres(driver: Any, rewrite: bool) -> Cleaned:
    notices: list[str] = []

    def hear(notice: Any) -> None:
        notices.append(str(notice.message_primary))

    tables = ", ".join(("run", "fingerprint", *(name for name, _, _ in BLANKED)))
    driver.rollback()
    driver.autocommit = True
    driver.add_notice_handler(hear)
    try:
        driver.execute(f"VACUUM {'(FULL) ' if rewrite else ''}{tables}")
    except Exception as error:
        return Cleaned(done=False, note=f"VACUUM failed: {error}"[:300])
    finally:
        driver.remove_notice_handler(hear)
        driver.autocommit = False
    return Cleaned(done=not notices, note="; ".join(notices)[:300])
