"""Who may do what: every route has its place in one of two tables, or the service does not start.

The gate stands before everything else, so a request without permission is not even read.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.core.addresses import is_loopback
from ledger.core.alphabet import Role
from ledger.core.delivery import PATH
from ledger.errors import RunwardError
from ledger.service.tokens import Caller, bearer_of, tokens_exist
from ledger.web.problems import problem, problem_of
from ledger.web.service import CALLER, Service

log = logging.getLogger("runward.web")
Place = tuple[str, str]

OPEN: Final[frozenset[Place]] = frozenset({("GET", "/healthz"), ("GET", "/readyz")})
"""Routes that ask for no token. What is added here is open to everybody who reaches the port."""

SIGNED: Final[frozenset[Place]] = frozenset({("POST", PATH)})
"""Routes that ask for no token either: what comes is believed for its signature, or refused."""

ROLES: Final[dict[Place, Role]] = {
    ("GET", "/metrics"): Role.viewer,
    ("GET", "/api/v1/openapi.json"): Role.viewer,
    ("GET", "/api/v1/facets"): Role.viewer,
    ("GET", "/api/v1/stats"): Role.viewer,
    ("GET", "/api/v1/runs"): Role.viewer,
    ("POST", "/api/v1/runs"): Role.operator,
    ("GET", "/api/v1/runs/{run}"): Role.viewer,
    ("GET", "/api/v1/runs/{run}/events"): Role.viewer,
    ("POST", "/api/v1/runs/{run}/cancel"): Role.operator,
    ("POST", "/api/v1/runs/{run}/restart"): Role.operator,
    ("POST", "/api/v1/runs/{run}/recheck"): Role.operator,
    ("POST", "/api/v1/runs/{run}/tools/{call}/output"): Role.operator,
    ("POST", "/api/v1/runs/{run}/tools/{call}/approve"): Role.operator,
    ("POST", "/api/v1/runs/{run}/tools/{call}/deny"): Role.operator,
}
"""The least role for every other route."""

BODY_BYTES_MAX: Final = 12_000_000
"""A request of the largest size that the ledger takes, and some room for how it is written."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL: Final = Caller("http:local", Role.admin)
LEAST: Final = Role.viewer
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def places(app: FastAPI) -> set[Place]:
    """Every route of an app, as method and path."""
    return {
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in (context.methods or {"*"}) - {"HEAD"}
    }


def demand_listed(app: FastAPI) -> None:
    """Refuse an app that has a route in neither table: nobody has said who may use it."""
    unlisted = places(app) - OPEN - SIGNED - set(ROLES)
    assert not unlisted, f"routes without a role in ledger/web/gate.py: {sorted(unlisted)}"


class Gate:
    """The outermost layer: headers, size, who asks, and whether they may."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._roles = [
            (method, compile_path(path)[0], role) for (method, path), role in ROLES.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the request in."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answering = _Answering(send)
        try:
            refusal = _too_large(scope) or await self._judge(scope)
            await (refusal or self._app)(scope, _Reading(receive), answering)
        except Exception:
            log.exception("%s %s: an error of ours", scope["method"], _path(scope))
            if answering.begun:
                raise
            broken = problem(500, "an error of ours; the log has it", code="internal")
            await broken(scope, receive, answering)

    async def _judge(self, scope: Scope) -> Response | None:
        """The refusal of a request; None for one that may come in."""
        path, method = _path(scope), scope["method"]
        if (method, path) in OPEN | SIGNED:
            return None
        headers = Headers(scope=scope)
        try:
            caller = await run_in_threadpool(self._caller, headers)
        except RunwardError as error:
            return problem_of(error)
        if caller is None:
            return _unknown(headers)
        if caller is LOCAL and (refusal := _refuse_foreign(method, headers)):
            return refusal
        scope[CALLER] = caller
        role = self._role(method, path)
        if self._service.read_only and role != LEAST:
            return problem(403, "this service only reads", code="read_only")
        if not caller.may(role):
            said = f"{caller.actor} is a {caller.role}; this needs the role {role}"
            return problem(403, said, hint=f"runward token create NAME --role {role}")
        return None

    def _caller(self, headers: Headers) -> Caller | None:
        """Who asks. A token that is shown has to count, even where none is needed."""
        ledger, shown = self._service.ledger, headers.get("authorization")
        if shown is not None:
            scheme, _, text = shown.partition(" ")
            return bearer_of(ledger, text.strip()) if scheme.lower() == "bearer" else None
        local = self._service.loopback and not tokens_exist(ledger.store)
        return LOCAL if local else None

    def _role(self, method: str, path: str) -> Role:
        """What a route needs; an address that leads nowhere is a viewer's to learn."""
        for listed, pattern, role in self._roles:
            if listed == method and pattern.match(path):
                return role
        return LEAST if method in SAFE else Role.operator


class _Answering:
    """Passes an answer on, with the headers that all answers have."""

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            given = list(message.get("headers", ()))
            cached = any(name == b"cache-control" for name, _ in given)
            store = () if cached else ((b"cache-control", b"no-store"),)
            message = {**message, "headers": [*given, *HEADERS, *store]}
        await self._send(message)


class _Reading:
    """Passes a body on. Raises HTTPException, which routes answer, where it is too large."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._bytes = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > BODY_BYTES_MAX:
            raise HTTPException(413)
        return message


def _path(scope: Scope) -> str:
    """The path as routes know it: without the prefix of a proxy."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _too_large(scope: Scope) -> Response | None:
    """A size that is announced is judged at once; one that is not, while it is read."""
    length = Headers(scope=scope).get("content-length", "0")
    if length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= BODY_BYTES_MAX:
        return None
    return problem(413, f"the body is too large; at most {BODY_BYTES_MAX} bytes are taken")


def _unknown(headers: Headers) -> Response:
    shown = "authorization" in headers
    said = "the token is not known, or counts no more" if shown else "this needs a token"
    challenge = 'Bearer realm="runward"' + (', error="invalid_token"' if shown else "")
    return problem(
        401,
        said,
        hint="send Authorization: Bearer TOKEN; runward token create NAME makes one",
        headers={"WWW-Authenticate": challenge},
    )


def _refuse_foreign(method: str, headers: Headers) -> Response | None:
    """Without tokens, what reaches us must mean this machine, and must not come from a web page of
    somebody else: a browser on this machine runs those too."""
    host = headers.get("host", "")
    if not is_loopback(_hostname(host)):
        said = "without a token the service only answers to localhost, 127.0.0.1 and [::1]"
        return problem(403, said, hint="runward token create NAME", code="foreign_host")
    if method in SAFE:
        return None
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if site not in ("same-origin", "none") or (origin is not None and not _same(origin, host)):
        return problem(403, "a web page of another site sent this", code="cross_site")
    return None


def _same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _hostname(host: str) -> str:
    try:
        return "" if "@" in host else urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
