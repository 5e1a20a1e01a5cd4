"""The errors that the API answers, as one exception that carries the whole reply."""

from __future__ import annotations

from typing import Any

_SERVER_SIDE = (
    "The server had an error while processing your request. Sorry about that!",
    "server_error",
    None,
)
_CLIENT_SIDE = ("The request was refused.", "invalid_request_error", None)
_BY_STATUS: dict[int, tuple[str, str, str | None]] = {
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("You are not allowed to use this resource.", "invalid_request_error", "forbidden"),
    404: ("The requested resource was not found.", "invalid_request_error", None),
    408: ("The request timed out.", "timeout", None),
    409: ("The resource was changed by another request.", "conflict", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    503: ("The engine is currently overloaded, please try again later.", "overloaded_error", None),
}


class Refusal(Exception):
    """A request is refused: the HTTP status and the error object of the reply."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


def not_found(noun: str, object_id: str) -> Refusal:
    """The 404 of an id that does not exist, in the words of the API."""
    return Refusal(404, f"No {noun} found with id '{object_id}'.")


def of_status(status: int) -> Refusal:
    """A plausible error object for an HTTP status that a fault asks for."""
    message, kind, code = _BY_STATUS.get(status, _SERVER_SIDE if status >= 500 else _CLIENT_SIDE)
    return Refusal(status, message, kind=kind, code=code)
