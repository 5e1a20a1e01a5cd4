"""A process manager that listens on NOTIFY_SOCKET."""

from __future__ import annotations

import socket

WATCHDOG = "60000000"
"""Microseconds."""


class Manager:
    """The process manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": WATCHDOG}
        self.heard: list[str] = []

    def news(self) -> list[str]:
        """The lines that came since the last time."""
        lines = []
        while True:
            try:
                lines += self._socket.recv(4_096).decode().split("\n")
            except BlockingIOError:
                self.heard += lines
                return lines

    def heard_of(self, line: str) -> bool:
        """Whether a line with this beginning has come."""
        self.news()
        return any(said.startswith(line) for said in self.heard)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
