"""`python -m fault_migrate ARGUMENTS` is runward whose migration stops for ever at one point.

FAULT_MIGRATE names the point: `begun` before any statement, `tables` when there are tables and no
guards, `guards` when only COMMIT is missing. The file `reached` in RIG_FOLDER says that it waits.
"""

from __future__ import annotations

import os
import runpy
import threading
from pathlib import Path
from typing import Any

from service_tools import FOLDER, REACHED

from ledger.store import migrate

POINT, POINTS = "FAULT_MIGRATE", ("begun", "tables", "guards")


def stop_at(point: str) -> None:
    """Make this process stop there."""
    config, install = migrate._config, migrate.guards.install

    def stop(here: str) -> None:
        if point == here:
            (Path(os.environ[FOLDER]) / REACHED).touch()
            threading.Event().wait()

    def configuring(**given: Any) -> Any:
        stop("begun")
        return config(**given)

    def installing(connection: Any) -> None:
        stop("tables")
        install(connection)
        stop("guards")

    migrate._config = configuring
    migrate.guards.install = installing


if __name__ == "__main__":
    stop_at(os.environ[POINT])
    runpy.run_module("ledger", run_name="__main__", alter_sys=True)
