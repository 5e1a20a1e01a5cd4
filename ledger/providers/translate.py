"""The one place where whatever can go wrong with a call becomes a typed error.

Sources: openai-python 3.52.0 `_exceptions.py`, `_base_client.py` (which wraps transport errors as
`APIConnectionError ... from cause`), httpx2 `_exceptions.py`; the sorting is DESIGN section 4.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx2
import openai
from openai import APIConnectionError, APIResponseValidationError, APIStatusError, OpenAIError

from ledger.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    LocalLimit,
    MalformedReply,
    ObjectMissing,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ReplyLost,
    ReplyTimeout,
    RequestRefused,
    RunwardError,
    ServerTrouble,
    UpstreamConflict,
    UpstreamError,
)
from ledger.providers.replies import Answer, Redact, clean_text, read_reply

REFUSED: Final[Mapping[int, type[UpstreamError]]] = {
    401: AuthenticationRefused,
    403: PermissionRefused,
    404: ObjectMissing,
    409: UpstreamConflict,
    429: RateLimited,
    **dict.fromkeys((400, 402, 405, 406, 410, 411, 413, 414, 415, 422, 431, 451), RequestRefused),
}
"""Statuses that mean "nothing was done", if the body is a JSON error. Any other 4xx proves nothing:
408 and 499, for one, are about a connection that ended while upstream may have been at work."""

BEFORE_SENDING: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
    ssl.SSLCertVerificationError,
)
"""All of these end an exchange before the first byte of the request: redirects are never followed,
so there is no second connection that could fail."""

QUOTA: Final = "insufficient_quota"


def of_transport(cause: BaseException | None) -> type[UpstreamError]:
    """What a failure below HTTP proves about the request."""
    if isinstance(cause, httpx2.PoolTimeout):
        return LocalLimit
    if isinstance(cause, BEFORE_SENDING):
        return ConnectionFailed
    if isinstance(cause, httpx2.TimeoutException | TimeoutError):
        return ReplyTimeout
    return MalformedReply if isinstance(cause, httpx2.DecodingError) else ReplyLost


def of_status(status: int, error: dict[str, Any] | None) -> type[UpstreamError]:
    """What an HTTP status proves, with the JSON error object of its body, if it has one.

    Without one the reply may be a proxy's, which proves nothing about upstream.
    """
    if status == 408 or status >= 500:
        return ServerTrouble
    if error is None:
        return MalformedReply
    if status == 429 and QUOTA in (error.get("code"), error.get("type")):
        return QuotaExhausted
    return REFUSED.get(status, MalformedReply)


def refusal(answer: Answer, operation: str, redact: Redact) -> UpstreamError:
    """What a reply without a 2xx status is raised as."""
    reply, said = read_reply(answer.status, answer.headers, answer.body, redact)
    text = clean_text((said or {}).get("message"), 500) or "without a JSON error"
    code = f" ({reply.error_code})" if reply.error_code else ""
    kind = of_status(answer.status, said)
    return kind(f"{operation}: upstream answered {reply.status}{code}: {text}", reply=reply)


def _status_error(error: APIStatusError, operation: str, redact: Redact) -> UpstreamError:
    held = error.response
    return refusal(Answer(held.status_code, held.headers, held.content), operation, redact)


def _credential_error(error: OpenAIError, operation: str, _redact: Redact) -> UpstreamError:
    """No access token could be had, so nothing was sent under one."""
    return AuthenticationRefused(f"{operation}: no access token: {type(error).__name__}")


def _connection_error(error: OpenAIError, operation: str, redact: Redact) -> UpstreamError:
    cause = error.__cause__
    if cause is None and isinstance(error, openai.APITimeoutError):
        cause = TimeoutError()
    return _transport_error(cause or error, operation, redact)


def _transport_error(cause: BaseException, operation: str, redact: Redact) -> UpstreamError:
    return of_transport(cause)(told(cause, operation, redact))


def told(cause: BaseException, operation: str, redact: Redact) -> str:
    """What a failure below HTTP says of itself, without secrets."""
    said = redact(str(cause).encode("utf-8", "replace")).decode("utf-8", "replace")
    detail = clean_text(said, 300)
    name = type(cause).__name__
    return f"{operation}: {name}: {detail}" if detail else f"{operation}: {name}"


def _unreadable(error: OpenAIError, operation: str, redact: Redact) -> UpstreamError:
    reply = None
    if isinstance(error, APIResponseValidationError):
        held = error.response
        reply, _ = read_reply(held.status_code, held.headers, held.content, redact)
    return MalformedReply(
        f"{operation}: the client could not use the reply: {type(error).__name__}", reply=reply
    )


def _lost(error: OpenAIError, operation: str, _redact: Redact) -> UpstreamError:
    return ReplyLost(f"{operation}: {type(error).__name__}")


def _full(error: OpenAIError, operation: str, _redact: Redact) -> UpstreamError:
    return LocalLimit(f"{operation}: {type(error).__name__}")


TABLE: Final[dict[type[OpenAIError], Callable[[Any, str, Redact], UpstreamError]]] = {
    openai.OAuthError: _credential_error,
    APIStatusError: _status_error,
    APIConnectionError: _connection_error,
    APIResponseValidationError: _unreadable,
    openai.LengthFinishReasonError: _unreadable,
    openai.ContentFilterFinishReasonError: _unreadable,
    openai.WebSocketConnectionClosedError: _lost,
    openai.WebSocketQueueFullError: _full,
    OpenAIError: _unreadable,
}
"""The first class that an error is an instance of; the last row is for what no other row names."""


def translate(error: Exception, operation: str, redact: Redact = bytes) -> UpstreamError:
    """Any exception as an upstream error. What nobody foresaw proves nothing: MalformedReply."""
    for kind, make in TABLE.items():
        if isinstance(error, kind):
            return make(error, operation, redact)
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | OSError):
        return _transport_error(error, operation, redact)
    return MalformedReply(f"{operation}: the reply could not be used: {type(error).__name__}")


@contextmanager
def translated(operation: str, redact: Redact = bytes) -> Iterator[None]:
    """Raise only runward's own errors out of this block; a cancelled task stays cancelled.

    `operation` opens the message; `redact` blots secrets out of the reply's body.
    """
    try:
        yield
    except RunwardError:
        raise
    except (OpenAIError, httpx2.HTTPError) as error:
        # Not chained: a traceback would print upstream's words before they were redacted.
        raise translate(error, operation, redact) from None
    except Exception as error:
        raise translate(error, operation, redact) from error
