"""Bad input: a clear error, the right exit code, and nothing half-written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from support import SQLITE

pytestmark = [SQLITE, pytest.mark.usefixtures("sim")]
GOOD = {"model": "sim-ok", "input": "hello"}


TABLES = ("run", "attempt", "remote", "event", "payload", "watch", "account", "worker", "evidence")


def content(runward: CommandLine) -> dict[str, int]:
    """How many rows each table has."""
    with contextlib.closing(sqlite3.connect(runward.url.removeprefix("sqlite:///"))) as connection:
        return {
            table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in TABLES
        }


def refused(runward: CommandLine, *arguments: str, code: int, stdin: str | bytes = "") -> str:
    """Run a command that must be refused and change nothing; returns what it said."""
    before = content(runward)
    said = runward(*arguments, stdin=stdin)
    assert code == said.code, said.err
    assert_clear(said)
    assert before == content(runward)
    return said.err


BODIES: dict[str, tuple[str | bytes, str]] = {
    "cut off": ('{"model": "m", ', "line 1, column"),
    "empty": ("", "no request"),
    "no JSON": ("model: m", "not JSON"),
    "NaN": ('{"model": "m", "input": "x", "temperature": NaN}', "NaN"),
    "endless number": ('{"model": "m", "input": "x", "n": ' + "9" * 5_000 + "}", "digits"),
    "too deep": ('{"model": "m", "input": ' + "[" * 3_000 + "]" * 3_000 + "}", "deeper"),
    "not UTF-8": (b'{"model": "m", "input": "\xff\xfe"}', "UTF-8"),
    "a number": ("7", "not an object"),
    "a list of numbers": ("[1, 2]", "not an object"),
    "no model": ('{"input": "x"}', "model"),
    "no input": ('{"model": "m"}', "input"),
    "model of a wrong type": ('{"model": 7, "input": "x"}', "model"),
    "input of a wrong type": ('{"model": "m", "input": 7}', "input"),
    "tags of a wrong type": ('{"model": "m", "input": "x", "tags": 7}', "tags"),
    "tags as a list": ('{"model": "m", "input": "x", "tags": ["a"]}', "tags"),
    "metadata of a wrong type": ('{"model": "m", "input": "x", "metadata": []}', "metadata"),
    "metadata with a number": ('{"model": "m", "input": "x", "metadata": {"a": 1}}', "metadata"),
    "half a surrogate": ('{"model": "m", "input": "\\ud800"}', "surrogate"),
    "half a surrogate as key": ('{"model": "m", "input": "x", "\\ud800": 1}', "key"),
    "a NUL in the model": ('{"model": "m\\u0000", "input": "x"}', "U+0000"),
    "a NUL in the key": ('{"key": "a\\u0000", "model": "m", "input": "x"}', "U+0000"),
    "a NUL in a tag": ('{"tags": {"a": "\\u0000"}, "model": "m", "input": "x"}', "U+0000"),
    "a key of a wrong type": ('{"key": 7, "model": "m", "input": "x"}', "key"),
    "a blank key": ('{"key": "  ", "model": "m", "input": "x"}', "key"),
    "an endless key": (json.dumps({**GOOD, "key": "k" * 300}), "key"),
    "another provider": (json.dumps({**GOOD, "provider": "telepathy"}), "telepathy"),
    "provider of a wrong type": (json.dumps({**GOOD, "provider": 7}), "provider"),
    "16 pairs": (json.dumps({**GOOD, "metadata": {f"k{n}": "v" for n in range(16)}}), "15"),
    "our own pair": (json.dumps({**GOOD, "metadata": {"runward": "x"}}), "runward's own"),
    "a stream": (json.dumps({**GOOD, "stream": True}), "stream"),
    "not stored": (json.dumps({**GOOD, "store": False}), "store"),
    "negative deadline": (json.dumps({**GOOD, "deadline": -5}), "deadline"),
    "endless deadline": (json.dumps({**GOOD, "deadline": 10**30}), "deadline"),
    "deadline of a wrong type": (json.dumps({**GOOD, "deadline": ["1h"]}), "deadline"),
    "deadline without meaning": (json.dumps({**GOOD, "deadline": "soon"}), "soon"),
    "negative interval": (json.dumps({**GOOD, "poll_seconds": -1}), "poll_seconds"),
    "interval of a wrong type": (json.dumps({**GOOD, "poll_seconds": "x"}), "poll_seconds"),
    "restart of a wrong type": (json.dumps({**GOOD, "restart": 3}), "restart"),
    "restart of all failures": (json.dumps({**GOOD, "restart": "failed=3"}), "failed"),
    "restart without end": (json.dumps({**GOOD, "restart": "expired=999999999"}), "restart"),
    "effects of a wrong type": (json.dumps({**GOOD, "effects": 1}), "effects"),
    "on_unknown of a wrong type": (json.dumps({**GOOD, "on_unknown": 1}), "on_unknown"),
    "kind of a wrong type": (json.dumps({**GOOD, "kind": 7}), "kind"),
    "profile of a wrong type": (json.dumps({**GOOD, "profile": 7}), "profile"),
    "a literal secret": (json.dumps({**GOOD, "api_key": "sk-0123456789abcdef0123"}), "secret"),
    "an id that is a path": (
        json.dumps({"provider": "assistants", "assistant_id": "a", "thread_id": "../x"}),
        "thread_id",
    ),
    "a wrong line among good ones": (json.dumps(GOOD) + "\n" + '{"model": 7}\n', "request 2"),
    "one key twice": ("\n".join([json.dumps({**GOOD, "key": "k"})] * 2) + "\n", "one key"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_request_is_refused_whole(runward: CommandLine, name: str) -> None:
    """Whatever is wrong with a request: exit 2, the reason, and nothing is written."""
    body, reason = BODIES[name]
    code = 4 if name.startswith("profile") else 2

    assert reason in refused(runward, "submit", "-f", "-", code=code, stdin=body)


def test_a_request_of_more_than_10_mb_is_refused(runward: CommandLine, tmp_path: Path) -> None:
    """The limit is named, with what to do instead."""
    path = tmp_path / "large.json"
    path.write_text(json.dumps({**GOOD, "input": "x" * 10_000_001}))

    said = refused(runward, "submit", "-f", str(path), code=2)
    assert "10000000" in said
    assert "upload large files" in said


FLAGS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no model": (("submit", "--input", "x"), 2, "model"),
    "unknown provider": (("submit", "--provider", "x", "--model", "m"), 2, "provider"),
    "bad tag": (("submit", "--model", "m", "--input", "x", "--tag", "nonsense"), 2, "NAME=VALUE"),
    "bad tag name": (("submit", "--model", "m", "--input", "x", "--tag", "a b=c"), 2, "tag"),
    "bad duration": (("submit", "--model", "m", "--input", "x", "--deadline", "x"), 2, "90s"),
    "endless duration": (
        ("submit", "--model", "m", "--input", "x", "--deadline", "9999999d"), 2, "deadline"
    ),
    "negative duration": (
        ("submit", "--model", "m", "--input", "x", "--deadline=-1s"), 2, "deadline"
    ),
    "bad restart": (("submit", "--model", "m", "--input", "x", "--restart", "x"), 2, "expired=N"),
    "bad effects": (("submit", "--model", "m", "--input", "x", "--effects", "x"), 2, "hold"),
    "bad on_unknown": (
        ("submit", "--model", "m", "--input", "x", "--on-unknown", "retry"), 2, "recreate"
    ),
    "too many recreates": (
        ("submit", "--model", "m", "--input", "x", "--on-unknown", "recreate=99"), 2, "0 to 5"
    ),
    "no such file": (("submit", "-f", "nowhere.json"), 2, "nowhere.json"),
    "a folder": (("submit", "-f", "."), 2, "cannot be read"),
    "unknown run": (("show", "77"), 3, "no run '77'"),
    "unknown key": (("result", "nobody"), 3, "nobody"),
    "huge number": (("show", "9" * 40), 3, "no run"),
    "number beyond the column": (("show", "9" * 18), 3, "no run"),
    "events of an unknown run": (("events", "77"), 3, "77"),
    "watch of an unknown run": (("watch", "77"), 3, "77"),
    "wait for an unknown run": (("wait", "77"), 3, "77"),
    "cancel of an unknown run": (("cancel", "77"), 3, "77"),
    "restart of an unknown run": (("restart", "77"), 3, "77"),
    "note on an unknown run": (("note", "77", "x"), 3, "77"),
    "verify of an unknown run": (("verify", "77"), 3, "77"),
    "tools of an unknown run": (("tools", "show", "77"), 3, "77"),
    "answer to an unknown run": (("tools", "submit", "77", "1", "--output", "x"), 3, "77"),
    "adopt into an unknown run": (("adopt", "resp_1", "--run", "77"), 3, "77"),
    "a NUL in a run's name": (("show", "a\x00b"), 3, "no run"),
    "half a surrogate in a run's name": (("show", "\udc80"), 3, "no run"),
    "half a surrogate in the input": (("submit", "--model", "m", "--input", "\udc80"), 2, "surrog"),
    "half a surrogate in the key": (
        ("submit", "--model", "m", "--input", "x", "--key", "\udc80"), 2, "U+DC80"
    ),
    "bad query field": (("list", "-q", "colour:red"), 2, "colour"),
    "bad query status": (("list", "-q", "status:bored"), 2, "status"),
    "bad query quotes": (("list", "-q", '"open'), 2, "query"),
    "bad query time": (("list", "-q", "since:whenever"), 2, "whenever"),
    "bad query wildcard": (("list", "-q", "model:a*b"), 2, "*"),
    "a NUL in a query": (("list", "-q", "model:\x00"), 2, "query"),
    "endless query": (("list", "-q", "x" * 3_000), 2, "longer"),
    "unknown profile": (
        ("--profile", "moon", "submit", "--model", "m", "--input", "x"), 4, "moon"
    ),
    "unknown profile to read": (("--profile", "moon", "list"), 4, "moon"),
    "adopt without a name": (("adopt", ""), 2, "id"),
    "adopt by an address": (("adopt", "../models"), 2, "not a URL"),
    "adopt a response on a thread": (
        ("adopt", "run_1", "--thread", "thread_1"), 2, "--provider assistants"
    ),
    "an anchor into the root": (("anchor", "--output", "/"), 2, "cannot be written"),
    "stories and a seed": (("sim", "fuzz", "--stories", "--seed", "1"), 2, "--seed"),
    "a seed and seeds": (("sim", "fuzz", "--seed", "1", "--seeds", "2"), 2, "--seeds"),
    "a first seed of stories": (("sim", "fuzz", "--stories", "--first", "2"), 2, "--first"),
    "each so many-th of no story": (("sim", "fuzz", "--every", "60"), 2, "--stories"),
}  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FLAGS)
def test_a_bad_argument_is_refused(runward: CommandLine, name: str) -> None:
    """Whatever is wrong on the line: the right exit code, the reason, and nothing is written."""
    arguments, code, reason = FLAGS[name]

    assert reason in refused(runward, *arguments, code=code)


def test_an_empty_note_is_refused(runward: CommandLine) -> None:
    """A remark says something."""
    run = runward.submit()

    assert "empty" in refused(runward, "note", run, " ", code=2)


def test_a_long_note_is_refused(runward: CommandLine) -> None:
    """A remark is bounded."""
    number = runward.submit()

    assert "longer" in refused(runward, "note", number, "x" * 3_000, code=2)


DATABASES = {
    "nonsense": "not a url",
    "another server": "mysql://me:hunter2secret@localhost/x",
    "in memory": "sqlite://",
    "no server": "postgresql://me:hunter2secret@127.0.0.1:1/x?connect_timeout=1",
    "a bad port": "postgresql://me:hunter2secret@127.0.0.1:port/x",
    "a folder": "sqlite:////",
    "a place that cannot be": "sqlite:////proc/nowhere/runs.db",
}


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("command", ["list", "submit", "db"])
def test_a_bad_database_is_refused_without_its_password(
    runward: CommandLine, name: str, command: str
) -> None:
    """An address that cannot be used is an error with a reason, and the password stays unsaid."""
    rest = {"submit": ("--model", "m", "--input", "x"), "db": ("upgrade",)}.get(command, ())

    said = runward(command, *rest, url=DATABASES[name])

    assert said.code in (1, 4, 7), said.err
    assert_clear(said)
    assert "hunter2secret" not in said.err


def test_a_file_that_is_no_database_is_left_alone(runward: CommandLine, tmp_path: Path) -> None:
    """A text file is not turned into a database."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n" * 200)

    said = runward("list", url=f"sqlite:///{path}")

    assert said.code in (1, 7)
    assert_clear(said)
    assert "my notes\n" * 200 == path.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("concurency = 3\n", "did you mean 'concurrency'?"),
        ("[profiles.lab]\nbase_ur = 'x'\n", "did you mean 'base_url'?"),
        ("concurrency = 'many'\n", "concurrency"),
        ("concurrency = 0\n", "concurrency"),
        ("concurrency = \n", "cannot be read"),
        ("deadline = 'soon'\n", "soon"),
        ("restart = 'always'\n", "always"),
        ("[profiles.a]\nbase_url = 'https://hunter2@h/v1'\n", "user name or a password"),
    ],
)
def test_a_bad_configuration_is_named(runward: CommandLine, text: str, reason: str) -> None:
    """An unknown key is answered with the one that was meant, a bad value by its name."""
    Path("runward.toml").write_text(text)

    said = runward("submit", "--model", "m", "--input", "x")

    assert said.code in (2, 4)
    assert_clear(said)
    assert reason in said.err
    assert "hunter2" not in said.err


def test_a_configuration_that_is_not_there(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUNWARD_CONFIG must name a file."""
    monkeypatch.setenv("RUNWARD_CONFIG", "nowhere.toml")

    said = runward("list")

    assert 4 == said.code
    assert_clear(said)


def test_no_key_is_exit_4_and_nothing_is_written(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submit without a credential names the variable."""
    monkeypatch.delenv("OPENAI_API_KEY")

    said = refused(runward, "submit", "--model", "m", "--input", "x", code=4)
    assert "OPENAI_API_KEY is not set, so nothing was written" in said


def test_a_bad_scenario_is_refused(runward: CommandLine) -> None:
    """The simulator says what is wrong with its scenario."""
    Path("s.json").write_text('{"speeed": 1}')

    assert "speeed" in refused(runward, "sim", "serve", "--scenario", "s.json", code=2)
    assert "nowhere" in refused(runward, "sim", "serve", "--scenario", "nowhere", code=2)


def test_a_webhook_secret_is_named_but_never_shown(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator takes it from a variable, and refuses one that anybody could guess."""
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    monkeypatch.setenv("WEAK_SECRET", "whsec_d2Vhaw==")
    to = ("sim", "serve", "--webhook-url")
    weak = ("--webhook-secret-variable", "WEAK_SECRET")

    assert "OPENAI_WEBHOOK_SECRET" in refused(runward, *to, "https://example.com", code=4)
    said = refused(runward, *to, "https://example.com", *weak, code=2)
    assert "24 to 64 bytes" in said
    assert "d2Vhaw" not in said
    assert "https" in refused(runward, *to, "http://example.com", *weak, code=2)
    assert "--webhook-url" in refused(runward, "sim", "serve", *weak, code=2)
