"""An endpoint on loopback that keeps what it is sent."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Delivered = tuple[str, dict[str, str], bytes]


class Receiver:
    """Answers with ``status`` to every path; ``/slow`` only once ``release`` is set."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.release = threading.Event()
        self.waits = threading.Event()
        self._come: queue.Queue[Delivered] = queue.Queue()

    def next(self) -> Delivered:
        """The next delivery: its path, its headers in small letters, its body."""
        return self._come.get(timeout=10)

    def take(self, delivered: Delivered) -> int:
        self._come.put(delivered)
        if delivered[0] == "/slow":
            self.waits.set()
            self.release.wait(30)
        return self.status


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take((self.path, headers, body)))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.release.set()
            server.shutdown()
            thread.join()
