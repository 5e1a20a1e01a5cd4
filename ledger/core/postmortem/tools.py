"""Tool calls of the window: how many, how many gave the model an error, and which."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.impact import ratio_of
from ledger.core.postmortem.material import CallRow, Material
from ledger.core.postmortem.queries import shown
from ledger.core.statistics import quantile


def tools(material: Material, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """One entry for each tool that was asked for in the window, the one with most errors first."""
    by: dict[str, list[CallRow]] = defaultdict(list)
    for case in cases:
        for call in case.calls:
            if material.span.holds(call.requested_at):
                by[call.tool].append(call)
    made = [_tool(material, name, by[name]) for name in by]
    return sorted(made, key=lambda one: (-one["errors"]["part"], one["tool"]))


def _tool(material: Material, name: str, calls: Sequence[CallRow]) -> dict[str, Any]:
    until = material.as_of
    done = [call for call in calls if call.finished_at is not None and call.finished_at <= until]
    errors = [call for call in done if call.is_error]
    kinds = Counter(material.tool_errors.get((call.run_id, call.n), "error") for call in errors)
    ends = [call.finished_at for call in errors if call.finished_at is not None]
    seconds = sorted(
        (call.finished_at - call.started_at).total_seconds()
        for call in done
        if call.started_at is not None and call.finished_at is not None
    )
    p95 = quantile(seconds, 0.95)
    return {
        "tool": name,
        "calls": len(calls),
        "unanswered": len(calls) - len(done),
        "errors": ratio_of(len(errors), len(done)),
        "kinds": dict(sorted(kinds.items())),
        "first_error": min(one.requested_at for one in errors).isoformat() if errors else None,
        "last_error": max(ends).isoformat() if ends else None,
        "meanwhile": _meanwhile(calls, errors),
        "p95_seconds": None if p95 is None else round(p95, 3),
        "runs_with_errors": len({call.run_id for call in errors}),
        "query": shown(call.run_id for call in errors),
    }


def _meanwhile(calls: Sequence[CallRow], errors: Sequence[CallRow]) -> int:
    """How many calls were asked for from the first that gave an error to the last."""
    if not errors:
        return 0
    first = min(one.requested_at for one in errors)
    last = max(one.requested_at for one in errors)
    return sum(1 for one in calls if first <= one.requested_at <= last)
