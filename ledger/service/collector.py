"""Python's garbage collector in a process that keeps thousands of runs in memory."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""New objects before the youngest are looked through. The default of 700 is less than a few calls
under way hold: each pass then finds them alive and promotes them, so that with 10,000 runs the full
pass over all that is owned came once a second, and stopped everything for a tenth of one."""


def settle() -> None:
    """Once, when a daemon starts: what was imported stays, so it is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
