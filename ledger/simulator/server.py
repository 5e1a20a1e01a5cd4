"""The HTTP side: routes, bodies in and out, and the faults that need a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from .engine import Answer, Engine
from .refusals import Refusal
from .routes import ROUTES
from .scenario import ScenarioError, rules_from
from .sender import Sender
from .world import Query

MOST_BYTES = 20 * 1024 * 1024
_HTML = "<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body>…</body></html>\n"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The web application around an engine; the clock is handed in."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._sender = Sender(lambda: engine.webhooks, clock)

    def app(self) -> web.Application:
        """The application with all its routes."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[_speak_json])
        for method, path, operation in ROUTES:
            app.router.add_route(method, "/v1" + path, self._handler(operation))
        app.router.add_get("/_sim/log", self._log)
        app.router.add_get("/_sim/objects", self._objects)
        app.router.add_get("/_sim/webhooks", self._webhooks)
        app.router.add_post("/_sim/faults", self._faults)
        app.router.add_post("/_sim/reset", self._reset)
        app.cleanup_ctx.append(self._sending)
        return app

    async def _sending(self, _: web.Application) -> AsyncIterator[None]:
        async with self._sender.working():
            yield

    def _handler(self, operation: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            query = Query(
                operation=operation,
                now=self._clock(),
                ids=dict(request.match_info),
                options=dict(request.query),
                body=await _json_object(request),
            )
            plan = self._engine.webhooks
            answer = self._engine.answer(query, request.headers.get("Authorization", ""))
            if request.method != "GET":
                self._sender.wake()
            if answer.sends is not None:
                status = await self._sender.send(plan, answer.sends)
                answer = self._engine.tested(answer, status)
            return await self._deliver(request, answer)

        return handle

    async def _deliver(self, request: web.Request, answer: Answer) -> web.Response:
        text = json.dumps(answer.body)
        kind = answer.fault.kind if answer.fault else ""
        if kind == "drop" and request.transport is not None:
            request.transport.close()
        elif kind == "truncated":
            text = text[: len(text) // 2]
        elif kind == "html":
            return web.Response(text=_HTML, content_type="text/html", headers=answer.headers)
        elif kind == "slow":
            # The provider's time passes here, not the ledger's: its clock has no say.
            await asyncio.sleep(self._engine.scenario.pace.seconds("slow_reply"))  # noqa: TID251
        return web.Response(
            status=answer.status,
            text=text,
            content_type="application/json",
            headers=answer.headers,
        )

    async def _log(self, _: web.Request) -> web.Response:
        journal = self._engine.journal
        return web.json_response(
            {"entries": journal.entries(), "reads": dict(journal.reads), "lost": journal.lost}
        )

    async def _objects(self, _: web.Request) -> web.Response:
        return web.json_response({"objects": self._engine.objects(self._clock())})

    async def _webhooks(self, _: web.Request) -> web.Response:
        return web.json_response(self._engine.webhooks.log.account())

    async def _faults(self, request: web.Request) -> web.Response:
        rules = rules_from(await _json(request))
        self._engine.replace_faults(rules)
        return web.json_response({"rules": len(rules)})

    async def _reset(self, _: web.Request) -> web.Response:
        self._engine.reset()
        self._sender.wake()
        return web.json_response({})


@web.middleware
async def _speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse in JSON also what never reaches an operation."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response(refusal.body, status=refusal.status)
    except ScenarioError as error:
        return web.json_response(Refusal(400, str(error)).body, status=400)
    except web.HTTPException as error:
        message = f"{error.reason} ({request.method} {request.path})"
        return web.json_response(Refusal(error.status, message).body, status=error.status)


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.text() or "{}")
    except ValueError:
        raise Refusal(400, "We could not parse the JSON body of your request.") from None


async def _json_object(request: web.Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise Refusal(400, "The body of the request must be a JSON object.")
    return body
