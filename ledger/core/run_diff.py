"""Two runs side by side: what was asked, how long it took, what was called, where they parted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

import jsonpatch

OUTCOME: Final = ("status", "error_code", "error_origin", "fingerprint", "attempts", "calls")
CALL: Final = ("tool", "arguments", "output", "state", "is_error")
STEPS_MAX: Final = 10_000
QUIET: Final = frozenset({"looked", "notified", "noted", "trouble", "attention", "settled"})
"""Kinds of events that come as chance has it: they are no parting of ways."""


def json_diff(old: Any, new: Any) -> list[dict[str, Any]]:
    """What makes the one JSON value of the other, as a JSON Patch (RFC 6902)."""
    patch: list[dict[str, Any]] = jsonpatch.make_patch(old, new).patch
    return patch


def diff_runs(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    events: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """What two runs, as `show` gives them, have different; with the first step at which their
    histories part, None where they do not. Times are in seconds."""
    requests = (one["request"], other["request"])
    known = None not in requests
    outputs = [one["output_text"], other["output_text"]]
    told = all(_told(run) for run in (one, other))
    return {
        "runs": [{"id": run["id"], "key": run["key"]} for run in (one, other)],
        # What was erased is neither the same nor another.
        "same_request": requests[0] == requests[1] if known else None,
        "request": json_diff(*requests) if known else [],
        "outcome": {name: [one.get(name), other.get(name)] for name in OUTCOME},
        "timing": _timing(one, other),
        "tools": _tools(one, other),
        "usage": _usage(one, other),
        "same_output": outputs[0] == outputs[1] if told else None,
        "output": outputs if outputs[0] != outputs[1] else None,
        "first_divergence": _divergence(*events),
    }


def _told(run: Mapping[str, Any]) -> bool:
    """Whether what a run gave is still there, or never was: no text is left of an erased one."""
    return run["request"] is not None or run["result"] is not None


def _timing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[float | None]]:
    stretches = {
        "queued": ("created_at", "started_at"),
        "ran": ("started_at", "finished_at"),
        "took": ("created_at", "finished_at"),
    }
    found = {
        name: [_between(run[since], run[until]) for run in (one, other)]
        for name, (since, until) in stretches.items()
    }
    found["tools"] = [_tool_seconds(run) for run in (one, other)]
    return found


def _between(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None
    passed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    return round(passed.total_seconds(), 3)


def _tool_seconds(run: Mapping[str, Any]) -> float | None:
    times = [_between(call["started_at"], call["finished_at"]) for call in run["tool_calls"]]
    return round(sum(time for time in times if time is not None), 3) if times else None


def _tools(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls of both in order, beside each other; `same` None where that is not known."""
    rows = []
    for a, b in zip_longest(one["tool_calls"], other["tool_calls"]):
        sides = [None if call is None else _call(call) for call in (a, b)]
        rows.append({"same": _same(a, b), "calls": sides})
    return rows


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool | None:
    """Whether two calls are alike; None where only what was erased could tell."""
    if one is None or other is None:
        return False
    hidden = [name for call in (one, other) for name in _erased(call)]
    if any(one[name] != other[name] for name in CALL if name not in hidden):
        return False
    return None if hidden else True


def _erased(call: Mapping[str, Any]) -> list[str]:
    """What is not there any more: each call has arguments, and one that ended an output."""
    there = {"arguments": True, "output": call["finished_at"] is not None}
    return [name for name, had in there.items() if had and call[name] is None]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in CALL}


def _usage(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    sides = [run["usage"] or {} for run in (one, other)]
    names = [
        name for name in {**sides[0], **sides[1]} if not isinstance(_either(sides, name), dict)
    ]
    return {name: [side.get(name) for side in sides] for name in names}


def _either(sides: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next(side[name] for side in sides if name in side)


def _divergence(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    steps = [[event for event in side if event["kind"] not in QUIET] for side in (one, other)]
    for number, pair in enumerate(zip_longest(*steps), start=1):
        said = [None if event is None else _step(event) for event in pair]
        if said[0] != said[1]:
            seqs = [None if event is None else event["seq"] for event in pair]
            return {"step": number, "seq": seqs, "events": said}
    return None


def _step(event: Mapping[str, Any]) -> dict[str, Any]:
    """What of an event is alike in runs that go alike."""
    tool = (event["detail"] or {}).get("tool")
    names = ("kind", "from", "to", "remote_status", "error_code", "attempt")
    return {**{name: event[name] for name in names}, "tool": tool}
