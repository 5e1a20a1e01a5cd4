"""What the headers and the body of any reply say, read leniently and redacted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from ledger import clock
from ledger.core.limits import read_limits
from ledger.core.redaction import redact_bytes, redact_text
from ledger.errors import Reply

Redact = Callable[[bytes], bytes]

WAIT_SECONDS_MAX: Final = 600.0
BODY_BYTES_KEPT: Final = 64 * 1024
"""Of a failed reply; an error object is never as long, a web page may be."""
SECRET_CHARS_MIN: Final = 8
"""Local servers take keys such as `x`; blotting those out would destroy every body."""

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class Answer(NamedTuple):
    """What came back over HTTP, whichever client asked. `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def redactor(secrets: set[str]) -> Redact:
    """Blots the `secrets` (a live set) and whatever looks like one out of bytes of JSON."""

    known: tuple[str, ...] = ()
    counted = 0

    def redact(body: bytes) -> bytes:
        nonlocal known, counted
        if len(secrets) != counted:
            # It only grows, and seldom; bodies come by the thousand.
            counted = len(secrets)
            long = [secret for secret in secrets if len(secret) >= SECRET_CHARS_MIN]
            spelled = {*long, *(json.dumps(secret)[1:-1] for secret in long)}
            # The longest first: one may be a part of another.
            known = tuple(sorted(spelled, key=len, reverse=True))
        return redact_bytes(body, *known)

    return redact


def clean_text(value: object, longest: int) -> str | None:
    """A text that every database takes: no NUL, no lone surrogate, bounded. Else None."""
    if not isinstance(value, str) or not value:
        return None
    return redact_text(_UNSTORABLE.sub("\ufffd", value))[:longest]


def read_reply(
    status: int, headers: Mapping[str, str], body: bytes, redact: Redact
) -> tuple[Reply, dict[str, Any] | None]:
    """The Reply of a failed exchange, and the error object in its body if it is JSON.

    The error object is `error` of OpenAI's error schema; gateways also send `error` as a text,
    `message` or `detail` (FastAPI).
    """
    body = redact(body)
    error = error_object(body)
    code = (error or {}).get("code") or (error or {}).get("type")
    reply = Reply(
        status=status,
        error_code=clean_text(code if isinstance(code, str) else None, 200),
        request_id=request_id(headers),
        retry_after_seconds=retry_after_seconds(headers),
        body=body[:BODY_BYTES_KEPT],
        limits=read_limits(headers.get),
    )
    return reply, error


def error_object(body: bytes) -> dict[str, Any] | None:
    """The JSON error object in a body, or None."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {"message": error, **value}
    if value.get("message"):
        return value
    return {"message": json.dumps(value["detail"])} if value.get("detail") else None


def request_id(headers: Mapping[str, str]) -> str | None:
    """`x-request-id`, which support asks for."""
    return clean_text(headers.get("x-request-id"), 200)


def poll_after_seconds(headers: Mapping[str, str]) -> float | None:
    """`openai-poll-after-ms` in seconds, 0 to 600; None when absent or no number.

    Source: openai-python 3.52.0 `lib/_assistants_runs.py`, which would raise on a fraction.
    """
    return _seconds(headers.get("openai-poll-after-ms"), per_second=1000)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """`retry-after-ms`, else `retry-after` (seconds or HTTP date), as seconds, 0 to 600; or None.

    A date is held against the server's own `date`, so that our clock does not matter.
    """
    wait = _seconds(headers.get("retry-after-ms"), per_second=1000)
    if wait is None:
        wait = _seconds(headers.get("retry-after"), per_second=1)
    return _until(headers) if wait is None else wait


def _seconds(text: str | None, *, per_second: int) -> float | None:
    try:
        seconds = float(text or "") / per_second
    except ValueError:
        return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds >= 0 else None


def _until(headers: Mapping[str, str]) -> float | None:
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
        date = headers.get("date")
        now = parsedate_to_datetime(date) if date else clock.utcnow()
        seconds = (then - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(seconds, WAIT_SECONDS_MAX) if seconds >= 0 else None
