"""A run's events as they come: a stream that goes on where a client left off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ledger.clock import monotonic, pause
from ledger.errors import RunwardError
from ledger.service.pages import read_page
from ledger.service.tokens import Caller, still_counts
from ledger.web.problems import problem
from ledger.web.service import FOLLOWERS_MAX, Service

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

LOOK_SECONDS: Final = 0.25
ALIVE_SECONDS: Final = 15.0
"""So long nothing may come before a word that says so: proxies cut silent connections."""
JUDGE_SECONDS: Final = 2.0
"""So often it is asked whether the caller's token counts on: a stream outlasts many."""
PAGE: Final = 500
AGAIN: Final = "retry: 2000\n\n"


class Stream(StreamingResponse):
    """A stream that counts among the followers as long as it lasts, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, run_id: int, after: int, caller: Caller) -> None:
        self._service = service
        super().__init__(
            _events(service, run_id, after, caller),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self._service.followers += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.followers -= 1


def follow(service: Service, run_id: int, after: int, caller: Caller) -> Response:
    """A stream of a run's events above number `after`, until the run is over and settled."""
    if service.followers >= FOLLOWERS_MAX:
        return problem(
            429,
            f"{FOLLOWERS_MAX} streams are open, and no more are served",
            hint="read pages of events instead, or try again later",
            headers={"Retry-After": "5"},
        )
    return Stream(service, run_id, after, caller)


async def _events(service: Service, run_id: int, after: int, caller: Caller) -> AsyncIterator[str]:
    """The stream. It also ends with the service, with the caller's token, when its time is up or
    the database is away: a client asks again with the last number that it saw."""
    began = said = judged = monotonic()
    yield AGAIN
    while not service.draining and monotonic() - began < service.follow_seconds:
        try:
            if monotonic() - judged >= JUDGE_SECONDS:
                judged = monotonic()
                if not await run_in_threadpool(still_counts, service.ledger.store, caller):
                    return
            page = await run_in_threadpool(
                read_page, service.ledger, run_id, after=after, limit=PAGE
            )
        except RunwardError:
            return
        for event in page.events:
            after, said = event["seq"], monotonic()
            yield f"id: {after}\ndata: {_line(event)}\n\n"
        if page.settled and not page.more:
            yield f"event: end\ndata: {_line({'status': page.status})}\n\n"
            return
        if monotonic() - said >= ALIVE_SECONDS:
            said = monotonic()
            yield ": still here\n\n"
        if not page.more:
            await pause(LOOK_SECONDS)


def _line(value: Any) -> str:
    """JSON on one line; escapes all that could end it."""
    return json.dumps(value, separators=(",", ":"))
