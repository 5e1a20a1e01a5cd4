"""Handlers of a module that a daemon is started with: each writes a line when it is told."""

from __future__ import annotations

import os
from pathlib import Path

from ledger import Notice, on, tool


@tool
def nothing() -> str:
    """Tools and handlers may live in one module."""
    return ""


@on("run.completed", "run.failed")
def written_down(notice: Notice) -> None:
    """One line, and death in the middle where the test asks for it."""
    with Path(os.environ["RUNWARD_TEST_TOLD"]).open("a") as file:
        file.write(f"{notice.type} {notice.run} {notice.attempt}\n")
    if Path(os.environ["RUNWARD_TEST_TOLD"] + ".die").exists():
        os._exit(9)
