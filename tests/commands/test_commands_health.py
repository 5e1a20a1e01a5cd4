"""`runward healthcheck`: one line, and 0 or 1, whatever is at the other end."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command_line import KEY, CommandLine, assert_clear
from support import SQLITE

from ledger import Ledger
from ledger.commands import health

sys.path.append(str(Path(__file__).parents[1] / "service"))

from service_rig import Daemon


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[int, list[str]]]:
    """A service that says this to everything: its port, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def _greet(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1_024)
        connection.sendall(b"SSH-2.0\r\n\r\n")


def readiness(**checks: bool) -> bytes:
    """What /readyz says."""
    return json.dumps({"ready": all(checks.values()), "checks": checks}).encode()


@SQLITE
def test_a_service_that_is_ready(runward: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings say, past any proxy; or at a URL, with /readyz where it has no path."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("RUNWARD_HOST", "0.0.0.0")
    with answering(200, readiness(database=True)) as (port, asked):
        monkeypatch.setenv("PORT", str(port))
        said = [
            runward("healthcheck"),
            runward("healthcheck", "--url", f"http://127.0.0.1:{port}/"),
            runward("healthcheck", "--url", f"http://127.0.0.1:{port}/prefix/readyz"),
        ]

    assert [(0, "ready\n", "")] * 3 == [(one.code, one.out, one.err) for one in said]
    assert ["/readyz", "/readyz", "/prefix/readyz"] == asked


@SQLITE
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, readiness(database=True, reconciler=False, schema=False), ": reconciler, schema\n"),
        (503, b"", " answered 503\n"),
        (404, b"<html>", " answered 404\n"),
        (500, b"[1]", " answered 500\n"),
    ],
)
def test_a_service_that_is_not(runward: CommandLine, status: int, body: bytes, words: str) -> None:
    """1, and what it says is wrong."""
    with answering(status, body) as (port, _):
        said = runward("healthcheck", "--url", f"http://127.0.0.1:{port}")

    assert 1 == said.code
    assert_clear(said)
    assert said.err.startswith("runward: not ready: ")
    assert said.err.endswith(words)


@SQLITE
def test_a_service_that_does_not_answer(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there; somebody who takes the call and says nothing, or something else than HTTP."""
    monkeypatch.setattr(health, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        silent = runward("healthcheck", "--url", url)
    gone = runward("healthcheck", "--url", url)
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        talker = threading.Thread(target=_greet, args=(other,))
        talker.start()
        strange = runward("healthcheck", "--url", url)
        talker.join()

    for said in (silent, gone, strange):
        assert 1 == said.code
        assert_clear(said)
        assert "does not answer" in said.err


@SQLITE
@pytest.mark.parametrize(
    "wrong",
    [
        ("--url", "127.0.0.1:8787"),
        ("--url", "file:///etc/passwd"),
        ("--url", "http://"),
        ("--url", "http://host:99999"),
        ("--url", "http://[::1"),
        ("--url", "http://a b"),
        ("--url", "http://127.0.0.1:8787", "--daemon"),
    ],
)
def test_what_cannot_be_asked(runward: CommandLine, wrong: tuple[str, ...]) -> None:
    """2, and how it is written."""
    said = runward("healthcheck", *wrong)
    assert 2 == said.code
    assert_clear(said)


def test_a_daemon_of_this_host(runward: CommandLine, database_url: str, tmp_path: Path) -> None:
    """Its lock, its lease and its heartbeat have to hold; one elsewhere is none of ours."""

    def change(statement: str) -> None:
        with Ledger.open(database_url) as ledger, ledger.store.engine.begin() as connection:
            connection.execute(sa.text(statement))

    daemon = Daemon(
        database_url,
        tmp_path / "daemon.log",
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
    )
    try:
        daemon.expect("it is at work", lambda: runward("healthcheck", "--daemon").code == 0)
        well = runward("healthcheck", "--daemon")
        daemon.process.send_signal(signal.SIGSTOP)
        change("UPDATE worker SET beat = beat - 60")
        stale = runward("healthcheck", "--daemon")
        change("UPDATE worker SET beat = beat + 60, host = 'elsewhere'")
        elsewhere = runward("healthcheck", "--daemon")
    finally:
        daemon.end()
    gone = runward("healthcheck", "--daemon")

    assert "daemon " in well.out
    assert " is at work\n" in well.out
    for said in (stale, elsewhere, gone):
        assert (1, "runward: no daemon of this host is at work") == (
            said.code,
            said.err.splitlines()[0],
        )


@SQLITE
def test_no_database_is_made_by_asking(runward: CommandLine, tmp_path: Path) -> None:
    """A ledger that is not there has no daemon, and stays away."""
    said = runward("healthcheck", "--daemon", url=f"sqlite:///{tmp_path / 'none.db'}")

    assert 1 == said.code
    assert_clear(said)
    assert not (tmp_path / "none.db").exists()
