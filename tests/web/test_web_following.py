"""Streams of events: in order, from where a client left off, to the end of the run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from service_rig import Rig
from support import SQLITE
from web_rig import MakeWeb, Web, error_of

from ledger.clock import pause
from ledger.service.tokens import revoke
from ledger.web import following
from ledger.web.service import FOLLOWERS_MAX


class Listener:
    """A client that takes what comes, and goes when it is told."""

    def __init__(self, web: Web, path: str, **headers: str) -> None:
        given = {"host": "localhost", **headers}
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
        }
        self.status, self.text, self.over = 0, "", asyncio.Event()
        self._gone, self._came = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(web.app(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self.status == 0 and not self._came.is_set():
            self._came.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"").decode()

    def go(self) -> None:
        """Close the connection."""
        self._gone.set()

    @property
    def seqs(self) -> list[int]:
        """The numbers of the events that came."""
        return [int(line[4:]) for line in self.text.splitlines() if line.startswith("id: ")]

    async def until(self, ready: Any) -> None:
        """Let the stream go on until something holds."""
        async with asyncio.timeout(10):
            while not ready():
                await pause(0.01)


def test_a_stream_tells_all_and_ends_with_the_run(rig: Rig, make_web: MakeWeb) -> None:
    """Each event once, with its number, as one line of JSON; then the event `end`."""
    web = make_web(rig.ledger)
    run = rig.run()
    said = web.get(f"/runs/{run.id}/events?follow=true")
    events = list(rig.ledger.events(run))
    pieces = said.text.removesuffix("\n\n").split("\n\n")

    assert "text/event-stream; charset=utf-8" == said.headers["content-type"]
    assert "retry: 2000" == pieces[0]
    assert [f"id: {e['seq']}" for e in events] == [piece.split("\n")[0] for piece in pieces[1:-1]]
    assert events == [json.loads(piece.split("\n")[1][6:]) for piece in pieces[1:-1]]
    assert 'event: end\ndata: {"status":"completed"}' == pieces[-1]


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [("", None, 1), ("?after=2", None, 3), ("", "2", 3), ("?after=1", "3", 4), ("", "99", None)],
)
@SQLITE
def test_a_stream_goes_on_where_a_client_left_off(
    rig: Rig, make_web: MakeWeb, query: str, header: str | None, first: int | None
) -> None:
    """`after` or Last-Event-ID, whichever is later; an Accept header asks for a stream too."""
    web = make_web(rig.ledger)
    run = rig.run()
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": header} if header else {})
    said = web.get(f"/runs/{run.id}/events{query}", headers=headers)
    lines = [line for line in said.text.splitlines() if line.startswith("id: ")]

    assert first == (int(lines[0][4:]) if lines else None)
    assert "event: end" in said.text


@SQLITE
@pytest.mark.parametrize("header", ["-1", "x", "9223372036854775808", "1.5"])
def test_a_number_that_is_none_is_refused(web: Web, header: str) -> None:
    """422, like every other."""
    run = web.submit()
    said = web.get(f"/runs/{run}/events?follow=1", headers={"Last-Event-ID": header})

    assert (422, "invalid_input") == error_of(said)


def test_a_stream_waits_for_what_comes(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events as they are committed; a comment where none comes; who goes makes room at once."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "ALIVE_SECONDS", 0.05)
    run = web.submit()

    async def listen() -> Listener:
        listener = Listener(web, f"/api/v1/runs/{run}/events?follow=1")
        await listener.until(lambda: listener.seqs == [1])
        assert 1 == web.service.followers
        await asyncio.to_thread(web.ledger.note, run, "still there?")
        await listener.until(lambda: listener.seqs == [1, 2])
        await listener.until(lambda: ": still here\n\n" in listener.text)
        listener.go()
        await asyncio.wait_for(listener.task, 5)
        return listener

    listener = asyncio.run(listen())
    assert (200, 0) == (listener.status, web.service.followers)
    assert "event: end" not in listener.text


@SQLITE
def test_a_stream_ends_with_the_service(web: Web) -> None:
    """Its client asks again elsewhere; the end of the run is not claimed."""
    run = web.submit()

    async def listen() -> Listener:
        listener = Listener(web, f"/api/v1/runs/{run}/events", accept="text/event-stream")
        await listener.until(lambda: listener.seqs == [1])
        web.service.draining = True
        await asyncio.wait_for(listener.task, 5)
        return listener

    listener = asyncio.run(listen())
    assert 0 == web.service.followers
    assert "event: end" not in listener.text


@SQLITE
def test_a_stream_ends_when_its_time_is_up(make_web: MakeWeb) -> None:
    """And is no stream for ever, should nobody close it."""
    web = make_web(follow_seconds=0.01)
    run = web.submit()

    assert "event: end" not in web.get(f"/runs/{run}/events?follow=1").text


@SQLITE
def test_followers_are_counted(web: Web) -> None:
    """One more than are served is told so; pages go on."""
    run = web.submit()
    web.service.followers = FOLLOWERS_MAX
    said = web.get(f"/runs/{run}/events?follow=1")

    assert (429, "too_many") == error_of(said)
    assert "5" == said.headers["retry-after"]
    assert 200 == web.get(f"/runs/{run}/events").status_code
    assert FOLLOWERS_MAX == web.service.followers


@SQLITE
def test_a_stream_ends_with_its_token(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is revoked shows nothing more, also where it was shown long ago."""
    monkeypatch.setattr(following, "JUDGE_SECONDS", 0.0)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    token = web.token("viewer", name="leaver")
    number = web.ledger.submit(model="sim-slow", input="x").id

    async def listen() -> None:
        path = f"/api/v1/runs/{number}/events?follow=true"
        client = Listener(web, path, authorization=f"Bearer {token}")
        await client.until(lambda: client.seqs)
        assert not client.task.done()
        await asyncio.to_thread(revoke, web.ledger, "leaver", actor="test")
        await client.until(client.task.done)
        assert (200, False) == (client.status, "event: end" in client.text)

    asyncio.run(listen())
