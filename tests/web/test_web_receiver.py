"""The receiver over HTTP: whatever comes, it is answered, and nothing forged leaves a trace."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from service_rig import MakeRig
from starlette.testclient import TestClient
from web_rig import Process
from webhook_rig import SECRET, VARIABLE, delivery, event, sign

from ledger import Ledger
from ledger.clock import utcnow
from ledger.core.delivery import PATH
from ledger.service.keyring import Keyring
from ledger.service.receiving import Receiver
from ledger.service.webhooks import create_endpoint, rotate_endpoint, write_secret
from ledger.web.app import create_app
from ledger.web.receiver import receiver_router
from ledger.web.service import Service

BODY_MAX = 256 * 1024


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


@contextmanager
def receiving(ledger: Ledger) -> Iterator[TestClient]:
    """A client of a service that takes webhooks."""
    receiver = Receiver(ledger.store, ledger.writer, Keyring(ledger.settings), utcnow)
    service = Service(ledger, loopback=False)
    app = create_app(service, routers=[receiver_router(receiver)])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
        assert client.portal is not None
        client.portal.call(receiver.close)


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    with Ledger.open(database_url) as ledger, receiving(ledger) as made:
        yield made


def post(client: TestClient, headers: Any, body: Any) -> Any:
    return client.post(PATH, content=body, headers=headers)


def test_a_delivery_needs_no_token_but_a_signature(client: TestClient) -> None:
    """From anywhere, under any host name; a second time it is a duplicate, and that is fine."""
    headers, body = delivery()
    for result in ("accepted", "duplicate"):
        said = post(client, {**headers, "host": "ledger.example.com"}, body)
        assert (200, {"result": result}) == (said.status_code, said.json())


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: (delivery()[0], b"{}"), 401, "forged"),
        (lambda: ({}, b"{}"), 400, "malformed"),
        (lambda: delivery(body=b"[" * 10_000), 400, "malformed"),
        (lambda: (delivery()[0], b" " * (BODY_MAX + 1)), 413, "too_large"),
        (lambda: (delivery()[0], iter([b" " * BODY_MAX, b" "])), 413, "too_large"),
    ],
)
def test_what_cannot_be_believed_is_a_4xx(
    client: TestClient, make: Callable[[], Any], status: int, code: str
) -> None:
    """With the reason, and never a 5xx: that would be sent again for three days."""
    said = post(client, *make())
    assert (status, code) == (said.status_code, said.json()["error"]["code"])


def test_a_body_that_stalls_is_given_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds a request back holds no connection for long."""
    monkeypatch.setattr("ledger.web.receiver.BODY_SECONDS", 0.05)
    scope = {
        "type": "http", "method": "POST", "path": PATH, "root_path": "", "scheme": "http",
        "query_string": b"", "headers": [(b"content-length", b"100")], "server": ("x", 80),
    }  # fmt: skip
    sent: list[Any] = []

    async def silence() -> Any:
        await asyncio.Event().wait()

    async def keep(message: Any) -> None:
        sent.append(message)

    with Ledger.open(database_url) as ledger:

        async def work() -> None:
            receiver = Receiver(ledger.store, ledger.writer, Keyring(ledger.settings), utcnow)
            service = Service(ledger, loopback=True)
            await create_app(service, routers=[receiver_router(receiver)])(scope, silence, keep)
            await receiver.close()

        asyncio.run(work())
    assert 408 == sent[0]["status"]


def test_other_methods_are_refused(client: TestClient) -> None:
    """There is nothing to be read here; a stranger does not even learn that."""
    assert 401 == client.request("PUT", PATH).status_code


VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300),
    signed=st.booleans(),
    odd=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), VALUES
    ),
)
@example(body=b"\xff", signed=True, odd={})
@example(body=b"1e999", signed=True, odd={})
@example(body=b'{"data": {"id": "\\ud800"}, "type": "\\u0000"}', signed=True, odd={})
@example(body=b'{"created_at": 1e400, "data": {"id": "x"}, "type": "y"}', signed=True, odd={})
def test_no_bytes_make_an_error_of_ours(
    client: TestClient, body: bytes, signed: bool, odd: dict[str, str]
) -> None:
    """Any body, any headers, with a right signature or a wrong one: never a 5xx."""
    stamp = str(int(utcnow().timestamp()))
    headers: dict[str, Any] = {
        "webhook-id": "wh_any",
        "webhook-timestamp": stamp,
        "webhook-signature": sign(SECRET, "wh_any", stamp, body) if signed else "v1,AAAA",
        **odd,
    }
    raw = {name: value.encode("latin-1") for name, value in headers.items()}

    said = post(client, raw, body)

    assert said.status_code < 500, said.text


def test_a_ledger_that_cannot_keep_it_says_so(database_url: str) -> None:
    """Then upstream sends it again, so this one is a 503."""
    with Ledger.open(database_url) as ledger:
        with receiving(ledger) as client:
            ledger.writer.close()
            said = post(client, *delivery())
        assert (503, "unavailable") == (said.status_code, said.json()["error"]["code"])


@pytest.mark.problem(12)
def test_up_is_told_by_its_upstream(
    make_rig: MakeRig, start: Callable[..., Process], tmp_path: Path
) -> None:
    """One process that drives and receives, an upstream that signs with a secret that is rotated
    meanwhile: the end comes by webhook."""
    file = tmp_path / "secrets"
    write_secret(file, SECRET, keep_old=True)
    rig = make_rig(speed=5, poll_seconds=None)
    up = start(
        "up", "--port", "0",
        RUNWARD_OPENAI_WEBHOOKS="true", OPENAI_WEBHOOK_SECRET="",
        OPENAI_WEBHOOK_SECRET_FILE=str(file),
    )  # fmt: skip
    made = create_endpoint(rig.ledger, "default", name="up", url=f"{up.url()}{PATH}")
    write_secret(file, made.secret, keep_old=True)
    for overlap in (True, False):
        run = rig.ledger.submit(model="sim-slow", input="What is 2+2?", key=f"run:{overlap}")
        rig.ledger.wait(run, timeout=20, drive="never")
        (end,) = [e for e in rig.ledger.events(run) if e["to"] == "completed"]
        assert "webhook" == end["source"]
        again = rotate_endpoint(rig.ledger, "default", made.endpoint.id, overlap=overlap)
        write_secret(file, again.secret, keep_old=overlap)
    assert 0 == up.drain()


@pytest.mark.problem(12)
@pytest.mark.problem(14)
def test_kill_9_after_the_answer_loses_nothing(
    make_rig: MakeRig, start: Callable[..., Process]
) -> None:
    """What was answered is durable: the next life looks, and the same delivery again is no more
    than a duplicate."""
    rig = make_rig(poll_seconds=3_600, settle_seconds=600)
    run = rig.submit("sim-drop-after-once")
    rig.until(run, lambda facts: facts.remotes[-1].state == "unknown")
    (made,) = rig.sim.objects()
    headers, body = delivery(made["id"], body=event(made["id"]))
    for result in ("accepted", "duplicate"):
        serve = start("serve", "--port", "0")
        request = urllib.request.Request(f"{serve.url()}{PATH}", body, headers)
        with urllib.request.urlopen(request, timeout=10) as reply:
            said = json.load(reply)
            serve.process.kill()
        assert {"result": result} == said
        serve.process.wait(10)

    with rig.daemon():
        rig.expect(lambda: rig.ledger.get(run).final)

    assert "completed" == str(rig.ledger.get(run).state)
    assert [("adopted", 1)] == rig.rows("SELECT state, duplicates FROM delivery")
    assert 1 == len(rig.made(run))
