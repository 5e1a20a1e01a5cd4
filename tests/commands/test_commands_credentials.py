"""Secrets and settings that a process manager hands over as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import KEY, CommandLine, assert_clear
from support import SQLITE

from ledger import credentials
from ledger.simulator import Simulator


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """systemd's directory of credentials, empty; and no /run/secrets."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.setattr(credentials, "MOUNTED", tmp_path / "mounted")
    return folder


@SQLITE
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "openai_api_key"])
@pytest.mark.parametrize("place", ["credentials", "mounted"])
def test_a_key_in_a_file(
    sim: Simulator,
    runward: CommandLine,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: str,
) -> None:
    """Named as the variable, or in small letters; the line break at its end does not count."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert 4 == runward("submit", "--model", "sim-ok", "--input", "Hi").code
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / name).write_text(f"{KEY}\n")

    run = runward.submit()
    assert 0 == runward("daemon", "--drain").code
    assert "completed" == runward("show", run, "-o", "json").json["status"]


@SQLITE
def test_the_environment_comes_first(
    runward: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the order of all settings has it; and systemd's directory before the container's."""
    (folder / "SOME_KEY").write_text("of the file")
    (folder.parent / "mounted").mkdir()
    (folder.parent / "mounted" / "SOME_KEY").write_text("of the container")
    assert "of the file" == credentials.secret_of("SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "of the environment")
    assert "of the environment" == credentials.secret_of("SOME_KEY")
    assert "" == credentials.secret_of("OTHER_KEY")


@SQLITE
@pytest.mark.parametrize("name", ["RUNWARD_DATABASE_URL", "database_url"])
def test_a_setting_in_a_file(runward: CommandLine, folder: Path, tmp_path: Path, name: str) -> None:
    """The database's URL has a password in it: it may be handed over like a key."""
    (folder / name).write_text(f"sqlite:///{tmp_path / 'other.db'}\n")
    (folder / "OPENAI_API_KEY").write_text(KEY)

    rows = {row["name"]: row for row in runward.bare("config", "show", "-o", "json").json}

    assert rows["database_url"]["value"].endswith(f":///{tmp_path / 'other.db'}")
    assert str(folder / name) == rows["database_url"]["origin"]


@SQLITE
def test_a_file_that_is_no_text(runward: CommandLine, folder: Path) -> None:
    """One clear line, without what is in it."""
    (folder / "OPENAI_API_KEY").write_bytes(b"\xff\xfe\xff")
    said = runward("submit", "--model", "sim-ok", "--input", "Hi")

    assert 4 == said.code
    file = folder / "OPENAI_API_KEY"
    assert f"runward: the secret {file} cannot be read: it is no text" in said.err


def test_a_password_in_a_base_url_is_never_kept(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is written, and not repeated."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@127.0.0.1:1/v1")
    said = runward("submit", "--model", "gpt-5", "--input", "hello")
    assert_clear(said)
    assert (4, True, False) == (said.code, "would be kept" in said.err, "hunter2" in said.err)
