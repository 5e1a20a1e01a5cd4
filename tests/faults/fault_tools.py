"""Tools and seams of daemons that meet with faults.

`FAULT_HOLD=STEP` stops that step of each run whose key begins with `held` after its call, before
the daemon has heard of the reply, until the file GO is there. `FAULT_CLOCK=FILE` adds the seconds
that the file holds to the daemon's wall clock, as if somebody set it.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from service_tools import FOLDER, GO, charge, find

from ledger import clock
from ledger.clock import MachineClock, pause
from ledger.service import driver

__all__ = ["charge", "find"]
HOLD, CLOCK, HELD = "FAULT_HOLD", "FAULT_CLOCK", "held"


class WrongClock(MachineClock):
    """The machine's clock, set by what a file says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def utcnow(self) -> datetime:
        """Wall time, wrong by so much."""
        seconds = self._path.read_text() if self._path.exists() else ""
        return super().utcnow() + timedelta(seconds=float(seconds or 0))


def set_clock(path: Path, seconds: float) -> None:
    """Set the clocks that read this file, all at one moment."""
    new = path.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(path)


def _hold(step_name: str) -> None:
    perform = driver.perform
    folder = Path(os.environ[FOLDER])

    async def performing(provider: Any, facts: Any, step: Any, read: Any) -> Any:
        done = await perform(provider, facts, step, read)
        if type(step).__name__ == step_name and facts.run.key.startswith(HELD):
            (folder / HELD).touch()
            while not (folder / GO).exists():
                await pause(0.02)
        return done

    driver.perform = performing


if os.environ.get(HOLD):
    _hold(os.environ[HOLD])
if os.environ.get(CLOCK):
    clock._clocks.append(WrongClock(Path(os.environ[CLOCK])))
