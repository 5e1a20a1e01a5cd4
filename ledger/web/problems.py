"""Answers in JSON, and errors as answers: what, why and what to do; never a traceback."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ledger.core.redaction import redact_text
from ledger.errors import (
    BadRecord,
    ConfigurationError,
    Conflict,
    DatabaseError,
    InvalidInput,
    LeaseLost,
    NotAllowed,
    NotFound,
    RunFailed,
    RunwardError,
    StillPending,
    WaitTimeout,
)

log = logging.getLogger("runward.web")
STATUS: Final[tuple[tuple[type[RunwardError], int], ...]] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (ConfigurationError, 422),
    (Conflict, 409),
    (NotAllowed, 409),
    (LeaseLost, 409),
    (StillPending, 409),
    (RunFailed, 409),
    (WaitTimeout, 409),
    (BadRecord, 422),
    (DatabaseError, 503),
)
"""The first that fits. A profile without a credential is the caller's choice of profile: 422."""
CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    429: "too_many",
    503: "unavailable",
}
RETRY_SECONDS: Final = "2"


class Answer(Response):
    """JSON that every client can read: ASCII, without NaN."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(content), separators=(",", ":"))
        return text.encode("ascii")


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def problem(
    status: int,
    message: str,
    *,
    hint: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as an answer."""
    word = code or CODES.get(status, "error")
    body = {"code": word, "message": redact_text(message), "hint": hint and redact_text(hint)}
    return Answer({"error": body}, status_code=status, headers=dict(headers or {}))


def problem_of(error: RunwardError) -> Answer:
    """One of our errors as an answer."""
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    word = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    headers = {"Retry-After": RETRY_SECONDS} if status == 503 else None
    return problem(status, error.message, hint=error.hint, code=word, headers=headers)


def register(app: FastAPI) -> None:
    """Have everything that a route raises answered here."""
    app.add_exception_handler(RunwardError, _ours)
    app.add_exception_handler(RequestValidationError, _unread)
    app.add_exception_handler(HTTPException, _http)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, RunwardError)
    if isinstance(error, DatabaseError):
        log.warning("the database refused: %s", error.message)
    return problem_of(error)


async def _unread(_: Request, error: Exception) -> Response:
    """The first thing that is wrong with a request; never its value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return problem(422, f"{place[:200]}: {first['msg']}"[:1_000], code="invalid_input")


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {404: "there is nothing at this address", 413: "the body is too large"}
    said = messages.get(error.status_code, str(error.detail))
    hint = "GET /api/v1/openapi.json lists what there is" if error.status_code == 404 else None
    return problem(error.status_code, said, hint=hint, headers=error.headers)
