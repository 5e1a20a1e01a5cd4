"""Everything else: help, versions, configuration, database, daemon, doctor, simulator, demo."""

from __future__ import annotations

import inspect
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import KEY, CommandLine, assert_clear
from support import SQLITE
from typer.main import get_command

from ledger import Ledger
from ledger.clock import utcnow
from ledger.commands.app import app
from ledger.store.invariants import INVARIANTS
from ledger.store.lives import Life

ROOT = Path(__file__).parents[2]
FORMS = ("table", "json", "ndjson", "csv", "name")


def tree(command: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    """Every command, with the words that lead to it."""
    found = [(path, command)]
    for name, below in getattr(command, "commands", {}).items():
        found += tree(below, *path, name)
    return found


COMMANDS = tree(get_command(app))


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """`runward` without a database."""
    return CommandLine("sqlite:///nowhere.db", capsys, monkeypatch)


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_explains_itself(alone: CommandLine, path: tuple[str, ...]) -> None:
    """`--help` works everywhere and touches nothing."""
    said = alone.bare(*path, "--help")

    assert (0, "") == (said.code, said.err)
    assert "Usage: runward" in said.out
    assert [] == list(Path().iterdir())


def test_no_command_is_a_coroutine() -> None:
    """A coroutine function as a callback would be called and never awaited."""
    assert [] == [path for path, one in COMMANDS if inspect.iscoroutinefunction(one.callback)]
    assert {"submit", "wait", "verify", "demo"} <= {path[0] for path, _ in COMMANDS if path}


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("submit", "--nonsense"), ("list", "--limit", "0"), ("show",),
     ("list", "-o", "xml"), ("list", "--limit", "many"),
     ("list", "--limit", "99999999999999999999"), ("events", "1", "--after", "-1"),
     ("daemon", "--concurrency", "0"), ("tools", "nonsense")],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_ends_with_2(alone: CommandLine, arguments: tuple[str, ...]) -> None:
    """What the parser refuses is exit 2, without a traceback, and opens no database."""
    said = alone(*arguments)

    assert (2, "") == (said.code, said.out)
    assert "Traceback" not in said.err
    assert [] == list(Path().iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_versions(alone: CommandLine, form: str) -> None:
    """The versions that a report of a fault needs, in every format."""
    said = alone.bare("version", "-o", form)

    assert (0, "") == (said.code, said.err)
    if form == "json":
        assert {"runward", "schema", "python", "openai"} <= set(said.json[0])


@pytest.mark.parametrize("form", FORMS)
def test_scenarios(alone: CommandLine, form: str) -> None:
    """The magic model names, in every format."""
    said = alone.bare("sim", "scenarios", "-o", form)

    assert 0 == said.code
    assert "sim-ok" in said.out


def test_config_says_where_values_come_from(
    alone: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment, file and default are told apart, and a password is never printed."""
    Path("runward.toml").write_text(
        'concurrency = 7\n[profiles.lab]\nkey_variable = "LAB_KEY"\n'
        '[outbound.crm]\nsecret_variable = "CRM"\nurl = "https://h:8443/in?token=hunter2secret&x"\n'
    )
    monkeypatch.setenv("RUNWARD_SETTLE_SECONDS", "5")
    url = "postgresql://me:hunter2secret@localhost/x?host=/run/pg&password=hunter2secret"

    said = alone.bare("-d", url, "config", "show", "-o", "json")
    shown = {row["name"]: (row["value"], row["origin"]) for row in said.json}

    assert (7, "runward.toml") == shown["concurrency"]
    assert (5.0, "environment RUNWARD_SETTLE_SECONDS") == shown["settle_seconds"]
    assert "default" == shown["lease_seconds"][1]
    assert "flag" == shown["database_url"][1]
    assert "LAB_KEY" == shown["profiles"][0]["lab"]["key_variable"]
    assert "https://h:8443/in?token=***&x" == shown["outbound"][0]["crm"]["url"]
    hidden = "postgresql://me:***@localhost/x?host=/run/pg&password=***"
    assert hidden == shown["database_url"][0]
    assert "hunter2secret" not in said.out
    assert "runward.toml\n" == alone.bare("config", "path").out
    assert "settle_seconds" in alone.bare("config", "schema").json["properties"]


def test_config_without_a_file(alone: CommandLine) -> None:
    """No file is said so."""
    assert "none\n" == alone.bare("config", "path").out
    for form in FORMS:
        assert 0 == alone.bare("config", "show", "-o", form).code


@SQLITE
def test_db_goes_from_empty_to_current(empty_database_url: str, alone: CommandLine) -> None:
    """`current`, `check` and `upgrade` say how things stand and bring them in order."""
    before = alone("db", "current", "-o", "json", url=empty_database_url)
    unfit = alone("db", "check", url=empty_database_url)
    up = alone("db", "upgrade", url=empty_database_url)
    again = alone("db", "upgrade", url=empty_database_url)

    assert "empty" == before.json["fit"]
    assert 7 == unfit.code
    assert (0, 0) == (up.code, again.code)
    assert "already" in again.err
    assert 0 == alone("db", "check", url=empty_database_url).code
    for form in FORMS:
        assert 0 == alone("db", "current", "-o", form, url=empty_database_url).code


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_db_sql_prints_the_schema(alone: CommandLine, dialect: str) -> None:
    """The statements of an upgrade, for people who run them by hand."""
    said = alone.bare("db", "sql", dialect)

    assert 0 == said.code
    assert "CREATE TABLE run " in said.out
    assert "CREATE TRIGGER" in said.out


def test_db_sql_knows_two_dialects(alone: CommandLine) -> None:
    """Any other is a mistake."""
    said = alone.bare("db", "sql", "oracle")

    assert 2 == said.code
    assert_clear(said)


@SQLITE
@pytest.mark.parametrize("command", [("list",), ("submit", "--model", "m", "--input", "x"),
                                     ("db", "upgrade"), ("verify",)], ids=" ".join)  # fmt: skip
@pytest.mark.usefixtures("sim")
def test_a_newer_schema_is_exit_7(runward: CommandLine, command: tuple[str, ...]) -> None:
    """A database of a newer program is named, refused and left alone."""
    path = runward.url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    said = runward(*command)

    assert 7 == said.code
    assert_clear(said)
    assert "9999" in said.err


@SQLITE
@pytest.mark.usefixtures("sim")
def test_verify_ends_with_9_after_tampering(runward: CommandLine) -> None:
    """A changed event is named with its run and its number."""
    number = runward.done("sim-ok")
    runward.done("sim-ok")
    assert 0 == runward("verify").code
    guard = "FROM sqlite_master WHERE name = 'runward_event_update'"
    connection = sqlite3.connect(runward.url.removeprefix("sqlite:///"))
    with connection:
        (trigger,) = connection.execute(f"SELECT sql {guard}").fetchone()
        connection.execute("DROP TRIGGER runward_event_update")
        connection.execute(f"UPDATE event SET actor = 'x' WHERE run_id = {number} AND seq = 2")
        connection.execute(trigger)
    connection.close()

    whole, one = runward("verify", "-o", "json"), runward("verify", number)

    assert (9, 9) == (whole.code, one.code)
    assert [(int(number), 2)] == [(b["run_id"], b["seq"]) for b in whole.json["broken"]]
    assert f"run {number}, event 2" in one.err
    for form in FORMS:
        assert 9 == runward("verify", "-o", form).code


@SQLITE
@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize("form", FORMS)
def test_doctor_finds_what_is_wrong(runward: CommandLine, form: str) -> None:
    """A run and no daemon is a finding: exit 9, and the command that mends it."""
    runward.submit()
    said = runward("doctor", "-o", form)

    assert 9 == said.code
    assert "  try: runward daemon\n" in said.err
    assert KEY not in said.out


@SQLITE
@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize("form", FORMS)
def test_doctor_is_content_with_a_ledger_at_rest(runward: CommandLine, form: str) -> None:
    """Without anything to do no daemon is needed: exit 0."""
    runward.done()

    assert 0 == runward("doctor", "-o", form).code


def test_doctor_lists_the_invariants(alone: CommandLine) -> None:
    """`--list` prints them all, and needs no database."""
    said = alone.bare("doctor", "--list", "-o", "json")

    assert [item.number for item in INVARIANTS] == [row["number"] for row in said.json]
    assert [] == list(Path().iterdir())


@SQLITE
@pytest.mark.usefixtures("sim")
def test_daemon_once_and_drain_end_by_themselves(runward: CommandLine) -> None:
    """`--once` ends when nothing is due, `--drain` when all runs have a verdict."""
    runward.submit("sim-instant")
    slow = runward.submit("sim-ok")

    assert 0 == runward("daemon", "--once").code
    assert 0 == runward("daemon", "--drain", "--concurrency", "4").code

    assert ["completed", "completed"] == [r["status"] for r in runward("list", "-o", "json").json]
    assert "4\n" == runward("result", slow).out
    lives = runward("workers", "list", "--all", "-o", "json").json
    assert [("daemon", "ended: drained")] * 2 == [(life["role"], life["state"]) for life in lives]
    for form in FORMS:
        assert 0 == runward("workers", "list", "--all", "-o", form).code


@SQLITE
def test_daemon_without_a_key_is_exit_4(runward: CommandLine) -> None:
    """Nothing can be done without a credential, and that is said at once."""
    said = runward("daemon", "--once")

    assert 4 == said.code
    assert_clear(said)
    assert "OPENAI_API_KEY is not set" in said.err


@SQLITE
@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize(("module", "code"), [("no_such_module", 4), ("json", 4)])
def test_daemon_with_bad_tools_is_exit_4(runward: CommandLine, module: str, code: int) -> None:
    """A module that cannot be imported, or holds no tool, is a mistake in the configuration."""
    said = runward("daemon", "--once", "--tools", module)

    assert code == said.code
    assert_clear(said)
    assert module in said.err


@SQLITE
def test_drain_needs_a_life(runward: CommandLine) -> None:
    """No life begins so: exit 3."""
    said = runward("workers", "drain", "abc")

    assert 3 == said.code
    assert_clear(said)


@SQLITE
def test_workers_drain_asks_a_life(runward: CommandLine) -> None:
    """A life at work is asked, by the beginning of its name."""
    with Ledger.open(runward.url) as ledger:
        life = Life(id="c0ffee" * 5, role="daemon", version="0")
        lock = ledger.store.lives.lock(life)
        ledger.writer.run(lambda c: ledger.store.lives.begin(c, life, utcnow())).result()

        said = runward("workers", "drain", "c0ffee")

        assert (0, "") == (said.code, said.out)
        assert "asked c0ffeec0 to drain" in said.err
        assert "draining" == runward("workers", "list", "-o", "json").json[0]["state"]
        lock.release()


def test_quiet_says_nothing_on_stderr(alone: CommandLine) -> None:
    """`--quiet` takes the hints away, not the results."""
    said = alone.bare("--quiet", "-d", "sqlite:///new.db", "db", "upgrade")

    assert (0, "", "") == (said.code, said.out, said.err)


@SQLITE
@pytest.mark.usefixtures("sim")
def test_a_reader_that_goes_away_is_no_error(runward: CommandLine) -> None:
    """`runward list | head` ends quietly."""
    for _ in range(3):
        runward.submit()
    command = f"{sys.executable} -m ledger -d {runward.url} list -o ndjson | true"

    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_the_demo_adds_up() -> None:
    """The whole story, with a kill -9 in the middle, holds every check."""
    done = subprocess.run(
        [sys.executable, "cli.py", "demo", "-o", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )

    report = json.loads(done.stdout)
    assert (0, True) == (done.returncode, report["ok"]), report["checks"]
    assert [] == [check["check"] for check in report["checks"] if not check["ok"]]
    assert report["in_flight_at_kill"] > 0
    assert report["seconds"] < 40


@SQLITE
@pytest.mark.usefixtures("sim")
def test_a_number_that_is_also_a_key_is_not_guessed(runward: CommandLine) -> None:
    """Which run is meant by a number that another run has as its key is for the caller to say."""
    assert ("1", "2") == (runward.submit("sim-ok", "--key", "2"), runward.submit("sim-ok"))

    refused = runward("cancel", "2")
    assert 2 == refused.code
    assert "the key of run 1" in refused.err
