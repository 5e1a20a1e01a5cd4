"""An empty home, a simulator, and `runward` in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import warmed  # noqa: F401 - the command tree is built once
from command_line import KEY, CommandLine

from ledger.simulator import Simulator


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without any configuration, which is also the working directory."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """An upstream, and a key for it."""
    with Simulator.running(speed=10) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("RUNWARD_POLL_SECONDS", "0.05")
        monkeypatch.setenv("RUNWARD_SETTLE_SECONDS", "0.3")
        yield running


@pytest.fixture
def runward(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """`runward` over a fresh database."""
    return CommandLine(database_url, capsys, monkeypatch)
