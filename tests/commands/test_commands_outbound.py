"""`runward outbound`, and what `doctor` says of passing on."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from hook_receiver import Receiver, receiving
from support import SQLITE

pytestmark = [SQLITE, pytest.mark.usefixtures("sim")]
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
CONFIG = """
[outbound.crm]
url = "{url}"
secret_variable = "HOOK_SECRET"
events = ["run.completed", "run.failed"]
"""
HANDLERS = """
from ledger import on

@on("run.completed")
def broken(notice):
    raise ValueError("no")
"""


@pytest.fixture
def hook(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """An endpoint, and a configuration that names it."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with receiving() as receiver:
        (home / "runward.toml").write_text(CONFIG.format(url=receiver.url))
        yield receiver


def test_a_daemon_sends_and_the_list_shows_it(runward: CommandLine, hook: Receiver) -> None:
    """From the settings alone."""
    assert 0 == runward("daemon", "--once").code  # the endpoint begins here
    number = runward.submit()
    assert 0 == runward("daemon", "--drain").code
    (row,) = runward("outbound", "list", "-o", "json").json

    assert ["run.completed"] == hook.types
    assert ("crm", "run.completed", int(number), "taken", 1, 204) == tuple(
        row[name] for name in ("endpoint", "type", "run_id", "state", "tries", "last_status")
    )
    assert [] == runward("outbound", "list", "--waiting", "-o", "json").json
    assert [] == runward("outbound", "list", "--given-up", "-o", "json").json
    assert "outbound crm" in runward("doctor").out


def test_redelivery_by_number_and_by_time(runward: CommandLine, hook: Receiver) -> None:
    """Under the old ids; more than one is asked for."""
    runward("daemon", "--once")
    for _ in range(2):
        runward.submit()
    runward("daemon", "--drain")
    first = runward("outbound", "list", "-o", "json").json[-1]["id"]
    assert 0 == runward("outbound", "redeliver", str(first)).code
    runward("daemon", "--once")
    assert 3 == len(hook.got)

    refused = runward("outbound", "redeliver", "--endpoint", "crm", "--since", "1h")
    assert 2 == refused.code
    assert "2 deliveries" in refused.err
    done = runward("outbound", "redeliver", "--endpoint", "crm", "--since", "1h", "--yes")
    assert (0, "2 deliveries are due again; a daemon sends them\n") == (done.code, done.err)
    runward("daemon", "--once")
    assert (5, 2) == (len(hook.got), len({one.id for one in hook.got}))


def test_the_test_signs_and_says_the_answer(runward: CommandLine, hook: Receiver) -> None:
    """Without a daemon, and without a trace in the ledger."""
    said = runward("outbound", "test", "crm", "-o", "json")
    assert (0, True, 204) == (said.code, said.json["taken"], said.json["status"])
    assert ["runward.test"] == hook.types
    assert SECRET not in said.out + said.err

    hook.say(500)
    bad = runward("outbound", "test", "crm")
    assert 9 == bad.code
    assert "it answered 500" in bad.err
    assert [] == runward("outbound", "list", "-o", "json").json


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["test", "other"], 4, "there is no endpoint 'other'"),
        (["redeliver"], 2, "by number, or by --endpoint"),
        (["redeliver", "1", "--endpoint", "crm"], 2, "by number, or by --endpoint"),
        (["redeliver", "--endpoint", "crm"], 2, "by number, or by --endpoint"),
        (["redeliver", "--endpoint", "crm", "--since", "soon"], 2, "no time that is understood"),
        (["redeliver", "7"], 3, "there is no delivery 7"),
        (["redeliver", "--endpoint", "other", "--since", "2h"], 4, "there is no endpoint 'other'"),
        (["redeliver", "--endpoint", "on:m:f", "--since", "2h"], 2, "the function m:f"),
        (["list", "--waiting", "--given-up"], 2, "exclude"),
    ],
)
def test_mistakes(
    runward: CommandLine, hook: Receiver, arguments: list[str], code: int, said: str
) -> None:
    """What, why, and what to do."""
    found = runward("outbound", *arguments)

    assert code == found.code
    assert said in found.err
    assert_clear(found)


def test_a_daemon_without_the_secret_does_not_start(
    runward: CommandLine, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better no daemon than one that tells nobody; reading and waiting work all the same."""
    monkeypatch.delenv("HOOK_SECRET")
    said = runward("daemon", "--once")

    assert 4 == said.code
    assert "[outbound.crm]: HOOK_SECRET must hold the signing secret: it is not set" in said.err
    assert "PROBLEM" in next(x for x in runward("doctor").lines if x.startswith("outbound crm"))
    assert 0 == runward("wait", runward.submit(), "--timeout", "20s").code
    assert [] == hook.got


def test_an_unknown_key_gets_a_suggestion(runward: CommandLine, home: Path) -> None:
    """As everywhere in the configuration."""
    (home / "runward.toml").write_text('[outbound.crm]\nurl = "https://x.test"\nevent = ["a"]\n')
    said = runward("list")

    assert 4 == said.code
    assert "did you mean 'events'?" in said.err


def test_doctor_names_a_handler_that_fails(runward: CommandLine, home: Path) -> None:
    """Which one, since when it is behind, and what it said."""
    (home / "broken_handlers.py").write_text(HANDLERS)
    assert 0 == runward("daemon", "--once", "--tools", "broken_handlers").code
    runward.submit()
    runward("daemon", "--drain", "--tools", "broken_handlers")
    said = runward("doctor")
    (line,) = [x for x in said.lines if x.startswith("follower on:broken_handlers:broken")]

    assert 9 == said.code
    assert "PROBLEM" in line
    assert "1 tries" in line
    assert "ValueError: no" in line
