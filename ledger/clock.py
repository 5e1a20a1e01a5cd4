"""The only place that reads a clock or waits. A simulation hands in a clock of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What tells the time, and passes it."""

    def utcnow(self) -> datetime:
        """Wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def boottime(self) -> float:
        """Seconds since the machine started."""
        ...

    def rest(self, seconds: float) -> None:
        """Block this thread."""
        ...


class MachineClock:
    """The machine's own clocks."""

    def utcnow(self) -> datetime:
        """Wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds since the machine started, suspension included; the same in every process."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


_clocks: list[Clock] = [MachineClock()]
"""The clock in use is the last one."""


@contextmanager
def use(clock: Clock) -> Iterator[None]:
    """Read another clock within the block. For one simulation in one thread."""
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return _clocks[-1].utcnow()


def monotonic() -> float:
    """Seconds on a clock that never goes back; for durations only."""
    return _clocks[-1].monotonic()


def boottime() -> float:
    """Seconds since the machine started, suspension included; the same in every process."""
    return _clocks[-1].boottime()


def boot_id() -> str:
    """A name for this start of the machine; leases are comparable only under one name."""
    return BOOT_ID_FILE.read_text().strip() if BOOT_ID_FILE.exists() else "unknown"


def rest(seconds: float) -> None:
    """Block this thread."""
    _clocks[-1].rest(seconds)


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
