"""Sections on failures: which, of what, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.service.rendering import charts
from ledger.service.rendering.blocks import Block, Chart, Text, cell, percent, table

Numbers = Mapping[str, Any]


def first_and_last(found: Numbers) -> Sequence[Block]:
    """The ends of the trouble, with the ids to look them up by."""
    names = (
        ("first failure", "first"),
        ("last failure", "last"),
        ("next run to complete after the first", "success_after_first"),
        ("next run to complete after the last", "success_after_last"),
    )
    columns = ("at", "run", "key", "code", "upstream_id", "request_id")
    rows = [(what, *(found[name].get(c) for c in columns)) for what, name in names if found[name]]
    heads = ("what", "at", "run", "key", "code", "upstream id", "request id")
    return [table("First and last", heads, rows)]


def fingerprints(numbers: Numbers) -> Sequence[Block]:
    """Failures that are the same, together."""
    found, drawn = numbers["fingerprints"], charts.fingerprints(numbers["over_time"])
    rows = [
        (
            one["fingerprint"],
            one["code"],
            one["message"],
            one["attempts"],
            one["runs"],
            one["recovered_runs"],
            one["first"]["at"],
            one["last"]["at"],
            "new" if one["new"] else one["first_ever"],
            one["query"],
        )
        for one in found["listed"]
    ]
    columns = (
        "fingerprint", "code", "message, masked", "attempts", "runs", "recovered", "first", "last",
        "first ever", "command",
    )  # fmt: skip
    return [
        Text(f"Kinds of failure: {found['kinds']}; never seen before: {found['new']}."),
        Chart("Failed attempts over time, by fingerprint", drawn),
        table("Failed attempts by fingerprint", columns, rows),
    ]


def differences(found: Numbers) -> Sequence[Block]:
    """What the failed runs had in common."""
    whose = "failed runs" if found["selection"] == "failed" else "runs with a failed attempt"
    said: list[Block] = [
        Text(
            f"{found['failed']} {whose} against {found['others']} other runs that ended in the "
            "window. What follows is association, not cause: runs of one batch depend on each "
            "other, and what coincides with a cause stands out like it."
        )
    ]
    if not found["tested"]:
        rows = [
            (one["attribute"], one["value"], one["failed"], one["runs"]) for one in found["counts"]
        ]
        said.append(Text("Too few failures to test: the counts alone."))
        said.append(table("Counts", ("attribute", "value", "failed", "runs"), rows))
    else:
        said.append(_standing(found))
        if not found["found"]:
            said.append(Text(f"{found['tested']} values were tested, and none stands out."))
    said.append(Text(f"Attributes compared: {', '.join(found['attributes'])}."))
    if found["defining"]:
        said.append(Text(f"Not compared, being part of the query: {', '.join(found['defining'])}."))
    for one in found["left_out"]:
        text = f"Not compared, with too many values: {one['attribute']} ({one['values']})."
        said.append(Text(text))
    return said


def _standing(found: Numbers) -> Block:
    rows = [
        (
            f"{one['attribute']}={one['value']}",
            f"{one['failed']} of {one['runs']} ({percent(one['share'])})",
            percent(one["other_share"]),
            f"{cell(one['ratio'])} ({cell(one['low'])} to {cell(one['high'])})",
            one["q"],
            percent(one["covers"]),
            ", ".join(f"{also['attribute']}={also['value']}" for also in one["also"]),
            _before(one["before"]),
            _threads(one),
            one["query"],
        )
        for one in found["found"]
    ]
    columns = (
        "value", "failed with it", "without it", "times (95 %)", "q", "covers", "also",
        "failed with it at baseline", "threads", "command",
    )  # fmt: skip
    return table("Values with which runs failed more often", columns, rows)


def _before(found: Numbers | None) -> str:
    if found is None:
        return ""
    return f"{found['failed']} of {found['runs']} {percent(found['share'])}".rstrip()


def _threads(one: Numbers) -> str:
    if one["largest_thread"] <= 0.5:
        return str(one["threads"])
    return f"{one['threads']}; one has {percent(one['largest_thread'])}: the tests mean little"


def recovery(found: Numbers) -> Sequence[Block]:
    """Each failed attempt in one bucket."""
    rows = [
        (name.replace("_", " "), of["attempts"], of["runs"], of["query"])
        for name, of in found["buckets"].items()
    ]
    rows.append(("all", found["failed_attempts"], "", ""))
    efforts = [
        ("restarts by policy", found["restarts_by_policy"], ""),
        ("restarts by hand", found["restarts_by_hand"], ""),
        ("backoff before restarts, s", found["backoff_seconds"], ""),
        ("webhooks that came again, and counted once", found["duplicate_deliveries"], ""),
        (
            "tool calls that ran more than once",
            found["tools_run_again"],
            found["tools_run_again_query"],
        ),
    ]
    return [
        Chart("What became of failed attempts", charts.recovery(found)),
        table("Each failed attempt, once", ("became", "attempts", "runs", "command"), rows),
        table("What it took", ("what", "value", "command"), efforts),
    ]


def tools(found: Sequence[Numbers]) -> Sequence[Block]:
    """Tool calls and the errors that they gave."""
    rows = [
        (
            one["tool"],
            one["calls"],
            one["unanswered"],
            one["errors"]["part"],
            percent(one["errors"]["share"]),
            ", ".join(f"{kind} {count}" for kind, count in one["kinds"].items()),
            one["first_error"],
            one["last_error"],
            one["p95_seconds"],
            one["query"],
        )
        for one in found
    ]
    columns = (
        "tool", "calls", "unanswered", "errors", "share", "kinds", "first error", "last error",
        "p95 s", "command",
    )  # fmt: skip
    return [table("Tool calls", columns, rows)]


def waste(found: Numbers) -> Sequence[Block]:
    """What was paid for and not used."""
    rows = [_waste("all", found["total"]), _waste("not used", found["unused"])]
    rows += [_waste(f"not used: {cause}", of) for cause, of in found["by_cause"].items()]
    columns = (
        "what", "objects", "tokens in", "of these cached", "tokens out", "cost USD",
        "without a count", "without a price", "command",
    )  # fmt: skip
    return [
        table("Tokens of attempts that ended in the window", columns, rows),
        Text(f"Prices: {found['prices']}. What has no count or no price is not in the cost."),
        table(
            "Calls made for runs that failed",
            ("calls", "command"),
            [(found["calls_of_failed_runs"], found["failed_query"])],
        ),
    ]


def _waste(what: str, of: Numbers) -> Sequence[object]:
    names = (
        "objects", "tokens_in", "tokens_cached", "tokens_out", "cost_usd", "without_usage",
        "without_price",
    )  # fmt: skip
    return (what, *(of[name] for name in names), of.get("query", ""))
