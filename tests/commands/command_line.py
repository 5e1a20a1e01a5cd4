"""Runs `runward` in this process, and keeps what it said."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ledger.commands import main

KEY = "sk-command-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()


class CommandLine:
    """`runward -d URL …`."""

    def __init__(
        self, url: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.url, self._capsys, self._patch = url, capsys, patch

    def __call__(self, *arguments: str, stdin: str | bytes = "", url: str | None = None) -> Said:
        """Run one command."""
        return self.bare("-d", url or self.url, *arguments, stdin=stdin)

    def bare(self, *arguments: str, stdin: str | bytes = "") -> Said:
        """Run one command without naming a database."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        self._capsys.readouterr()
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", ["runward", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
            code = _code(main)
        captured = self._capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def submit(self, model: str = "sim-ok", *arguments: str) -> str:
        """Submit a run; returns its number."""
        said = self("submit", "--model", model, "--input", "What is 2+2?", *arguments, "-o", "name")
        assert said.code == 0, said.err
        return said.out.strip()

    def done(self, model: str = "sim-ok", *arguments: str) -> str:
        """Submit a run and drive it to its verdict; returns its number."""
        number = self.submit(model, *arguments)
        assert self("wait", number, "--timeout", "20s").code in (0, 5)
        return number


def _code(command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def assert_clear(said: Said) -> None:
    """An error is one or two lines on stderr: what and why, and what to try."""
    lines = said.err.strip().splitlines()
    assert "" == said.out, said.out
    assert 1 <= len(lines) <= 2, said.err
    assert lines[0].startswith("runward: "), said.err
    assert len(lines) == 1 or lines[1].startswith("  try: "), said.err
    assert "Traceback" not in said.err
