"""A scripted upstream behind the SDK's own HTTP stack: no network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from ledger.core.alphabet import RemoteKind
from ledger.core.intent import AccountProfile, Address, Intent
from ledger.providers.assistants import AssistantsProvider
from ledger.providers.client import build_client
from ledger.providers.responses import ResponsesProvider
from ledger.providers.seam import Provider

CANARY = "sk-canary-0123456789abcdef"
MARKER = "3f0c7c1e-5a52-4a7e-9c8f-2f2d8d3c1b11:1042:1:0"
BASE_URL = "http://upstream.test/v1"
Answer = httpx2.Response | Exception


class Upstream:
    """Answers with what was queued (the last answer for ever), and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.answers: list[Answer] = []

    def say(self, body: object, status: int = 200, **headers: str) -> Upstream:
        """Queue one answer; bytes go out as they are, anything else as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("content-type", "application/json")
        self.answers.append(httpx2.Response(status, content=body, headers=named))
        return self

    def refuse(self, status: int, message: str = "no", **error: Any) -> Upstream:
        """Queue an error object."""
        return self.say({"error": {"message": message, "param": None, **error}}, status)

    def fail(self, error: Exception) -> Upstream:
        """Queue an error below HTTP."""
        self.answers.append(error)
        return self

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(
            answer.status_code, headers=answer.headers, content=answer.content, request=request
        )

    @property
    def body(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.requests[-1].content)

    @property
    def lines(self) -> list[str]:
        """Method and raw target of each request."""
        return [f"{each.method} {each.url.raw_path.decode()}" for each in self.requests]


def profile(provider: str = "responses", **changed: Any) -> AccountProfile:
    return AccountProfile(provider=provider, **{"base_url": BASE_URL, **changed})


def ask(
    upstream: Callable[[httpx2.Request], httpx2.Response],
    call: Callable[[Provider], Awaitable[Any]],
    *,
    provider: type[ResponsesProvider | AssistantsProvider] = ResponsesProvider,
    key: str = CANARY,
    **changed: Any,
) -> Any:
    """One call on a fresh provider, in its own event loop."""

    async def main() -> Any:
        transport = httpx2.MockTransport(upstream)
        opened = provider(build_client(profile(**changed), key=key, transport=transport), key)
        try:
            return await call(opened)
        finally:
            await opened.close()

    return asyncio.run(main())


def response_address(remote_id: str = "resp_1") -> Address:
    return Address(n=0, kind=RemoteKind.response, marker=MARKER, remote_id=remote_id)


def run_address(remote_id: str = "run_1", parent_id: str = "thread_1") -> Address:
    return Address(
        n=0, kind=RemoteKind.thread_run, marker=MARKER, parent_id=parent_id, remote_id=remote_id
    )


def thread_address(remote_id: str = "") -> Address:
    return Address(n=0, kind=RemoteKind.thread, marker=MARKER, remote_id=remote_id)


def intent(address: Address | None = None, /, **changed: Any) -> Intent:
    request = {"model": "gpt-5.1", "input": "Draft the memo"}
    return Intent(**{"address": address or response_address(""), "request": request, **changed})


def response(**changed: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": "queued",
        "created_at": 1763600000.5,
        "model": "gpt-5.1",
        "metadata": {"runward": MARKER},
        "output": [],
        **changed,
    }


def run(**changed: Any) -> dict[str, Any]:
    return {
        "id": "run_1",
        "object": "thread.run",
        "thread_id": "thread_1",
        "status": "queued",
        "created_at": 1763600000,
        "metadata": {"runward": MARKER},
        **changed,
    }
