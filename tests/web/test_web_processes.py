"""`runward serve` and `runward up` as processes, from the first line to the last."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from notify_rig import Manager
from service_rig import KEY
from support import SQLITE
from web_rig import NOWHERE, REQUEST, SECONDS_MAX, Process

from ledger import Ledger
from ledger.clock import monotonic, wait_until
from ledger.service.tokens import create_token
from ledger.simulator import Simulator
from ledger.web.service import FOLLOWERS_MAX

Start = Callable[..., Process]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A process manager that is told how things stand."""
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """One request: status and what came, as JSON where it is."""
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, given)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as said:
            return said.status, _read(said)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error)
    except OSError:
        return 0, ""


def _read(said: Any) -> Any:
    text = said.read().decode()
    return json.loads(text) if said.headers["content-type"] == "application/json" else text


def test_up_is_all_that_is_needed(start: Start, empty_database_url: str, manager: Manager) -> None:
    """An empty database is set up; a run that is submitted is driven to its end, and its stream
    ends with it; SIGTERM ends everything with 0."""
    with Simulator.running(speed=10) as sim:
        up = start(
            "up", "--port", "0",
            OPENAI_BASE_URL=sim.url, OPENAI_API_KEY=KEY, RUNWARD_POLL_SECONDS="0.05",
            url=empty_database_url, **manager.environment,
        )  # fmt: skip
        url = up.url()
        assert wait_until(lambda: manager.heard_of("READY=1"), seconds=SECONDS_MAX)
        assert (200, True) == (ask(f"{url}/readyz")[0], ask(f"{url}/readyz")[1]["ready"])
        status, run = ask(f"{url}/api/v1/runs", {**REQUEST, "key": "sum:1"})
        _, stream = ask(f"{url}/api/v1/runs/sum:1/events?follow=true")
        _, shown = ask(f"{url}/api/v1/runs/{run['id']}")
        _, numbers = ask(f"{url}/metrics")
        code = up.drain()

    assert (201, "completed", "4") == (status, shown["status"], shown["output_text"])
    assert 'event: end\ndata: {"status":"completed"}' in stream
    assert 'runward_workers{role="daemon"} 1.0' in numbers
    assert 0 == code, up.said
    lines = [json.loads(line) for line in up.said.splitlines()]
    assert "the schema is upgraded to " in lines[0]["event"]
    assert f"runward up on {url} " in lines[1]["event"]
    assert {run["id"]} == {line["run_id"] for line in lines[2:]}
    assert "run completed" == lines[-1]["event"]
    assert "STOPPING=1" in manager.news()
    first = ["EXTEND_TIMEOUT_USEC=600000000", "STATUS=bringing the schema up to date", "READY=1"]
    assert first == manager.heard[:3]
    assert "WATCHDOG=1" in manager.heard
    with Ledger.open(empty_database_url) as ledger:
        assert {"life", "http"} == {e["actor"].split(":")[0] for e in ledger.events("sum:1")}
        assert () == ledger.verify().broken


@SQLITE
def test_serve_ends_with_its_streams(start: Start, manager: Manager) -> None:
    """/readyz says so first; who follows is let go; then 0. No line is logged for a request."""
    serve = start("serve", "--port", "0", OPENAI_API_KEY=KEY, **manager.environment)
    url = serve.url()
    assert wait_until(lambda: manager.heard_of("READY=1"), seconds=SECONDS_MAX)
    _, run = ask(f"{url}/api/v1/runs", REQUEST)
    streams: list[tuple[int, Any]] = []
    follow = f"{url}/api/v1/runs/{run['id']}/events?follow=true"
    follower = threading.Thread(target=lambda: streams.append(ask(follow)))
    follower.start()
    assert wait_until(lambda: "retry" in str(streams) or follower.is_alive(), seconds=5)
    ask(f"{url}/healthz")
    serve.process.terminate()
    unready = []
    while (status := ask(f"{url}/readyz")[0]) in (200, 503):
        unready += [monotonic()] if status == 503 else []
    code = serve.wait()
    follower.join(SECONDS_MAX)

    # Long enough for somebody who asks every half a second.
    assert unready[-1] - unready[0] > 0.5
    assert 0 == code, serve.said
    assert 1 == len(serve.said.splitlines()), serve.said
    assert "STOPPING=1" in manager.news()
    assert "WATCHDOG=1" not in manager.heard
    assert [200] == [status for status, _ in streams]


@SQLITE
def test_a_second_signal_ends_at_once(start: Start) -> None:
    """Not after the request that is still being read."""
    up = start("up", "--port", "0", OPENAI_BASE_URL=NOWHERE, OPENAI_API_KEY=KEY)
    url = up.url()
    port = int(url.rpartition(":")[2])
    half = "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as connection:
        connection.sendall(half.encode())
        up.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: ask(f"{url}/readyz")[0] == 503, seconds=SECONDS_MAX, every=0.01)
        up.process.send_signal(signal.SIGINT)

        assert 130 == up.wait()


@SQLITE
@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_port_that_is_taken(start: Start, command: str) -> None:
    """One clear line, and 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(command, "--port", port, OPENAI_API_KEY=KEY)
        assert 1 == process.wait()

    assert f"runward: cannot listen on 127.0.0.1:{port}: " in process.said
    assert "--port" in process.said.splitlines()[1]
    assert 2 == len(process.said.splitlines())


@SQLITE
@pytest.mark.parametrize("command", ["serve", "up"])
def test_strangers_need_a_token_to_exist(start: Start, command: str, database_url: str) -> None:
    """Beyond loopback the service does not start without one; with one, it asks for it."""
    given = (command, "--host", "0.0.0.0", "--port", "0")
    refused = start(*given, OPENAI_BASE_URL=NOWHERE, OPENAI_API_KEY=KEY)
    assert 4 == refused.wait()
    assert "runward token create NAME" in refused.said
    assert 2 == len(refused.said.splitlines())

    with Ledger.open(database_url) as ledger:
        token, _ = create_token(ledger, "ci", role="viewer", expires=None, actor="cli:test")
    serving = start(*given, OPENAI_BASE_URL=NOWHERE, OPENAI_API_KEY=KEY)
    url = serving.url().replace("0.0.0.0", "127.0.0.1")
    assert 401 == ask(f"{url}/api/v1/runs")[0]
    assert 200 == ask(f"{url}/api/v1/runs", Authorization=f"Bearer {token}")[0]
    assert token not in serving.said


@SQLITE
def test_up_without_a_credential(start: Start) -> None:
    """As with daemon: the variable is named."""
    up = start("up", "--port", "0", OPENAI_API_KEY="")

    assert 4 == up.wait()
    assert "runward: OPENAI_API_KEY is not set" in up.said


@SQLITE
def test_the_port_of_the_environment(start: Start) -> None:
    """PORT is what platforms set; a read-only service reads, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = start("serve", "--read-only", PORT=str(port))
    url = serve.url()

    assert f"http://127.0.0.1:{port}" == url
    assert 200 == ask(f"{url}/api/v1/runs")[0]
    assert 403 == ask(f"{url}/api/v1/runs", REQUEST)[0]
    assert 200 == ask(f"{url}/healthz")[0]
    check = start("healthcheck", PORT=str(port))
    assert (0, "ready\n") == (check.wait(), check.said)
    assert 0 == serve.drain()
    check = start("healthcheck", PORT=str(port))
    assert (1, 1) == (check.wait(), len(check.said.splitlines()))


@SQLITE
def test_a_service_under_the_path_of_a_proxy(start: Start) -> None:
    """The proxy takes the path away; what we say of ourselves has it, and no other route opens."""
    serve = start("serve", "--port", "0", "--root-path", "/ledger/", OPENAI_API_KEY=KEY)
    url = serve.url()
    request = urllib.request.Request(
        f"{url}/api/v1/runs",
        json.dumps(REQUEST).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS_MAX) as said:
        assert "/ledger/api/v1/runs/1" == said.headers["location"]
    assert 200 == ask(f"{url}/healthz")[0]
    assert 404 == ask(f"{url}/ledger/healthz")[0]
    wrong = start("serve", "--root-path", "ledger")
    assert 2 == wrong.wait()


@SQLITE
def test_a_client_that_goes_away_makes_room(start: Start) -> None:
    """Its stream ends on our side too: a real socket, closed in the middle."""
    serve = start("serve", "--port", "0", OPENAI_API_KEY=KEY)
    url = serve.url()
    _, run = ask(f"{url}/api/v1/runs", REQUEST)
    port = int(url.rpartition(":")[2])
    request = f"GET /api/v1/runs/{run['id']}/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def follows() -> bool:
        with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).split(b" ")[1] == b"200"

    for _ in range(FOLLOWERS_MAX + 30):
        follows()
    assert wait_until(follows, seconds=5)
    assert 0 == serve.drain()
