"""The only place that reads a clock or waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never goes back; for durations only."""
    return time.monotonic()


def boottime() -> float:
    """Seconds since the machine started, suspension included; the same in every process."""
    return (
        time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else monotonic()
    )


def boot_id() -> str:
    """A name for this start of the machine; leases are comparable only under one name."""
    return BOOT_ID_FILE.read_text().strip() if BOOT_ID_FILE.exists() else "unknown"


def rest(seconds: float) -> None:
    """Block this thread."""
    time.sleep(seconds)


async def pause(seconds: float) -> None:
    """Let other tasks run for a while."""
    await asyncio.sleep(seconds)


def wait_until(ready: Callable[[], bool], *, seconds: float, every: float = 0.02) -> bool:
    """Block until `ready`, at most `seconds`; says whether it came true."""
    end = monotonic() + seconds
    while not ready():
        if monotonic() >= end:
            return False
        rest(every)
    return True
