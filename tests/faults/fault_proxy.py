"""A way to a PostgreSQL server on which connections break within COMMIT."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

EVERY = 3
COMMIT = b"COMMIT\0"


class CuttingProxy:
    """While `cutting`, breaks the connection at every third COMMIT, a reader's too: in turns before
    the server sees it, and after the server has done it."""

    def __init__(self, server: str, folder: Path, cuts_max: int) -> None:
        self._server, self._cuts_max = server, cuts_max
        self.cutting, self._commits = False, 0
        self.before = self.after = 0
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / Path(server).name))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextlib.contextmanager
    def to(cls, url: str, cuts_max: int) -> Iterator[tuple[CuttingProxy, str]]:
        """A proxy to this server, and the URL that leads through it."""
        parsed = make_url(url)
        server = f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}"
        with tempfile.TemporaryDirectory(prefix="runward-proxy-") as folder:
            proxy = cls(server, Path(folder), cuts_max)
            through = parsed.update_query_dict({"host": folder})
            yield proxy, through.render_as_string(hide_password=False)
            proxy._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                doomed = threading.Event()
                for work in (self._ask, self._answer):
                    threading.Thread(
                        target=work, args=(client, server, doomed), daemon=True
                    ).start()

    def _ask(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with client, server, contextlib.suppress(OSError):
            while data := client.recv(65536):
                fate = self._fate() if COMMIT in data else None
                if fate == "before":
                    break
                if fate == "after":
                    doomed.set()
                server.sendall(data)
            _shut(client, server)

    def _answer(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(65536)) and not doomed.is_set():
                client.sendall(data)
        _shut(client, server)

    def _fate(self) -> str | None:
        with self._lock:
            self._commits += self.cutting
            if (
                not self.cutting
                or self._commits % EVERY
                or self.before + self.after >= self._cuts_max
            ):
                return None
            if self.before > self.after:
                self.after += 1
                return "after"
            self.before += 1
            return "before"


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
