"""Magic model names: each is one frozen description of what an object will do.

They work as payment test cards do: the caller picks the behaviour by what it sends, either as
the model (``sim-tool``) or as metadata (``{"sim": "tool"}``), which wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .faults import Fault, parse_fault

Waits = tuple[tuple[str, str], ...]

_USUAL: Waits = (("queued", "queued"), ("in_progress", "in_progress"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an object created under a magic name does.

    ``waits`` are the statuses it passes, each with the name of a duration; then it is ``end``.
    An end that is not final means that the object is stuck there.
    """

    name: str
    waits: Waits = _USUAL
    end: str = "completed"
    code: str | None = None
    rounds: int = 0
    calls: int = 1
    repeats_call_ids: bool = False
    stale_reads: int = 0
    after_cancel: str = "cancelled"
    expires_early: bool = False
    vanishes: bool = False
    empty: bool = False
    null_fields: bool = False
    fault: Fault | None = None


class UnknownBehaviourError(ValueError):
    """A name begins like a magic one, but there is none like it."""


OK = Behaviour(name="sim-ok")
_FIXED: Mapping[str, Behaviour] = {
    behaviour.name: behaviour
    for behaviour in (
        OK,
        Behaviour(name="sim-slow", waits=(("queued", "queued"), ("in_progress", "slow"))),
        Behaviour(name="sim-instant", waits=()),
        Behaviour(name="sim-tool", rounds=1),
        Behaviour(name="sim-tools", rounds=1, calls=3),
        Behaviour(name="sim-tool-chain", rounds=2),
        Behaviour(name="sim-stale-action", rounds=1, stale_reads=3),
        Behaviour(name="sim-repeat-action", rounds=2, repeats_call_ids=True),
        Behaviour(name="sim-null-error", end="failed"),
        Behaviour(name="sim-unknown-error", end="failed", code="quantum_decoherence"),
        Behaviour(name="sim-expire", waits=_USUAL[:1], end="in_progress", expires_early=True),
        Behaviour(name="sim-cancelled", end="cancelled"),
        Behaviour(name="sim-stuck-queued", waits=(), end="queued"),
        Behaviour(name="sim-stuck-in_progress", waits=_USUAL[:1], end="in_progress"),
        Behaviour(
            name="sim-stuck-cancelling",
            waits=_USUAL[:1],
            end="in_progress",
            after_cancel="cancelling",
        ),
        Behaviour(
            name="sim-cancel-race",
            waits=(("queued", "queued"), ("in_progress", "slow")),
            after_cancel="completed",
        ),
        Behaviour(
            name="sim-unknown-status",
            waits=(("queued", "queued"), ("hibernating", "in_progress")),
        ),
        Behaviour(name="sim-goes-back", waits=_USUAL + _USUAL),
        Behaviour(name="sim-empty", empty=True),
        Behaviour(
            name="sim-null-fields",
            # Queued for longer than usual, or nobody would ever see the nulls.
            waits=(("queued", "in_progress"), ("in_progress", "in_progress")),
            null_fields=True,
        ),
        Behaviour(name="sim-vanish", vanishes=True),
        Behaviour(name="sim-contradict", waits=(*_USUAL, ("cancelled", "in_progress"))),
    )
}

#: Magic name -> what it does, in one line. Capitals stand for any value.
CATALOGUE: Mapping[str, str] = {
    "sim-ok": "queued, in_progress, completed with a text",
    "sim-slow": "the same, but ten seconds in progress",
    "sim-instant": "completed already in the answer to the create",
    "sim-tool": "asks for one tool call, then completes",
    "sim-tools": "asks for three parallel tool calls, then completes",
    "sim-tool-chain": "asks for a tool call twice, one after the other, then completes",
    "sim-stale-action": "three reads after a submit still show the answered calls (runs)",
    "sim-repeat-action": "asks again with the same call id and other arguments, then completes",
    "sim-fail-CODE": "fails with the error code CODE",
    "sim-null-error": "fails with a null error",
    "sim-unknown-error": "fails with a code that no document lists",
    "sim-expire": "in progress until it expires early (responses: stays in progress)",
    "sim-incomplete-REASON": "ends incomplete for REASON",
    "sim-cancelled": "is cancelled without being asked",
    "sim-stuck-queued": "stays queued for ever",
    "sim-stuck-in_progress": "stays in_progress for ever",
    "sim-stuck-cancelling": "hangs, and a cancel never ends (responses: has no effect)",
    "sim-cancel-race": "takes ten seconds; accepts a cancel and completes all the same",
    "sim-unknown-status": "is `hibernating` for a while, a status that no document lists",
    "sim-goes-back": "in_progress, queued again, in_progress, completed",
    "sim-empty": "completed without any output",
    "sim-null-fields": "reads show null id, created_at and output while it is queued",
    "sim-vanish": "answers 404 after a while, as if it had never been",
    "sim-contradict": "cancelled first, completed later",
    "sim-http-STATUS": "the create is refused with an HTTP status, as in sim-http-401",
    "sim-http-STATUS-before": "the create is answered with STATUS and nothing was created",
    "sim-http-STATUS-after": "the create is answered with STATUS although it was accepted",
    "sim-http-429": "the create is answered 429 with Retry-After",
    "sim-http-429-bare": "the create is answered 429 without Retry-After",
    "sim-drop-before": "the connection closes without a reply; nothing was created",
    "sim-drop-after": "the connection closes without a reply; the object exists",
    "sim-truncated": "the create is answered 200 with half a JSON body; the object exists",
    "sim-html": "the create is answered 200 with an HTML page; the object exists",
    "sim-slow-reply": "the create is answered after two seconds",
    "NAME-once": "as NAME for the first such create; the same create again is sim-ok",
}


def behaviour_named(name: str) -> Behaviour:
    """The behaviour of a model name; a name that is not magic behaves as ``sim-ok``."""
    if not name.startswith("sim-"):
        return OK
    name = name.removesuffix("-once")
    if name in _FIXED:
        return _FIXED[name]
    if code := _rest(name, "sim-fail-"):
        return Behaviour(name=name, end="failed", code=code)
    if reason := _rest(name, "sim-incomplete-"):
        return Behaviour(name=name, end="incomplete", code=reason)
    try:
        return Behaviour(name=name, fault=parse_fault(name.removeprefix("sim-")))
    except ValueError:
        raise UnknownBehaviourError(f"The model '{name}' does not exist.") from None


def is_once(name: str) -> bool:
    """Whether only the first create under this name behaves so."""
    return name.startswith("sim-") and name.endswith("-once")


def magic_name(model: str, metadata: Mapping[str, str]) -> str:
    """The name that rules: metadata ``sim`` before the model."""
    chosen = metadata.get("sim")
    return f"sim-{chosen.removeprefix('sim-')}" if chosen else model


def _rest(name: str, prefix: str) -> str | None:
    return name.removeprefix(prefix) if name.startswith(prefix) else None
