"""Plays a bad night in virtual time and writes the report on it: `make example`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ledger import render
from ledger.fuzzing.nights import BAD, play_night, report_on

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "night.db"
        truth = play_night(BAD, path)
        page = Path(__file__).with_name("example-report.md")
        page.write_text(render(report_on(path, truth), "md"), encoding="utf-8")
