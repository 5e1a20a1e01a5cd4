"""Triggers that make the database refuse what RULES refuses, generated for both dialects.

An Alembic batch change drops all triggers of a table without a word, so they are not part of
any revision: the migration runner makes them anew after every upgrade, and opening compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from ledger.core.lifecycle import TRIPLES
from ledger.store.rows import table_of
from ledger.store.tables import AttemptRow, EventRow, Table

PREFIX = "runward_"


def _pairs(old: str, new: str) -> str:
    """A condition that holds for a legal change of state (or none)."""
    pairs = sorted({(str(source), str(target)) for source, _, target in TRIPLES})
    legal = " OR ".join(f"({old} = '{a}' AND {new} = '{b}')" for a, b in pairs)
    return f"{old} = {new} OR {legal}"


def _but(row: type[Table], name: str) -> str:
    """All columns of a table but one, as `of` names them."""
    return ", ".join(f'"{column.name}"' for column in table_of(row).columns if column.name != name)


COVERED = "SELECT 1 FROM tombstone WHERE run_id = OLD.run_id AND last_seq >= OLD.seq"
ERASED = "SELECT 1 FROM run WHERE run.id = OLD.run_id AND run.erased_at IS NOT NULL"

ALONG = "SET enable_seqscan = off"
"""A session keeps the plan of its first look, when there may have been ten tombstones: each row
deleted after that would read all of them."""


@dataclass(frozen=True, slots=True)
class RowRule:
    """`operation` on `table` is refused with `message` where `refused` holds.

    `of` narrows an UPDATE to statements that set these columns: others do not pay for the rule.
    """

    name: str
    table: str
    operation: str
    refused: str
    message: str
    of: str = ""

    @property
    def when(self) -> str:
        """The operation as the trigger names it."""
        return f"{self.operation} OF {self.of}" if self.of else self.operation


ROW_RULES = (
    RowRule(
        "run_state",
        "run",
        "UPDATE",
        f"NOT ({_pairs('OLD.state', 'NEW.state')})",
        "illegal change of state",
        of="state",
    ),
    RowRule(
        "run_seq",
        "run",
        "UPDATE",
        "NEW.event_seq < OLD.event_seq OR NEW.version < OLD.version",
        "history cannot shrink",
        of="event_seq, version",
    ),
    RowRule(
        "run_key",
        "run",
        "UPDATE",
        "NEW.key <> OLD.key OR NEW.origin_ledger <> OLD.origin_ledger "
        "OR NEW.origin_run <> OLD.origin_run",
        "identity cannot change",
        of="key, origin_ledger, origin_run",
    ),
    RowRule(
        "run_sealed",
        "run",
        "UPDATE",
        "NEW.sealed_seq < OLD.sealed_seq OR NEW.sealed_seq > NEW.event_seq",
        "a seal cannot be taken back",
        of="sealed_seq",
    ),
    *(
        RowRule(f"{table}_{how.lower()}", table, how, "1 = 1", "seals are append-only")
        for table in ("seal", "seal_leaf")
        for how in ("UPDATE", "DELETE")
    ),
    RowRule(
        "attempt_ended",
        "attempt",
        "UPDATE",
        "OLD.ended_at IS NOT NULL",
        "an ended attempt never changes",
        of=_but(AttemptRow, "error_message"),
    ),
    RowRule(
        "attempt_erased",
        "attempt",
        "UPDATE",
        f"OLD.ended_at IS NOT NULL AND (NEW.error_message IS NOT NULL OR NOT EXISTS ({ERASED}))",
        "an ended attempt never changes",
        of="error_message",
    ),
    RowRule(
        "event_update",
        "event",
        "UPDATE",
        "1 = 1",
        "events are append-only",
        of=_but(EventRow, "detail"),
    ),
    RowRule(
        "event_erased",
        "event",
        "UPDATE",
        f"NEW.detail IS NOT NULL OR NOT EXISTS ({ERASED})",
        "events are append-only",
        of="detail",
    ),
    RowRule(
        "run_delete",
        "run",
        "DELETE",
        "NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.run_id = OLD.id "
        "AND tombstone.last_seq > OLD.event_seq)",
        "a run is not deleted without a tombstone",
    ),
    *(
        RowRule(f"tombstone_{how.lower()}", "tombstone", how, "1 = 1", "a tombstone never changes")
        for how in ("UPDATE", "DELETE")
    ),
    RowRule(
        "event_delete",
        "event",
        "DELETE",
        f"NOT EXISTS ({COVERED})",
        "events are append-only",
    ),
    RowRule(
        "evidence_delete",
        "evidence",
        "DELETE",
        "OLD.run_id IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM tombstone WHERE tombstone.run_id = OLD.run_id)",
        "evidence is insert-only",
    ),
    *(
        RowRule(f"audit_{how.lower()}", "audit", how, "1 = 1", "the audit log is append-only")
        for how in ("UPDATE", "DELETE")
    ),
)


def statements(dialect: str) -> dict[str, list[str]]:
    """Trigger name to the statements that make it, for `sqlite` or `postgresql`."""
    make = _sqlite if dialect == "sqlite" else _postgres
    made = {f"{PREFIX}{rule.name}": make(rule) for rule in ROW_RULES}
    if dialect != "sqlite":
        name = f"{PREFIX}event_truncate"
        made[name] = _postgres_truncate(name)
    return made


def _sqlite(rule: RowRule) -> list[str]:
    trigger = f"{PREFIX}{rule.name}"
    return [
        f"DROP TRIGGER IF EXISTS {trigger}",
        f"CREATE TRIGGER {trigger} BEFORE {rule.when} ON {rule.table} WHEN {rule.refused} "
        f"BEGIN SELECT RAISE(ABORT, 'runward: {rule.message}'); END",
    ]


def _postgres(rule: RowRule) -> list[str]:
    trigger = f"{PREFIX}{rule.name}"
    # A WHEN clause may not hold a sub-select, so the condition stands in the function.
    along = f"{ALONG} " if "SELECT" in rule.refused else ""
    return [
        f"CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql {along}"
        f"AS $$ BEGIN IF {rule.refused} THEN RAISE EXCEPTION 'runward: {rule.message}' "
        "USING ERRCODE = '23514'; END IF; "
        f"RETURN {'OLD' if rule.operation == 'DELETE' else 'NEW'}; END $$",
        f"DROP TRIGGER IF EXISTS {trigger} ON {rule.table}",
        f"CREATE TRIGGER {trigger} BEFORE {rule.when} ON {rule.table} "
        f"FOR EACH ROW EXECUTE FUNCTION {trigger}()",
    ]


def _postgres_truncate(name: str) -> list[str]:
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'runward: events are append-only' USING ERRCODE = '23514'; END $$",
        f"DROP TRIGGER IF EXISTS {name} ON event",
        f"CREATE TRIGGER {name} BEFORE TRUNCATE ON event "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
    ]


def install(connection: sa.Connection) -> None:
    """Make every trigger anew."""
    for made in statements(connection.dialect.name).values():
        for statement in made:
            connection.exec_driver_sql(statement)


def missing(connection: sa.Connection) -> list[str]:
    """The names of triggers that this database should have and has not, or has differently."""
    present = _present(connection)
    wanted = statements(connection.dialect.name)
    gone = {name for name, made in wanted.items() if present.get(name) != _mark(made)}
    return sorted(gone | (_constraints() - _named(connection)))


def _constraints() -> set[str]:
    """The names of all CHECKs and partial indexes: what a rebuild of a table loses in silence."""
    found: set[str] = set()
    for table in Table.metadata.tables.values():
        found |= {str(c.name) for c in table.constraints if isinstance(c, sa.CheckConstraint)}
        found |= {str(i.name) for i in table.indexes if _is_partial(i)}
    return found


def _is_partial(index: sa.Index) -> bool:
    return index.dialect_options["sqlite"]["where"] is not None


def _named(connection: sa.Connection) -> set[str]:
    """The names of the CHECKs and indexes that the database has."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL")
        found: set[str] = set()
        for name, sql in rows:
            found |= {name, *re.findall(r'CONSTRAINT "?(\w+)"? CHECK', sql)}
        return found
    rows = connection.exec_driver_sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' UNION ALL "
        "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    )
    return {row[0] for row in rows}


def _mark(made: list[str]) -> str:
    return made[-1] if made[0].startswith("DROP") else made[0]


def _present(connection: sa.Connection) -> dict[str, str]:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type='trigger'"
        )
        return {row[0]: row[1] for row in rows}
    rows = connection.exec_driver_sql(
        "SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
        f"WHERE NOT t.tgisinternal AND t.tgenabled = 'O' AND t.tgname LIKE '{PREFIX}%%'"
    )
    wanted = statements("postgresql")
    return {
        row[0]: wanted[row[0]][0]
        for row in rows
        if row[0] in wanted and f"$${row[1]}$$" in wanted[row[0]][0]
    }
