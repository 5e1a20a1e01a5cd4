"""Sections on what was around the runs, what upstream can look up, and how it was counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.service.rendering import charts
from ledger.service.rendering.blocks import Block, Chart, Items, Text, percent, table

Numbers = Mapping[str, Any]
METHODS: Final = (
    "Shares have Wilson's interval, ratios of shares Katz's, ratios of volumes that of two Poisson "
    "counts, all at 95 %. Percentiles are by the nearest rank.",
    "What was different: the unit is the run; one-sided Fisher's exact test for each value; a "
    "value is named with q below 0.05 (Benjamini and Hochberg over all values tested), a risk "
    "ratio whose interval begins above 1.2, and at least 3 and 5 % of the failures. Values that "
    "say the same are one line. With fewer than 10 failures nothing is tested.",
    "A failure is a verdict failed or expired. A run restarted by policy has no verdict yet.",
    "Times with more failures than expected: runs with a failed attempt in each bucket against the "
    "share of the baseline (of this window itself without one), Poisson, p below 0.001 over all "
    "buckets.",
    "A 429 storm: minutes in which a tenth of the calls or more were refused, at most five minutes "
    "apart, with ten 429s in all. A life that was killed takes the counts of its last minute with "
    "it, and of the two minutes before `as of` nothing is told, since not all have written theirs.",
    "Attributes that follow from how a run ended (attempts, duration, codes, webhooks) are not "
    "compared. Tags are those of today.",
)


def headroom(found: Numbers) -> Sequence[Block]:
    """How near the limits calls came."""
    accounts = [
        (
            one["profile"],
            one["provider"],
            one["calls"],
            one["refused"],
            percent(one["lowest_headroom"]),
            one["minutes_low"],
            one["minutes_known"],
            one["throttled_seconds"],
        )
        for one in found["accounts"]
    ]
    columns = (
        "profile", "provider", "calls", "429s", "lowest headroom", "minutes under 10 %",
        "minutes known", "waited for our own limiter, s",
    )  # fmt: skip
    storms = [
        (one["profile"], one["provider"], one["start"], one["end"], one["refused"], one["calls"])
        for one in found["storms"]
    ]
    return [
        Chart("Headroom and 429s by the minute", charts.headroom(found)),
        table("Limits by account", columns, accounts),
        table("429 storms", ("profile", "provider", "from", "to", "429s", "calls"), storms),
    ]


def environment(found: Numbers) -> Sequence[Block]:
    """Daemons, and webhooks."""
    events = [
        (one["at"], one["kind"], (one["life"] or "")[:8], one["host"], _detail(one["detail"]))
        for one in found["events"]
    ]
    lives = [
        (one["life"][:8], one["role"], one["host"], one["version"], one["started_at"],
         one["ended_at"], one["end"])
        for one in found["lives"]
    ]  # fmt: skip
    gaps = [
        (one["profile"], one["start"], one["closed_at"] or "not over", one["noticed_at"],
         one["minutes_in_window"], one["missed_when_noticed"], one["found_by_looks"])
        for one in found["webhook_gaps"]
    ]  # fmt: skip
    down = [(one["start"], one["end"]) for one in found["unobserved"]]
    heads = (
        "profile", "from", "to", "noticed", "minutes in the window", "ends untold by then",
        "verdicts by looks meanwhile",
    )  # fmt: skip
    return [
        table("What befell daemons", ("at", "what", "life", "host", "detail"), events),
        table("Lives", ("life", "role", "host", "version", "began", "ended", "how"), lives),
        table("Times without a daemon", ("from", "to"), down),
        table("Webhook gaps", heads, gaps),
    ]


def _detail(detail: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={detail[name]}" for name in sorted(detail))


def support(found: Numbers) -> Sequence[Block]:
    """What a ticket needs; no prompts."""
    names = (
        "at", "run", "upstream_id", "request_id", "client_id", "model", "base_url", "code",
        "message",
    )  # fmt: skip
    rows = [[one[name] for name in names] for one in found["listed"]]
    more = found["known_upstream"] - len(rows)
    blocks: list[Block] = [
        table("Failed attempts that upstream knows", [n.replace("_", " ") for n in names], rows)
    ]
    if more > 0:
        blocks.append(Text(f"{more} more are not listed."))
    return blocks


def full_timeline(found: Numbers) -> Sequence[Block]:
    """Everything, within bounds."""
    rows = [(one["at"], one["kind"], one["text"]) for one in found["full"]]
    blocks: list[Block] = [table("All entries", ("at", "kind", "what"), rows)]
    if found["full_entries"] > len(rows):
        blocks.append(Text(f"{found['full_entries'] - len(rows)} more are not listed."))
    return blocks


def over_time(found: Numbers) -> Sequence[Block]:
    """The data of the charts."""
    rows = [
        (one["start"], *one["ends"].values(), one["attempts"], one["failed_attempts"])
        for one in found["buckets"]
        if one["attempts"] or any(one["ends"].values())
    ]
    states = list(found["buckets"][0]["ends"]) if found["buckets"] else []
    columns = ("from", *states, "attempts ended", "of these failed")
    return [table(f"Each {found['bucket_seconds'] / 60:g} minutes", columns, rows)]


def methods(numbers: Numbers) -> Sequence[Block]:
    """How it was made, and how far to trust it."""
    notes = [*METHODS]
    if numbers["header"]["redacted"]:
        notes.append(
            "Redacted: keys, upstream and request ids, tags, labels, hosts and lives are hashes "
            "with a salt of this report; messages are left out; run numbers, models, codes and "
            "times stay. Commands that hold a hash find nothing."
        )
    return [Items(notes)]
