"""Views for people who prefer SQL: plain names that stay, whatever becomes of the tables.

Like the triggers they are no part of any revision: the migration runner makes them anew after every
upgrade, and opening compares them. Columns are only ever added, at the end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ledger.core.alphabet import State


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, what it is made of, and what it means."""

    name: str
    made: str
    meaning: str


@dataclass(frozen=True, slots=True)
class View:
    """A view: a row is `row`."""

    name: str
    row: str
    source: str
    columns: tuple[Column, ...]

    def select(self, dialect: str) -> str:
        """The statement that it stands for."""
        made = ", ".join(
            f"{column.made.replace('{SECONDS}', SECONDS[dialect])} AS {column.name}"
            for column in self.columns
        )
        return f"SELECT {made} FROM {self.source}"


SECONDS: Final = {
    "sqlite": "round((julianday(a.ended_at) - julianday(a.opened_at)) * 86400.0, 3)",
    "postgresql": "extract(epoch FROM a.ended_at - a.opened_at)::double precision",
}
FAILURES: Final = (State.failed, State.expired, State.incomplete)
_FAILED: Final = ", ".join(f"'{state}'" for state in FAILURES)
_OF_RUN: Final = (
    Column("provider", "r.provider", "responses, assistants, …"),
    Column("profile", "c.profile", "The profile whose account was used first."),
    Column("model", "r.model", "The model, where there is one."),
)
_ERROR: Final = (
    Column("error_code", "{0}.error_code", "Upstream's code, or the ledger's own."),
    Column("error_origin", "{0}.error_origin", "remote, transport, tool or ledger."),
    Column("error_message", "{0}.error_message", "What was said."),
    Column("fingerprint", "{0}.fingerprint", "What failures of one sort have in common."),
)


def _error(alias: str) -> tuple[Column, ...]:
    return tuple(Column(c.name, c.made.format(alias), c.meaning) for c in _ERROR)


VIEWS: Final = (
    View(
        "v_runs",
        "one run, as it is",
        "run r JOIN account c ON c.id = r.account_id",
        (
            Column("run_id", "r.id", "Its number."),
            Column("run_key", "r.key", "The caller's name for it."),
            Column("status", "r.state", "The verdict, or how far it is."),
            *_OF_RUN,
            Column("assistant", "r.assistant", "The assistant or stored prompt."),
            Column("kind", "r.kind", "The caller's class for pacing."),
            Column("tags", "r.tags", "All tags, as JSON."),
            Column("attempts", "r.attempts", "How many tries, so far."),
            Column("calls", "r.calls", "How many upstream calls, over all attempts."),
            Column("needs_attention", "r.needs_attention", "Why a person should look; else NULL."),
            *_error("r"),
            Column("created_at", "r.created_at", "When it was written down."),
            Column("started_at", "r.started_at", "When upstream was first seen working on it."),
            Column("finished_at", "r.finished_at", "When it got its verdict."),
            Column("took_seconds", "r.took_seconds", "From created to finished."),
            Column("deadline_at", "r.deadline_at", "When the ledger gives it up."),
            Column("pinned_at", "r.pinned_at", "Since when it is kept; else NULL."),
        ),
    ),
    View(
        "v_attempts",
        "one try at a run",
        "attempt a JOIN run r ON r.id = a.run_id JOIN account c ON c.id = r.account_id",
        (
            Column("run_id", "a.run_id", "The run."),
            Column("run_key", "r.key", "The caller's name for it."),
            Column("attempt", "a.number", "1 for the first."),
            Column("cause", "a.cause", "Why it was made: submit, policy, operator, …"),
            Column("outcome", "a.outcome", "How it ended; NULL while it goes on."),
            *_OF_RUN,
            *_error("a"),
            Column("opened_at", "a.opened_at", "When it began."),
            Column("ended_at", "a.ended_at", "When it ended."),
            Column("seconds", "{SECONDS}", "From its beginning to its end."),
        ),
    ),
    View(
        "v_failures",
        f"one try that ended {', '.join(FAILURES[:-1])} or {FAILURES[-1]}",
        "attempt a JOIN run r ON r.id = a.run_id JOIN account c ON c.id = r.account_id "
        f"LEFT JOIN fingerprint f ON f.id = a.fingerprint WHERE a.outcome IN ({_FAILED})",
        (
            Column("run_id", "a.run_id", "The run."),
            Column("run_key", "r.key", "The caller's name for it."),
            Column("attempt", "a.number", "1 for the first."),
            Column("outcome", "a.outcome", "How it ended."),
            Column("failed_at", "a.ended_at", "When it ended."),
            *_OF_RUN,
            *_error("a"),
            Column("masked_message", "f.message", "The fingerprint's message, with gaps."),
            Column("run_status", "r.state", "What has become of the run since."),
        ),
    ),
)


def statements(dialect: str) -> dict[str, list[str]]:
    """View name to the statements that make it, for `sqlite` or `postgresql`."""
    if dialect == "sqlite":
        return {
            view.name: [f"DROP VIEW IF EXISTS {view.name}", _create(view, dialect)]
            for view in VIEWS
        }
    # Replaced and not dropped: what was granted on them stays granted.
    return {
        view.name: [
            _create(view, dialect).replace("CREATE", "CREATE OR REPLACE", 1),
            f"COMMENT ON VIEW {view.name} IS '{_mark(view)}'",
        ]
        for view in VIEWS
    }


def _create(view: View, dialect: str) -> str:
    return f"CREATE VIEW {view.name} AS {view.select(dialect)}"


def _mark(view: View) -> str:
    """What tells a view from an older one: a server keeps no statement as it was written."""
    return f"runward {hashlib.sha256(view.select('postgresql').encode()).hexdigest()[:16]}"


def drop(connection: sa.Connection) -> None:
    """Take the views away from a SQLite file that is to be migrated: tables that views name cannot
    be rebuilt there."""
    if connection.dialect.name == "sqlite":
        for view in VIEWS:
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view.name}")


def install(connection: sa.Connection) -> None:
    """Make every view anew."""
    for name, made in statements(connection.dialect.name).items():
        try:
            with connection.begin_nested():
                _run(connection, made)
        except sa.exc.ProgrammingError:
            # Somebody's own view of that name has other columns, and cannot be replaced.
            connection.exec_driver_sql(f"DROP VIEW {name}")
            _run(connection, made)


def _run(connection: sa.Connection, made: list[str]) -> None:
    for statement in made:
        connection.exec_driver_sql(statement)


def missing(connection: sa.Connection) -> list[str]:
    """The names of views that this database should have and has not, or has differently."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
        wanted = {view.name: _create(view, "sqlite") for view in VIEWS}
    else:
        rows = connection.exec_driver_sql(
            "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c "
            "WHERE c.relkind = 'v' AND c.relnamespace = current_schema()::regnamespace"
        )
        wanted = {view.name: _mark(view) for view in VIEWS}
    present = {row[0]: row[1] for row in rows}
    return sorted(name for name, made in wanted.items() if present.get(name) != made)
