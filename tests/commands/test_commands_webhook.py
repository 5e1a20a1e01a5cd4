"""`runward webhook`: endpoints upstream, what came, and whether it comes."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from webhook_receiver import receiving

from ledger import Ledger
from ledger.simulator import Simulator

SECRET = "whsec_" + base64.b64encode(b"a secret for the tests, 32 bytes").decode()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)


@pytest.mark.usefixtures("sim")
def test_an_endpoint_from_its_making_to_its_end(runward: CommandLine, home: Path) -> None:
    """Made, listed, tried, given another secret, deleted; the secret is in the file alone."""
    file = home / "secrets"
    with receiving() as receiver:
        made = runward(
            "webhook", "endpoint", "create", "--url", receiver.url, "--secret-file", str(file),
            "-o", "json",
        )  # fmt: skip
        assert 0 == made.code, made.err
        name, first = made.json["id"], file.read_text().split()
        assert (1, 0o600) == (len(first), stat.S_IMODE(file.stat().st_mode))

        (listed,) = runward("webhook", "endpoint", "list", "-o", "json").json
        assert (name, receiver.url) == (listed["id"], listed["url"])
        tried = runward("webhook", "endpoint", "test", name)
        assert 0 == tried.code, tried.err
        receiver.status = 500
        assert 9 == runward("webhook", "endpoint", "test", name).code

        again = runward("webhook", "endpoint", "rotate", name, "--secret-file", str(file))
        both = file.read_text().split()
        assert (0, first) == (again.code, both[1:])
        last = runward("webhook", "endpoint", "rotate", name, "--now", "--secret-file", str(file))
        assert (0, 1) == (last.code, len(file.read_text().split()))
        assert not set(file.read_text().split()) & set(both)

        said = [made, tried, again, last]
        with Ledger.open(runward.url) as ledger, ledger.store.reading() as connection:
            done = [row[0] for row in connection.exec_driver_sql("SELECT action FROM audit")]
        steps = ("create", "test", "test", "rotate", "rotate")
        assert [f"webhook.endpoint.{step}" for step in steps] == done
        assert not any(word in s.out + s.err for s in said for word in (*both, SECRET))
        assert 2 == runward("webhook", "endpoint", "delete", name).code
        assert 0 == runward("webhook", "endpoint", "delete", name, "--yes").code
        assert [] == runward("webhook", "endpoint", "list", "-o", "json").json


@pytest.mark.usefixtures("sim")
def test_the_secrets_of_other_endpoints_stay_in_a_file(runward: CommandLine, home: Path) -> None:
    """A new endpoint replaces none: deliveries of all that there are count on."""
    file = home / "secrets"
    held: list[str] = []
    for name in ("a", "b", "c"):
        url = f"https://example.com/{name}"
        said = runward("webhook", "endpoint", "create", "--url", url, "--secret-file", str(file))
        assert 0 == said.code, said.err
        newest, *older = file.read_text().split()
        assert held == older
        held = [newest, *older]


@pytest.mark.usefixtures("sim")
def test_without_a_file_the_secret_is_shown_once(runward: CommandLine) -> None:
    """On stdout, for somebody who keeps secrets elsewhere; the list shows a hint alone."""
    with receiving() as receiver:
        made = runward("webhook", "endpoint", "create", "--url", receiver.url, "-o", "json").json
        listed = runward("webhook", "endpoint", "list", "-o", "json").out
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in listed


@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize("url", ["http://example.com/hook", "ftp://x", "nothing", "https://"])
def test_a_url_that_no_delivery_could_reach(runward: CommandLine, url: str) -> None:
    """Said before upstream is asked."""
    said = runward("webhook", "endpoint", "create", "--url", url)
    assert_clear(said)
    assert 2 == said.code


@pytest.mark.usefixtures("sim")
def test_what_upstream_refuses_is_said_in_its_words(runward: CommandLine) -> None:
    """An endpoint that is not there."""
    said = runward("webhook", "endpoint", "rotate", "whe_nowhere")
    assert_clear(said)
    assert 1 == said.code
    assert "404" in said.err or "No such" in said.err


def test_without_a_key_nothing_is_asked(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = runward("webhook", "endpoint", "list")
    assert_clear(said)
    assert 4 == said.code
    assert "OPENAI_API_KEY" in said.err


def test_a_secret_that_others_can_read_is_not_overwritten(
    runward: CommandLine, sim: Simulator, home: Path
) -> None:
    """It is refused with the command that mends it; and nothing is lost: the secret is shown."""
    file = home / "secrets"
    file.write_text("older")
    file.chmod(0o644)
    said = runward(
        "webhook", "endpoint", "create", "--url", "https://example.com/hook",
        "--secret-file", str(file),
    )  # fmt: skip
    assert_clear(said)
    assert 4 == said.code
    assert "chmod 600" in said.err
    assert [] == sim.webhooks()["events"]
    assert [] == runward("webhook", "endpoint", "list", "-o", "json").json


def test_an_empty_ledger_has_nothing_to_show(runward: CommandLine) -> None:
    """Every list is one document, and empty."""
    for command in (["list"], ["list", "--parked"], ["gaps"], ["coverage"]):
        said = runward("webhook", *command, "-o", "json")
        assert (0, []) == (said.code, said.json)
    said = runward("webhook", "listen", "--seconds", "0.1")
    assert (0, "") == (said.code, said.out)


def test_a_receiver_that_is_not_there(runward: CommandLine) -> None:
    """Said with its address; another secret than the receiver's is a hint."""
    said = runward("webhook", "test", "--url", "http://127.0.0.1:9/webhooks/openai")
    assert_clear(said)
    assert 1 == said.code
    with receiving() as receiver:
        receiver.status = 401
        said = runward("webhook", "test", "--url", receiver.url)
    assert_clear(said)
    assert 1 == said.code
    assert "another secret" in said.err


def test_a_test_needs_a_secret(runward: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where it would be read from."""
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET")
    said = runward("webhook", "test")
    assert_clear(said)
    assert 4 == said.code
    assert "OPENAI_WEBHOOK_SECRET" in said.err
