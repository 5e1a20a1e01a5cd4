"""What a step brought back. Outcomes can be written down: a life that lost its run files them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from ledger.core.alphabet import RemoteKind
from ledger.core.model import Write
from ledger.core.record import record
from ledger.errors import Limits, Reply, UpstreamError, leaves

ERRORS: Final = {error.__name__: error for error in leaves()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One function call in an upstream object; `arguments` are the bytes of its JSON text."""

    call_id: str
    tool: str
    arguments: bytes


@record
class Observation:
    """What upstream said of one object, with the body it said it in. Absent things are None."""

    kind: RemoteKind
    remote_id: str | None
    parent_id: str | None = None
    status: str | None = None
    body: bytes = b""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    last_error: bytes | None = None
    usage: bytes | None = None
    calls: tuple[CallRequest, ...] = ()
    has_output: bool = False
    model: str | None = None
    marker: str | None = None
    request_id: str | None = None
    poll_after_seconds: float | None = None
    limits: Limits | None = None


@record
class Observed:
    """A call on remote `n` succeeded and upstream described the object."""

    n: int
    observation: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A search for the marker of remote `n` ended; no object means that the list has none."""

    n: int
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvested:
    """The final output of remote `n`, as bytes of JSON.

    `has_messages` says whether the assistant wrote any, where the body was redacted since.
    """

    n: int
    body: bytes
    has_messages: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call on remote `n` failed with one of the upstream errors."""

    n: int
    operation: str
    error: str
    message: str
    reply: Reply

    @property
    def kind(self) -> type[UpstreamError]:
        """The class of the error, which says what follows from it."""
        return ERRORS[self.error]

    @classmethod
    def of(cls, n: int, operation: str, error: UpstreamError) -> Failed:
        """The outcome that a raised error becomes."""
        return cls(
            n=n,
            operation=operation,
            error=type(error).__name__,
            message=error.message,
            reply=error.reply,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDone:
    """Tool call `n` returned `output`, or failed with `output` as its error text.

    `writes` are what a transactional tool wants executed together with this record. Once they were,
    `rows` counts what each of them touched; empty where the database refused them, for the reason
    `refused`, and nothing of them stayed.
    """

    n: int
    output: bytes
    is_error: bool = False
    writes: tuple[Write, ...] = ()
    rows: tuple[int, ...] | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """No call was made: time, evidence or a restart calls for a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNotStarted:
    """Tool call `n` was armed by `life`, and its function was never called."""

    n: int
    life: str


Outcome = Observed | Found | Harvested | Failed | ToolDone | ToolNotStarted | Elapsed

PASSING: Final = "limits"
"""The field that is not kept: it speaks of the moment of the reply, not of the object."""
_CLASSES: Final = {
    cls.__name__: cls
    for cls in (
        Observed,
        Found,
        Harvested,
        Failed,
        ToolDone,
        ToolNotStarted,
        Observation,
        CallRequest,
        Reply,
    )
}


def error_output(kind: str, message: str) -> bytes:
    """An error as the model sees it."""
    body = json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False)
    return body.encode("utf-8", "replace")


def error_type(output: bytes) -> str:
    """The sort of an error as the model saw it; `error` for a tool's own words."""
    try:
        kind = json.loads(output)["error"]["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "error"
    return kind[:64] if isinstance(kind, str) else "error"


def performed(done: ToolDone, result: tuple[int, ...] | str) -> ToolDone:
    """The outcome of a transactional call after its writes: row counts, or why they are undone."""
    if isinstance(result, tuple):
        return replace(done, rows=result)
    text = f"nothing was written: {result}"
    output = error_output("write_refused", text)
    return replace(done, output=output, is_error=True, rows=(), refused=result)


def dump_outcome(outcome: Outcome) -> bytes:
    """The outcome as JSON, for the evidence table."""
    return json.dumps(_plain(outcome)).encode()


def load_outcome(body: bytes) -> Outcome:
    """The outcome that `dump_outcome` wrote. Raises ValueError on anything else."""
    try:
        loaded = _restore(json.loads(body))
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError("not an outcome") from error
    if not isinstance(loaded, Outcome) or isinstance(loaded, Elapsed):
        raise ValueError("not an outcome")
    if isinstance(loaded, ToolDone) and (loaded.writes or loaded.rows is not None):
        raise ValueError("writes are executed under ownership only, never from evidence")
    if isinstance(loaded, Failed) and loaded.error not in ERRORS:
        raise ValueError("not an error that this program knows")
    return loaded


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, RemoteKind):
        return {"kind": value.value}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if type(value).__name__ in _CLASSES:
        names = [entry.name for entry in fields(value) if entry.name != PASSING]
        pairs = {name: _plain(getattr(value, name)) for name in names}
        return {"class": type(value).__name__, "fields": pairs}
    return value


def _restore(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_restore(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return base64.b64decode(value["bytes"], validate=True)
    if "time" in value:
        return datetime.fromisoformat(value["time"])
    if "kind" in value:
        return RemoteKind(value["kind"])
    restored = {name: _restore(item) for name, item in value["fields"].items()}
    return _CLASSES[value["class"]](**restored)
