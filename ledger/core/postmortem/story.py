"""Sentences made of the numbers: the summary, what may have contributed, what went well.

Nothing here knows more than the numbers do. What may have contributed is worded as an association,
with what it rests on; where nothing stands out, that is what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ledger.core.postmortem.recovery import Bucket

STRONG: Final = "strong"
MODERATE: Final = "moderate"
QUIET: Final = "Nothing stands out: no cause is named."
TOOL_ERRORS_MIN: Final = 3
TOOL_SHARE_MIN: Final = 0.5
"""A tool is named if so many of its calls gave an error, from the first that did to the last."""
SLOW_SECONDS: Final = 60.0
Numbers = Mapping[str, Any]


def quiet(numbers: Numbers) -> bool:
    """Whether there is nothing that a report would have to explain."""
    return not (
        numbers["over_time"]["excess"]
        or numbers["headroom"]["storms"]
        or numbers["environment"]["webhook_gaps"]
        or _deaths(numbers)
        or numbers["differences"]["found"]
        or bad_tools(numbers)
        or _worse(numbers)
    )


def summary(numbers: Numbers) -> list[str]:
    """What happened, in a few sentences."""
    said = [_counts(numbers["impact"]), *_beside(numbers)]
    recovery = numbers["recovery"]
    if recovery["failed_attempts"]:
        well = sum(recovery["buckets"][bucket]["attempts"] for bucket in _RECOVERED)
        said.append(
            f"Failed attempts: {recovery['failed_attempts']}; {well} of them belong to runs that "
            f"completed after all, {recovery['buckets'][Bucket.lost]['attempts']} to lost runs."
        )
    said += [one["text"] for one in factors(numbers)]
    if quiet(numbers):
        said.append(QUIET)
    return said


def _counts(impact: Numbers) -> str:
    if not impact["finished"] and not impact["started"]:
        left = f"; {runs(impact['open'])} open at its end" if impact["open"] else ""
        gone = f"; {runs(impact['pruned'])} of it pruned" if impact["pruned"] else ""
        return f"No run was created and none ended in this window{left}{gone}."
    failure = impact["failure"]
    said = f"{runs(impact['finished'])} ended in the window, {impact['failed']} of them failed"
    if failure["share"] is not None:
        low, high = failure["low"], failure["high"]
        said += f" ({failure['share']:.1%}, 95 % interval {low:.1%} to {high:.1%})"
    if impact["pruned"]:
        said += f" of what is left, with {runs(impact['pruned'])} of it pruned"
    return f"{said}; {impact['started']:,} created in it, {impact['open']:,} open at its end."


_RECOVERED: Final = (Bucket.restarted, Bucket.later_look, Bucket.webhook, Bucket.by_hand)


def _beside(numbers: Numbers) -> Iterable[str]:
    for past in numbers["comparison"]:
        ratio = past["failure_ratio"]
        if past["finished"] and ratio:
            yield (
                f"Against the {NAMES[past['name']]} runs failed {ratio['value']:.2f} times as "
                f"often (95 % interval {ratio['low']:.2f} to {ratio['high']:.2f})."
            )


NAMES: Final = {"previous": "window before", "week": "same hours a week before"}


def factors(numbers: Numbers) -> list[dict[str, Any]]:
    """What may have contributed, each with its strength and what it rests on."""
    return [
        *_storms(numbers),
        *_gaps(numbers),
        *_lives(numbers),
        *_standing(numbers),
        *_of_tools(numbers),
    ]


def _factor(kind: str, strength: str, text: str, see: str) -> dict[str, Any]:
    return {"kind": kind, "strength": strength, "text": text, "see": see}


def _storms(numbers: Numbers) -> Iterable[dict[str, Any]]:
    for one in numbers["headroom"]["storms"]:
        text = (
            f"From {clock(one['start'])} to {clock(one['end'])} upstream refused "
            f"{one['refused']} of {one['calls']} calls of profile {one['profile']} with 429."
        )
        yield _factor("storm", STRONG, text, "runward limits")


def _gaps(numbers: Numbers) -> Iterable[dict[str, Any]]:
    for one in numbers["environment"]["webhook_gaps"]:
        until = f"to {clock(one['closed_at'])}" if one["closed_at"] else "on, still open,"
        text = (
            f"From {clock(one['start'])} {until} no webhook came for profile {one['profile']} "
            "although runs ended; they were found by looking."
        )
        yield _factor("webhook_gap", STRONG, text, "runward webhook list")


def _lives(numbers: Numbers) -> Iterable[dict[str, Any]]:
    for event in numbers["environment"]["events"]:
        if event["kind"] in ("died", "overdue"):
            text = f"A worker on {event['host']} was found dead at {clock(event['at'])}."
            yield _factor("death", STRONG, text, "runward workers list --all")
    for loop in numbers["environment"]["crash_loops"]:
        text = f"Workers died again and again from {clock(loop['start'])} to {clock(loop['end'])}."
        yield _factor("crash_loop", STRONG, text, "runward workers list --all")


def _standing(numbers: Numbers) -> Iterable[dict[str, Any]]:
    selection = numbers["differences"]["selection"]
    verb = "failed" if selection == "failed" else "had a failed attempt"
    for one in numbers["differences"]["found"]:
        strength = STRONG if one["low"] >= 2.0 and one["covers"] >= 0.3 else MODERATE
        text = (
            f"Runs with {one['attribute']} {one['value']} {verb} more often than the others: "
            f"{one['failed']} of {one['runs']} ({one['share']:.1%}) against "
            f"{one['other_share']:.1%}, {one['ratio']:.1f} times (95 % interval "
            f"{one['low']:.1f} to {one['high']:.1f}); "
            f"an association that covers {one['covers']:.0%} of the failures."
        )
        yield _factor("standing_out", strength, text, one["query"] or "")


def _of_tools(numbers: Numbers) -> Iterable[dict[str, Any]]:
    for one in bad_tools(numbers):
        kinds = ", ".join(f"{kind} {count}" for kind, count in one["kinds"].items())
        text = (
            f"From {clock(one['first_error'])} to {clock(one['last_error'])} tool {one['tool']} "
            f"gave an error in {one['errors']['part']} of {one['meanwhile']} calls ({kinds}); in "
            f"the whole window it was called {one['calls']} times."
        )
        yield _factor("tool", MODERATE, text, "runward tools list")


def bad_tools(numbers: Numbers) -> list[Any]:
    """Tools whose calls gave errors for a while, most of them."""
    return [
        one
        for one in numbers["tools"]
        if one["errors"]["part"] >= max(TOOL_ERRORS_MIN, TOOL_SHARE_MIN * one["meanwhile"])
    ]


def _deaths(numbers: Numbers) -> int:
    counts = numbers["environment"]["counts"]
    return int(counts.get("died", 0)) + int(counts.get("overdue", 0))


def _worse(numbers: Numbers) -> bool:
    """Whether more runs failed than in the window before, beyond chance."""
    return any(
        past["failure_ratio"] is not None
        and past["finished"]
        and past["failure_ratio"]["low"] > 1.2
        for past in numbers["comparison"]
    )


def went_well(numbers: Numbers) -> list[str]:
    """What the numbers say worked."""
    found, buckets = [], numbers["recovery"]["buckets"]
    restarted = buckets[Bucket.restarted]
    if restarted["attempts"]:
        found.append(
            f"{runs(restarted['runs'])} failed and completed by a restart of the policy's."
        )
    polled = sum(gap["found_by_looks"] for gap in numbers["environment"]["webhook_gaps"])
    if polled:
        verdicts = "1 verdict" if polled == 1 else f"{polled:,} verdicts"
        found.append(f"While webhooks were missing, looks went on: {verdicts} came by them.")
    if _deaths(numbers) and numbers["environment"]["counts"].get("takeover"):
        found.append("The runs of the workers that died were taken over by others.")
    if numbers["recovery"]["duplicate_deliveries"]:
        number = numbers["recovery"]["duplicate_deliveries"]
        found.append(f"{number} webhooks came more than once and counted once.")
    return found


def luck(numbers: Numbers) -> list[str]:
    """Where little was missing."""
    narrow = numbers["narrow"]
    if not narrow["runs"]:
        return []
    return [
        f"{narrow['runs']} results were read less than {narrow['minutes']} minutes before upstream "
        f"was to drop them, the closest {narrow['closest_seconds']} s before."
    ]


def actions(numbers: Numbers) -> list[str]:
    """Stubs of action items, from rules alone."""
    found = []
    for gap in numbers["environment"]["webhook_gaps"]:
        found.append(
            f"Webhooks for profile {gap['profile']} were missing for {gap['minutes_in_window']} "
            "minutes of the window: who was told? `runward webhook test` shows whether they come."
        )
    for storm in numbers["headroom"]["storms"]:
        found.append(
            f"429s on profile {storm['profile']} for {storm['minutes']} minutes: ask for a higher "
            "limit, or set `limits.requests_per_minute` below upstream's."
        )
    if _deaths(numbers):
        found.append("A worker died: what does its own log, or the kernel's, say?")
    if numbers["recovery"]["buckets"][Bucket.lost]["attempts"]:
        found.append("Runs were lost: look for what upstream may have made of their creates.")
    if numbers["recovery"]["tools_run_again"]:
        found.append("Tools ran more than once: check what they did outside.")
    for one in bad_tools(numbers):
        remedy = "fix it, or raise its timeout" if one["kinds"].get("timeout") else "fix it"
        found.append(f"Most calls of tool {one['tool']} gave an error for a time: {remedy}.")
    if numbers["completeness"]["unobserved_minutes"]:
        minutes = numbers["completeness"]["unobserved_minutes"]
        found.append(f"No daemon was at work for {minutes} minutes: is it supervised?")
    return found


def runs(number: int) -> str:
    """So many runs."""
    return "1 run" if number == 1 else f"{number:,} runs"


def clock(at: str) -> str:
    """A time as sentences have it: to the minute, in UTC."""
    return f"{at[:10]} {at[11:16]} UTC"
