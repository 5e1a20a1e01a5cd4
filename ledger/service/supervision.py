"""What a process manager is told over the socket that NOTIFY_SOCKET names (systemd's protocol).

The watchdog is fed by passes of the reconciler that came to their end and by nothing else: no timer
and no thread, which would go on while the loop hangs. A pass that found the database away has ended
as well: killing the process then would lose what it alone knows, and help nobody.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final, Self

from ledger.clock import monotonic

STATUS_SECONDS: Final = 10.0
MIGRATION_SECONDS: Final = 600.0
"""So long a start may take that has to bring the schema up to date."""
ENDING_SECONDS: Final = 15.0
"""What an end takes beyond the grace of the runs: followers, requests, goodbyes."""


class Supervisor:
    """The other end of the socket. Without an address nothing is said."""

    def __init__(
        self,
        address: str | None = None,
        *,
        watchdog_seconds: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._address, self._clock = _address(address), clock
        half = None if watchdog_seconds is None else watchdog_seconds / 2
        self._every = min(STATUS_SECONDS, half or STATUS_SECONDS)
        self._watched = half is not None
        self._ready = False
        self._said_at = float("-inf")

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The one that the environment names, if any."""
        given = os.environ if environment is None else environment
        return cls(given.get("NOTIFY_SOCKET"), watchdog_seconds=_watchdog_seconds(given))

    def ready(self, status: str) -> None:
        """Say once that the start is over."""
        if not self._ready:
            self._ready = True
            self._send("READY=1", f"STATUS={status}")

    def passed(self, backlog: Callable[[], tuple[int, int]]) -> None:
        """A pass came to its end. `backlog` says how many runs are owned and due: asked seldom."""
        if self._address is None or self._clock() - self._said_at < self._every:
            return
        self._said_at = self._clock()
        status = "{} runs owned, {} due".format(*backlog())
        self.ready(status)
        self._send(f"STATUS={status}", *(["WATCHDOG=1"] if self._watched else []))

    def migrating(self) -> None:
        """Ask for the time that a migration may take."""
        status = "bringing the schema up to date"
        self._send(_extension(MIGRATION_SECONDS), f"STATUS={status}")

    def stopping(self, grace_seconds: float) -> None:
        """Say that this is the end, and how long it may take."""
        lasting = _extension(grace_seconds + ENDING_SECONDS)
        self._send("STOPPING=1", lasting, "STATUS=letting go of its runs")

    def _send(self, *lines: str) -> None:
        """One datagram, never waited for: whoever does not listen misses it."""
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.sendto("\n".join(lines).encode(), self._address)


def _address(named: str | None) -> str | None:
    """A path, or with a NUL before it a name in the abstract namespace."""
    if not named or named[0] not in "/@" or len(named) < 2:
        return None
    return "\0" + named[1:] if named[0] == "@" else named


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not (microseconds.isascii() and microseconds.isdigit()) or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 or None


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"
