"""Migrations and opening: the schema is the known one, or the text says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from support import POSTGRESQL, SQLITE

from ledger.errors import (
    ConfigurationError,
    DatabaseError,
    RunwardError,
    SchemaMismatch,
    UnsupportedDatabase,
)
from ledger.store import engine as engine_module
from ledger.store import guards, schema
from ledger.store.engine import open_engine
from ledger.store.migrate import differences, migrations_dir, offline_sql, upgrade
from ledger.store.schema import HEAD, REVISIONS, Fit, inspect
from ledger.store.store import Store
from ledger.store.tables import Table

ROOT = Path(__file__).parents[2]


def execute(url: str, *statements: str) -> None:
    """Run statements on a database."""
    engine = open_engine(url)
    with engine.execution_options(write=True).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def fit(url: str) -> schema.SchemaStatus:
    """How the database's schema relates to the program."""
    engine = open_engine(url)
    try:
        return inspect(engine)
    finally:
        engine.dispose()


# Upgrading.


@pytest.mark.parametrize("table", ["run", "theirs"])
def test_the_database_of_another_program_is_left_alone(
    empty_database_url: str, table: str, dialect: str
) -> None:
    """Nothing is put beside what others made, but into a schema that is shared without clashes."""
    execute(empty_database_url, f"CREATE TABLE {table} (id integer)")
    if (dialect, table) == ("postgresql", "theirs"):
        assert (None, HEAD) == upgrade(empty_database_url)
        return
    for attempt in (upgrade, Store.open):
        with pytest.raises(SchemaMismatch, match=f"another program: it has {table}"):
            attempt(empty_database_url)
    engine = open_engine(empty_database_url)
    assert [table] == sa.inspect(engine).get_table_names()
    engine.dispose()


def test_an_upgrade_from_nothing_gives_the_known_schema(empty_database_url: str) -> None:
    """An empty database becomes current, with one ledger in it and nothing to add."""
    assert Fit.empty == fit(empty_database_url).fit
    assert (None, HEAD) == upgrade(empty_database_url)
    assert Fit.current == fit(empty_database_url).fit
    assert [] == differences(empty_database_url)
    assert (HEAD, HEAD) == upgrade(empty_database_url)


def test_opening_an_empty_database_makes_it_a_ledger(empty_database_url: str) -> None:
    """The first use needs no command; the ledger's name stays the same ever after."""
    first = Store.open(empty_database_url)
    second = Store.open(empty_database_url)
    first.close()
    second.close()

    assert 32 == len(first.ledger_id)
    assert first.ledger_id == second.ledger_id


@pytest.mark.problem(25)
@pytest.mark.failure(28)
def test_processes_that_upgrade_at_once_do_it_once(empty_database_url: str) -> None:
    """Of three processes that start together one migrates, and all find the same ledger."""
    script = (
        "import sys; from ledger.store.store import Store;"
        "store = Store.open(sys.argv[1]); print(store.ledger_id); store.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, empty_database_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]

    assert [0] * 3 == [process.returncode for process in processes], outputs
    assert 1 == len({out for out, _ in outputs})
    assert [] == differences(empty_database_url)


def test_the_head_is_the_newest_revision_on_disk() -> None:
    """What the program calls the newest revision is the one that Alembic would upgrade to."""
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    scripts = ScriptDirectory.from_config(config)

    assert [HEAD] == scripts.get_heads()
    assert list(REVISIONS) == [r.revision for r in reversed(list(scripts.walk_revisions()))]


def test_migrations_and_tables_agree(database_url: str, dialect: str, tmp_path: Path) -> None:
    """Upgrading from nothing gives what the tables say, CHECKs and partial indexes included."""
    migrated = open_engine(database_url)
    reflected = described(migrated)
    if dialect == "sqlite":
        made = open_engine(f"sqlite:///{tmp_path / 'made.db'}")
        with made.begin() as connection:
            Table.metadata.create_all(connection)
        wanted = described(made)
    else:
        made = migrated
        with made.connect() as connection:
            connection.exec_driver_sql("CREATE SCHEMA made")
            connection.exec_driver_sql("SET LOCAL search_path = made")
            Table.metadata.create_all(connection)
            wanted = described(connection)
            connection.rollback()
    made.dispose()
    migrated.dispose()

    assert wanted == reflected


def described(bind: sa.Engine | sa.Connection) -> dict[str, Any]:
    """Everything that reflection tells of each table."""
    inspector = sa.inspect(bind)

    def named(items: Any) -> list[str]:
        return sorted(
            f"{item['name']} {item['column_names']} "
            f"{[str(option) for option in item.get('dialect_options', {}).values()]}"
            for item in items
        )

    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c["default"] is None)
                for c in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": named(inspector.get_unique_constraints(table)),
            "indexes": named(inspector.get_indexes(table)),
            "checks": sorted(
                (str(c["name"]), " ".join(c["sqltext"].split()))
                for c in inspector.get_check_constraints(table)
            ),
            "references": sorted(
                f"{fk['constrained_columns']} {fk['referred_table']} {fk['options']}"
                for fk in inspector.get_foreign_keys(table)
            ),
        }
        for table in Table.metadata.tables
    }


def test_the_statements_for_people_make_the_same_schema(
    empty_database_url: str, dialect: str
) -> None:
    """The SQL that `db upgrade --sql` prints can be run by hand, triggers included."""
    script = offline_sql(dialect)

    assert script.count("CREATE TABLE") >= len(Table.metadata.tables)
    if dialect == "sqlite":
        engine = open_engine(empty_database_url)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.executescript(script).close()
    else:
        engine = open_engine(empty_database_url)
        with engine.begin() as connection:
            connection.exec_driver_sql(script.replace("%", "%%"))
    engine.dispose()
    assert (Fit.current, ()) == (fit(empty_database_url).fit, fit(empty_database_url).missing)


# Schemas that do not fit.


@pytest.mark.problem(25)
def test_a_newer_schema_is_named_and_refused(database_url: str) -> None:
    """A database that a newer runward migrated is neither opened nor touched."""
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    for attempt in (upgrade, Store.open, lambda url: Store.open(url, migrate=True)):
        with pytest.raises(SchemaMismatch, match="9999") as caught:
            attempt(database_url)
        assert 7 == caught.value.exit_code


@pytest.mark.problem(25)
def test_an_older_schema_says_what_to_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older database is not migrated unasked; the text names both revisions and the command."""
    monkeypatch.setattr(schema, "REVISIONS", ("0000", *REVISIONS))
    execute(database_url, "UPDATE alembic_version SET version_num = '0000'")

    with pytest.raises(SchemaMismatch, match=f"0000.*{HEAD}") as caught:
        Store.open(database_url)
    assert "runward db upgrade" in str(caught.value.hint)
    assert ["schema is older: 0000"] == differences(database_url)


@pytest.mark.problem(25)
def test_a_missing_trigger_is_found_and_mended(database_url: str, dialect: str) -> None:
    """A dropped guard refuses every use until an upgrade has made it anew."""
    on = " ON event" if dialect == "postgresql" else ""
    execute(database_url, f"DROP TRIGGER runward_event_update{on}")

    with pytest.raises(SchemaMismatch, match="runward_event_update") as caught:
        Store.open(database_url)
    assert 7 == caught.value.exit_code
    assert any("runward_event_update" in line for line in differences(database_url))
    upgrade(database_url)
    assert Fit.current == fit(database_url).fit


@POSTGRESQL
@pytest.mark.parametrize(
    "weakened",
    [
        "ALTER TABLE event DISABLE TRIGGER runward_event_update",
        "CREATE OR REPLACE FUNCTION runward_event_update() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$",
    ],
    ids=["disabled", "emptied"],
)
def test_a_weakened_trigger_counts_as_missing(database_url: str, weakened: str) -> None:
    """A guard that is there by name alone is found, and mended too."""
    execute(database_url, weakened)
    assert ("runward_event_update",) == fit(database_url).missing
    upgrade(database_url)
    assert () == fit(database_url).missing


@SQLITE
def test_an_emptied_trigger_counts_as_missing(database_url: str) -> None:
    """A guard that is there by name alone is found."""
    execute(
        database_url,
        "DROP TRIGGER runward_event_update",
        "CREATE TRIGGER runward_event_update BEFORE UPDATE ON event BEGIN SELECT 1; END",
    )
    assert ("runward_event_update",) == fit(database_url).missing


def test_every_guard_is_there_after_an_upgrade(database_url: str, dialect: str) -> None:
    """No trigger that the code knows is missing, and each is compared by its text."""
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert [] == guards.missing(connection)
        assert guards._present(connection).keys() == guards.statements(dialect).keys()
    engine.dispose()


def test_a_column_that_is_missing_is_a_difference(database_url: str) -> None:
    """What somebody took away by hand is listed."""
    execute(database_url, "ALTER TABLE seal_leaf DROP COLUMN head")

    assert any("head" in line for line in differences(database_url))


# Databases that cannot be used.

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@host:port/db",
        f"mysql://ann:{SECRET}@host/db",
        f"https://ann:{SECRET}@host/db",
        f"ann:{SECRET}@host",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file\x00name",
        f"postgresql://ann:{SECRET}@127.0.0.1:1/db",
        f"postgresql://ann:{SECRET}@nowhere.invalid/db",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    """Every nonsense address gives a typed error that can be shown and logged."""
    for attempt in (Store.open, upgrade, differences):
        with pytest.raises((ConfigurationError, DatabaseError)) as caught:
            attempt(url)
        assert SECRET not in str(caught.value)


def unusable(tmp_path: Path) -> dict[str, str]:
    """Files that are no database, or cannot be made."""
    text = tmp_path / "text.db"
    text.write_text("this is a text file, and a long one at that. " * 100)
    (tmp_path / "folder.db").mkdir()
    return {
        "a text file": f"sqlite:///{text}",
        "a folder": f"sqlite:///{tmp_path / 'folder.db'}",
        "below a file": f"sqlite:///{text / 'runs.db'}",
        "where nobody may write": "sqlite:////proc/1/runs.db",
    }


@pytest.mark.parametrize(
    "what", ["a text file", "a folder", "below a file", "where nobody may write"]
)
def test_a_file_that_cannot_be_a_database_is_a_clear_error(tmp_path: Path, what: str) -> None:
    """Opening and upgrading say in one line what is wrong, whatever the file is."""
    url = unusable(tmp_path)[what]
    for attempt in (Store.open, upgrade, differences):
        with pytest.raises((ConfigurationError, DatabaseError)) as caught:
            attempt(url)
        assert isinstance(caught.value, RunwardError)
        assert len(caught.value.message) < 400


@pytest.mark.problem(21)
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locks cannot be trusted there; the text says so and what to use."""
    monkeypatch.setattr(engine_module, "_file_system", lambda folder: "nfs4")
    with pytest.raises(UnsupportedDatabase, match="nfs4") as caught:
        Store.open(f"sqlite:///{tmp_path / 'runs.db'}")
    assert (7, True) == (caught.value.exit_code, "PostgreSQL" in str(caught.value.hint))


@pytest.mark.problem(21)
@SQLITE
def test_every_connection_has_the_settings_that_durability_rests_on(database_url: str) -> None:
    """WAL, FULL synchronisation, foreign keys and a long busy timeout, on each connection."""
    store = Store.open(database_url)
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 0}
    with store.reading() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    store.close()

    assert wanted == found
