"""Upstream's bytes into an Observation. Nothing here trusts them.

Sources of the shapes: the `Response` and `RunObject` schemas of OpenAI's published document, and
openai-python 3.52.0 `types/responses/response.py`, `types/beta/threads/run.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from json.decoder import JSONDecoder
from typing import Any, Final

from ledger.core.alphabet import RemoteKind
from ledger.core.outcome import CallRequest, Observation
from ledger.errors import MalformedReply

MARKER_KEY: Final = "runward"
"""The metadata pair that carries the marker; the other fifteen are the caller's."""

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
MILLISECONDS_FROM: Final = 10_000_000_000
LATEST: Final = 253_370_764_799
"""The end of the year 9998: room for a time zone and a grace on top."""
OBJECT_OF: Final = {
    RemoteKind.response: "response",
    RemoteKind.thread_run: "thread.run",
    RemoteKind.thread: "thread",
    RemoteKind.message: "thread.message",
}


def parse_object(body: bytes, kind: RemoteKind) -> dict[str, Any]:
    """The JSON object in `body`. Raises MalformedReply if it is anything else."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise MalformedReply(
            f"the reply is JSON, but {type(value).__name__} where an object was due"
        )
    named = value.get("object")
    if named is not None and named != OBJECT_OF[kind]:
        raise MalformedReply(
            f"the reply describes a {str(named)[:40]!r}, not a {OBJECT_OF[kind]!r}"
        )
    return value


def parse_json(body: bytes) -> Any:
    """Any JSON value. Raises MalformedReply with the reason."""
    if len(body) > BODY_BYTES_MAX:
        raise MalformedReply(f"the reply is larger than {BODY_BYTES_MAX} bytes")
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedReply(
            f"the reply of {len(body)} bytes is not JSON: {error}"[:300]
        ) from error


def read_object(kind: RemoteKind, body: bytes, **known: Any) -> Observation:
    """An Observation of any kind of remote. `known` adds what headers say."""
    return _READERS[kind](parse_object(body, kind), body, known)


def _read_response(value: dict[str, Any], body: bytes, known: dict[str, Any]) -> Observation:
    output = value.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    error = value.get("error")
    status = _text(value.get("status"))
    return Observation(
        kind=RemoteKind.response,
        remote_id=_text(value.get("id")),
        status=status,
        body=body,
        created_at=read_time(value.get("created_at")),
        ended_at=read_time(value.get("completed_at")),
        calls=_distinct(map(_response_call, items)) if items else (),
        has_output=any(item.get("type") not in ("reasoning", "function_call") for item in items),
        error_code=_code(value, error),
        error_message=_message(error),
        last_error=raw_member(body, "error") if isinstance(error, dict) else None,
        **_common(value),
        **known,
    )


def _read_run(value: dict[str, Any], body: bytes, known: dict[str, Any]) -> Observation:
    error = value.get("last_error")
    times = ("completed_at", "failed_at", "cancelled_at")
    return Observation(
        kind=RemoteKind.thread_run,
        remote_id=_text(value.get("id")),
        parent_id=_text(value.get("thread_id")),
        status=_text(value.get("status")),
        body=body,
        created_at=read_time(value.get("created_at")),
        started_at=read_time(value.get("started_at")),
        ended_at=next((time for name in times if (time := read_time(value.get(name)))), None),
        expires_at=read_time(value.get("expires_at")),
        calls=_run_calls(value),
        has_output=True,
        error_code=_code(value, error),
        error_message=_message(error),
        last_error=raw_member(body, "last_error") if isinstance(error, dict) else None,
        **_common(value),
        **known,
    )


def _read_plain(kind: RemoteKind) -> Reader:
    def read(value: dict[str, Any], body: bytes, known: dict[str, Any]) -> Observation:
        return Observation(
            kind=kind,
            remote_id=_text(value.get("id")),
            parent_id=_text(value.get("thread_id")),
            status="completed",
            body=body,
            created_at=read_time(value.get("created_at")),
            marker=_marker(value),
            **known,
        )

    return read


Reader = Callable[[dict[str, Any], bytes, dict[str, Any]], Observation]
_READERS: Final[dict[RemoteKind, Reader]] = {
    RemoteKind.response: _read_response,
    RemoteKind.thread_run: _read_run,
    RemoteKind.thread: _read_plain(RemoteKind.thread),
    RemoteKind.message: _read_plain(RemoteKind.message),
}


def _common(value: dict[str, Any]) -> dict[str, Any]:
    usage = value.get("usage")
    return {
        "model": _text(value.get("model")),
        "marker": _marker(value),
        "usage": json.dumps(usage).encode() if isinstance(usage, dict) else None,
    }


def _marker(value: dict[str, Any]) -> str | None:
    metadata = value.get("metadata")
    return _text(metadata.get(MARKER_KEY)) if isinstance(metadata, dict) else None


def _code(value: dict[str, Any], error: object) -> str | None:
    if isinstance(error, Mapping):
        return _text(error.get("code")) or _text(error.get("type"))
    details = value.get("incomplete_details")
    return _text(details.get("reason")) if isinstance(details, dict) else None


def _message(error: object) -> str | None:
    return _text(error.get("message")) if isinstance(error, Mapping) else None


def _response_call(item: dict[str, Any]) -> CallRequest | None:
    if item.get("type") != "function_call":
        return None
    return _call(item.get("call_id"), item.get("name"), item.get("arguments"))


def _run_calls(value: dict[str, Any]) -> tuple[CallRequest, ...]:
    action = value.get("required_action")
    submit = action.get("submit_tool_outputs") if isinstance(action, dict) else None
    listed = submit.get("tool_calls") if isinstance(submit, dict) else None
    calls = []
    for item in listed if isinstance(listed, list) else []:
        function = item.get("function") if isinstance(item, dict) else None
        if isinstance(function, dict):
            calls.append(_call(item.get("id"), function.get("name"), function.get("arguments")))
    return _distinct(calls)


def _distinct(calls: Iterable[CallRequest | None]) -> tuple[CallRequest, ...]:
    """The first call of each id: outputs are told apart by it, so a second has no address."""
    first: dict[str, CallRequest] = {}
    for call in calls:
        if call is not None:
            first.setdefault(call.call_id, call)
    return tuple(first.values())


def _call(call_id: object, tool: object, arguments: object) -> CallRequest | None:
    if not isinstance(call_id, str) or not call_id:
        return None
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return CallRequest(
        call_id=call_id,
        tool=_text(tool) or "",
        arguments=text.encode("utf-8", "surrogatepass"),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def read_time(value: object) -> datetime | None:
    """A Unix time in seconds (int or float) or milliseconds; None for anything else.

    Alibaba's compatible server sends milliseconds; nothing after the year 9999 is a time.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is divided: an integer may be too large to become a float.
    if not 0 < value <= LATEST * 1000:
        return None
    return datetime.fromtimestamp(value / 1000 if value >= MILLISECONDS_FROM else value, UTC)


_WHITESPACE: Final = " \t\r\n"
_DECODER: Final = JSONDecoder()


def raw_member(body: bytes, name: str) -> bytes | None:
    """The bytes of one member of a JSON object, exactly as they were sent."""
    text = body.decode("utf-8", "surrogateescape")
    index = _skip(text, text.index("{") + 1)
    found = None
    while text[index] != "}":
        key, index = _DECODER.raw_decode(text, index)
        start = _skip(text, _skip(text, index) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if key == name:
            found = text[start:end].encode("utf-8", "surrogateescape")
        index = _skip(text, end)
        if text[index] == ",":
            index = _skip(text, index + 1)
    return found


def _skip(text: str, index: int) -> int:
    while text[index] in _WHITESPACE:
        index += 1
    return index
