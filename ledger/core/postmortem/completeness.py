"""How much of what a report should know the ledger does know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ledger.core.folding import CHANGING, UNKNOWN
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.material import Material, RemoteRow
from ledger.core.postmortem.waste import COUNTED
from ledger.core.query import Term

FEW: Final = 0.99
"""Below this share a gap in the data is named under what is not known."""


def completeness(
    material: Material, done: Sequence[Case], detection: Mapping[str, Any], down_minutes: float
) -> dict[str, Any]:
    """The box at the top: coverage of the window's verdicts, and times that nobody watched."""
    remotes = [
        remote
        for case in done
        for remote in case.remotes
        if remote.kind in COUNTED and remote.remote_id is not None and remote.settled
    ]
    return {
        "verdicts": len(done),
        "objects": len(remotes),
        "with_usage": _share(remotes, lambda one: one.tokens_in is not None),
        "with_request_id": _share(remotes, lambda one: one.request_id is not None),
        "with_end_time": _share(remotes, lambda one: one.remote_ended_at is not None),
        "lag_sources": {
            name: of["verdicts"] for name, of in sorted(detection["by_source"].items())
        },
        "pruned_runs": material.pruned,
        "unobserved_minutes": down_minutes,
        "ledger_since": material.ledger_since.isoformat(),
        "began_in_window": material.ledger_since > material.span.since,
        "closed": material.as_of >= material.span.until,
        "sampled": False,
    }


def _share(remotes: Sequence[RemoteRow], holds: Any) -> float | None:
    if not remotes:
        return None
    return round(sum(1 for one in remotes if holds(one)) / len(remotes), 6)


def _asked_now(terms: Sequence[Term]) -> Iterable[str]:
    """That what a query chose by may have changed since."""
    names = sorted({term.name for term in terms if term.name in (*CHANGING, *UNKNOWN)})
    if names:
        yield (
            f"The query asks for {', '.join(names)}, and runs were asked as they stand now: what "
            "was restarted or changed since the window may be missing, or be there."
        )


def unknown(numbers: Mapping[str, Any], terms: Sequence[Term]) -> list[str]:
    """What a reader must not take the report for, in sentences made of its numbers."""
    box, found = numbers["completeness"], []
    for name, words in (
        ("with_usage", "a count of tokens"),
        ("with_request_id", "a request id"),
        ("with_end_time", "upstream's own time of their end"),
    ):
        share = box[name]
        if share is not None and share < FEW:
            found.append(f"{share:.1%} of the {box['objects']} upstream objects have {words}.")
    if box["unobserved_minutes"]:
        found.append(
            f"For {box['unobserved_minutes']} minutes of the window no daemon was at work: "
            "detection lags of that time are upper bounds, and 429s of others were not seen."
        )
    counts = numbers["environment"]["counts"]
    if counts.get("died") or counts.get("overdue"):
        found.append("A worker that dies takes its last minute's counts of calls and 429s with it.")
    if box["pruned_runs"]:
        query = ", whether or not they match the query" if numbers["header"]["query"] else ""
        found.append(
            f"{box['pruned_runs']} runs of the window were pruned and are not counted{query}."
        )
    found += _asked_now(terms)
    if box["began_in_window"]:
        found.append(f"The ledger begins at {box['ledger_since']}, within the window.")
    if not box["closed"]:
        found.append("The window had not ended when the report was made: its numbers will change.")
    if numbers["impact"]["open"]:
        found.append(f"{numbers['impact']['open']} runs had no verdict at the window's end.")
    if not any(past["finished"] for past in numbers["comparison"]):
        found.append("There is no earlier window with verdicts to compare with.")
    if numbers["detection"]["negative"]:
        found.append(
            f"{numbers['detection']['negative']} verdicts seem to have been noticed before they "
            "came: upstream's clock and ours differ."
        )
    found.append("Why upstream did what it did is not known to a ledger of its answers.")
    return found
