"""A service in this process and a client for it; or `runward` as a process of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from forked import Forked
from starlette.testclient import TestClient

from ledger import Ledger
from ledger.clock import wait_until
from ledger.service.tokens import create_token
from ledger.web.app import create_app
from ledger.web.service import Service

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9/v1"
SECONDS_MAX = 20.0
REQUEST = {"model": "sim-ok", "input": "What is 2+2?"}


class Web:
    """One service. `bearer` is sent with each request, where it is set."""

    def __init__(self, ledger: Ledger, **options: Any) -> None:
        self.ledger = ledger
        self.service = Service(ledger, **{"loopback": True} | options)
        self.app = create_app(self.service)
        self.bearer: str | None = None
        self.client = TestClient(
            self.app, base_url="http://localhost", raise_server_exceptions=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def token(self, role: str = "operator", *, name: str = "", expires: str | None = None) -> str:
        """Make a token."""
        return create_token(
            self.ledger, name or role, role=role, expires=expires, actor="cli:test"
        )[0]

    def ask(self, method: str, path: str, *, headers: Any = None, **options: Any) -> Any:
        """Send one request."""
        auth = {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}
        return self.client.request(method, path, headers={**auth, **(headers or {})}, **options)

    def get(self, path: str, **options: Any) -> Any:
        """GET below /api/v1."""
        return self.ask("GET", f"/api/v1{path}", **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST below /api/v1."""
        return self.ask("POST", f"/api/v1{path}", json=body, **options)

    def submit(self, **fields: Any) -> int:
        """Submit a run; its number."""
        said = self.post("/runs", {**REQUEST, **fields})
        assert said.status_code in (200, 201), said.text
        return int(said.json()["id"])

    def rows(self, statement: str) -> list[Any]:
        """Rows, by SQL."""
        with self.ledger.store.reading() as connection:
            return list(connection.execute(sa.text(statement)).all())

    def state(self) -> list[Any]:
        """Everything that a request could have changed."""
        return [
            self.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
            for table in ("run", "event", "payload", "watch", "audit")
        ]


MakeWeb = Callable[..., Web]


def error_of(said: Any) -> tuple[int, str]:
    """Status and code of an answer that is no success, which has to be whole."""
    body = said.json()
    assert {"error"} == set(body), body
    assert {"code", "message", "hint"} == set(body["error"]), body
    assert "Traceback" not in said.text
    return said.status_code, body["error"]["code"]


class Process:
    """`runward` as a process of its own, and what it says on stderr."""

    def __init__(self, url: str, folder: Path, *arguments: str, **environment: str) -> None:
        self.log = folder / f"{arguments[0]}.log"
        kept = {name: value for name, value in os.environ.items() if name not in environment}
        given = {name: value for name, value in environment.items() if value}
        self.log.unlink(missing_ok=True)
        environment = {**kept, **given, "PYTHONPATH": str(ROOT)}
        self.process = Forked("ledger", ["-d", url, *arguments], self.log, environment, folder)

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return self.log.read_text()

    def url(self) -> str:
        """Where it listens, once it does."""
        pattern = re.compile(r"on (http://\S+) ")
        ready = wait_until(
            lambda: pattern.search(self.said) is not None or self.process.poll() is not None,
            seconds=SECONDS_MAX,
        )
        found = pattern.search(self.said)
        assert ready, self.said
        assert found is not None, self.said
        return found[1]

    def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        return self.process.wait(SECONDS_MAX)

    def drain(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.wait()

    def end(self) -> None:
        """Whatever it takes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS_MAX)
