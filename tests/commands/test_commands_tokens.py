"""`runward token`: shown once, listed without it, revoked at once, and all of it audited."""

from __future__ import annotations

import getpass
import hashlib
import re
import sqlite3

import pytest
from command_line import CommandLine, assert_clear
from support import SQLITE

from ledger import Ledger
from ledger.commands import serving
from ledger.core.redaction import BLOT, looks_secret, redact_text


def test_a_token_is_shown_once(runward: CommandLine) -> None:
    """On stdout alone, 256 bits of it; the database has only its hash."""
    said = runward("token", "create", "ci", "--role", "operator", "--expires", "30d")
    text = said.out.strip()
    listed = runward("token", "list", "-o", "json")

    assert (0, "token ci (operator): keep it now, it cannot be shown again\n") == (
        said.code,
        said.err,
    )
    assert re.fullmatch(r"rw_[A-Za-z0-9_-]{43}", text)
    (row,) = listed.json
    assert ("ci", "operator", "valid", None) == (
        row["name"],
        row["role"],
        row["state"],
        row["used_at"],
    )
    assert text not in listed.out
    with Ledger.open(runward.url) as ledger, ledger.store.reading() as connection:
        kept = connection.exec_driver_sql("SELECT hash FROM token").scalar_one()
    assert hashlib.sha256(text.encode()).digest() == bytes(kept)


def test_what_was_done_is_audited(runward: CommandLine) -> None:
    """Who, what and about which; the text of a token stands nowhere."""
    text = runward("token", "create", "ci", "-o", "json").json["token"]
    assert 0 == runward("token", "revoke", "ci").code
    with Ledger.open(runward.url) as ledger, ledger.store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT actor, action, subject FROM audit ORDER BY id")
        done = [tuple(row) for row in rows]

    actor = f"cli:{getpass.getuser()}"
    assert [(actor, "token.create", "ci"), (actor, "token.revoke", "ci")] == done
    (row,) = runward("token", "list", "-o", "json").json
    assert ("revoked", actor) == (row["state"], row["revoked_by"])
    assert text.startswith("rw_")


@SQLITE
@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "two words"),
        ("create", "n" * 65),
        ("create", "ä"),
        ("create", "x", "--role", "boss"),
        ("create", "x", "--expires", "soon"),
        ("create", "x", "--expires", "0s"),
        ("create", "x", "--expires", "4000d"),
        ("create", "x", "--expires", "1e400d"),
        ("revoke", "nobody"),
        ("revoke", "ended"),
        ("create", "ended"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_said(runward: CommandLine, arguments: tuple[str, ...]) -> None:
    """One line and a remedy; nothing is written. A name is used once: the history has it."""
    runward("token", "create", "ended")
    runward("token", "revoke", "ended")
    before = runward("token", "list", "-o", "json").out
    said = runward("token", *arguments)

    assert said.code in (1, 2, 3)
    assert_clear(said)
    assert before == runward("token", "list", "-o", "json").out


@SQLITE
def test_the_audit_log_only_grows(runward: CommandLine, database_url: str) -> None:
    """Nobody takes an action back from it."""
    runward("token", "create", "ci")
    connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@SQLITE
def test_a_token_is_known_for_a_secret(runward: CommandLine) -> None:
    """It is refused in requests and blotted out of what upstream says."""
    text = runward("token", "create", "ci").out.strip()

    assert looks_secret(text)
    assert f"it was {BLOT}." == redact_text(f"it was {text}.")


@SQLITE
@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_service_without_its_libraries(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The base install has none: the extra is named."""
    monkeypatch.setattr(serving, "find_spec", lambda _: None)
    said = runward(command)

    assert 4 == said.code
    assert_clear(said)
    assert "runward[web]" in said.err
