"""Credentials: read when a ledger is opened, named when they are missing, and never written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from service_rig import MakeRig, Rig, request, verdict
from support import SQLITE

from ledger import InvalidInput, Ledger, MissingCredential
from ledger.errors import SecretInRequest
from ledger.simulator import Simulator

pytestmark = SQLITE
CANARY = "sk-canary-0a1b2c3d4e5f67890123456789"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """An upstream, and no key."""
    with Simulator.running(speed=10) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


def test_a_key_set_before_open_works(
    database_url: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library was imported long ago; the key counts when the ledger is opened."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with Ledger.open(database_url, poll_seconds=0.05) as ledger:
        run = ledger.submit(**request())
        ledger.wait(run, timeout=20)

        assert "4" == ledger.result(run)


def test_a_key_set_after_open_is_explained(
    database_url: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that comes too late is named as such, with the remedy, and nothing is written."""
    with Ledger.open(database_url) as ledger:
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        with pytest.raises(MissingCredential) as caught:
            ledger.submit(**request())

        assert (
            "OPENAI_API_KEY is set now, but was not when the ledger was opened: keys are read then,"
            " and setting one later has no effect" == caught.value.message
        )
        assert "open the ledger again" == caught.value.hint
        assert 0 == Rig(database_url, sim, ledger).count("run")


def test_no_key_is_an_error_before_anything_is_written(database_url: str, sim: Simulator) -> None:
    """Without a key a submit is refused, with the variable's name."""
    with Ledger.open(database_url) as ledger:
        with pytest.raises(MissingCredential, match="OPENAI_API_KEY is not set") as caught:
            ledger.submit(**request())

        rig = Rig(database_url, sim, ledger)
        assert "export OPENAI_API_KEY=…" == caught.value.hint
        assert (0, 0, []) == (rig.count("run"), rig.count("account"), sim.log())


@pytest.mark.parametrize("bad", ["", "   ", "with blank", "schlüssel"])
def test_a_key_that_cannot_be_one_is_none(
    database_url: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """An empty or impossible credential is a missing one."""
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with Ledger.open(database_url) as ledger, pytest.raises(MissingCredential):
        ledger.submit(**request())


@pytest.mark.parametrize(
    "extra",
    [
        {"input": CANARY},
        {"metadata": {"note": CANARY}},
        {"tools": [{"type": "mcp", "headers": {"Authorization": "Bearer something"}}]},
    ],
)
def test_a_literal_secret_is_refused_with_the_remedy(
    database_url: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch, extra: dict[str, object]
) -> None:
    """A request is stored as it is, so a secret in it is refused, and not repeated in the text."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789abcdef")
    with Ledger.open(database_url) as ledger:
        with pytest.raises(SecretInRequest) as caught:
            ledger.submit(**request() | extra)

        assert "env:NAME" in str(caught.value.hint)
        assert CANARY not in str(caught.value)
        assert isinstance(caught.value, InvalidInput)
        assert 0 == Rig(database_url, sim, ledger).count("run")


class Echo(BaseHTTPRequestHandler):
    """An upstream that repeats the credential in its refusal."""

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = f"Incorrect API key provided: {self.headers['authorization']}"
        body = json.dumps({"error": {"message": said, "code": "invalid_api_key"}}).encode()
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The base URL of such an upstream."""
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield
        server.shutdown()
        thread.join()


def files_with(needle: bytes, folder: Path) -> list[str]:
    """The files of a folder that hold these bytes."""
    return [p.name for p in folder.rglob("*") if p.is_file() and needle in p.read_bytes()]


def test_the_key_is_nowhere_on_disk_or_in_the_log(
    make_rig: MakeRig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After completed, failed, cancelled and blocked runs no file and no log line holds the key."""
    caplog.set_level(logging.DEBUG)
    rig = make_rig(key=CANARY)
    rig.finish(*(rig.submit(m) for m in ("sim-ok", "sim-fail-server_error", "sim-http-500-after")))
    rig.ledger.verify()

    assert [] == files_with(CANARY.encode(), tmp_path)
    assert CANARY not in caplog.text
    assert CANARY not in repr(rig.ledger.credentials)


@pytest.mark.usefixtures("echo")
def test_an_upstream_that_echoes_the_key_gives_nothing_away(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refusal that repeats the credential is redacted before it is stored, logged or shown."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with Ledger.open(database_url) as ledger:
        run = ledger.submit(**request(), deadline=1)
        ledger.wait(run, timeout=20)
        shown = json.dumps([ledger.show(run), list(ledger.events(run))])

        assert ("expired", "deadline") == verdict(ledger.get(run))[0:3:2]
        assert "invalid_api_key" in shown
        assert CANARY not in shown
        assert CANARY not in caplog.text
        assert [] == files_with(CANARY.encode(), tmp_path)
