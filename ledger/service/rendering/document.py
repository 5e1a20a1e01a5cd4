"""The sections of a report, in order, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.service.rendering import charts, evidence, findings
from ledger.service.rendering.blocks import (
    Block,
    Chart,
    Document,
    Items,
    Section,
    Text,
    cell,
    percent,
    ratio,
    table,
)
from ledger.service.rendering.one_run import one_run

Numbers = Mapping[str, Any]
LATE: Final = ("run", "at least s", "at most s", "known by", "noticed by", "command")


def document(numbers: Numbers) -> Document:
    """The whole report: of a window, or of one run."""
    if "run" in numbers:
        return one_run(numbers)
    sections = [
        Section("Header", header(numbers)),
        Section("Summary", _summary(numbers)),
        Section("Impact", impact(numbers)),
        Section("Detection", detection(numbers["detection"])),
        Section("Timeline", timeline(numbers["timeline"]["short"])),
        Section("First and last failure", findings.first_and_last(numbers["first_and_last"])),
        Section("Error fingerprints", findings.fingerprints(numbers)),
        Section("What was different", findings.differences(numbers["differences"])),
        Section("Recovery", findings.recovery(numbers["recovery"])),
        Section("Tools", findings.tools(numbers["tools"])),
        Section("Waste", findings.waste(numbers["waste"])),
        Section("Rate limits", evidence.headroom(numbers["headroom"])),
        Section("Daemons and webhooks", evidence.environment(numbers["environment"])),
        Section("Comparison", comparison(numbers["comparison"])),
        Section("Evidence for upstream's support", evidence.support(numbers["evidence"])),
        Section("Contributing factors", _factors(numbers)),
        Section("What went well", _or(numbers["went_well"], "The numbers name nothing.")),
        Section("Where we were lucky", _or(numbers["luck"], "The numbers name nothing.")),
        Section("Action items", _or(numbers["actions"], "No rule asks for one.")),
        Section("Appendix: the full timeline", evidence.full_timeline(numbers["timeline"])),
        Section("Appendix: numbers over time", evidence.over_time(numbers["over_time"])),
        Section("Appendix: methods and their limits", evidence.methods(numbers)),
    ]
    return Document(numbers["header"]["title"], sections)


def header(numbers: Numbers) -> Sequence[Block]:
    """What the report is of, and how complete its data are."""
    head, box = numbers["header"], numbers["completeness"]
    facts = [
        ("window", f"{head['since']} to {head['until']}"),
        ("as of", head["as_of"]),
        ("query", head["query"] or "(all runs)"),
        ("ledger", head["ledger"]),
        ("runward's version", f"{head['version']}, schema {head['database_schema']}"),
        ("status", head["status"]),
        ("authors", ""),
        ("redacted", head["redacted"]),
    ]
    complete = [
        ("verdicts in the window", box["verdicts"]),
        ("upstream objects", box["objects"]),
        ("with a count of tokens", percent(box["with_usage"])),
        ("with a request id", percent(box["with_request_id"])),
        ("with upstream's time of their end", percent(box["with_end_time"])),
        *((f"lags by {name}", count) for name, count in box["lag_sources"].items()),
        ("runs pruned since", box["pruned_runs"]),
        ("minutes without a daemon", box["unobserved_minutes"]),
        ("the window has ended", box["closed"]),
        ("sampled", box["sampled"]),
    ]
    return [
        table("Report", ("what", "value"), facts),
        table("Completeness of the data", ("what", "value"), complete),
    ]


def _summary(numbers: Numbers) -> Sequence[Block]:
    return [
        *(Text(sentence) for sentence in numbers["summary"]),
        Text("What is not known:"),
        Items(numbers["unknown"]),
    ]


def impact(numbers: Numbers) -> Sequence[Block]:
    """How many runs, of whom, for how long."""
    found, over_time = numbers["impact"], numbers["over_time"]
    failure = found["failure"]
    share = percent(failure["share"])
    if failure["share"] is not None:
        share += f" ({percent(failure['low'])} to {percent(failure['high'])})"
    queries = found["queries"]
    counts = [
        ("created", found["started"], queries["started"]),
        ("ended", found["finished"], queries["finished"]),
        *((state, count, "") for state, count in found["by_state"].items()),
        ("failed or expired", found["failed"], queries["failed"]),
        ("share that failed, 95 % interval", share, ""),
        *([("pruned, and not counted here", found["pruned"], "")] if found["pruned"] else ()),
        ("of these lost", found["lost"], ""),
        ("open at the window's end", found["open"], ""),
        ("not done by their deadline", found["missed_deadlines"], ""),
        ("with a failed attempt", found["hit"], ""),
    ]
    affected = [
        (name, of["values"], ", ".join(f"{value} ({n})" for value, n in of["most"].items()))
        for name, of in found["affected"].items()
        if of["values"]
    ]
    excess = [
        (one["first"], one["last"], one["runs"], one["expected"], one["p"])
        for one in over_time["excess"]
    ]
    return [
        table("Runs", ("what", "runs", "command"), counts),
        Chart("Verdicts over time, by state", charts.ends(over_time)),
        table(
            "Times with more runs that had a failed attempt than expected",
            ("from", "to", "runs", "expected", "p"),
            excess,
        ),
        table("Whom the failed runs belong to", ("attribute", "values", "most"), affected),
        *_delay(found["delay"]),
    ]


def _delay(found: Numbers) -> Sequence[Block]:
    rows = [
        (name, of["completed"], of["p50_seconds"], of["p95_seconds"])
        for name, of in (("this window", found["window"]), ("baseline", found["before"]))
        if of
    ]
    blocks: list[Block] = [
        table("How long completed runs took", ("window", "completed", "p50 s", "p95 s"), rows)
    ]
    if found["run_minutes"] is not None:
        blocks.append(
            Text(
                f"Completed runs took {cell(abs(found['run_minutes']))} minutes "
                f"{'less' if found['run_minutes'] < 0 else 'more'} in all than at baseline's mean."
            )
        )
    return blocks


def detection(found: Numbers) -> Sequence[Block]:
    """How late ends were noticed."""
    columns = ("what", "verdicts", "p50 s", "p95 s", "p95 at worst s", "worst s", "command")
    names = ("verdicts", "p50_seconds", "p95_seconds", "worst_p95_seconds", "worst_seconds")

    def row(what: str, of: Numbers) -> Sequence[object]:
        return (what, *(of[name] for name in names), "")

    rows: list[Sequence[object]] = [
        ("all verdicts", found["verdicts"], "", "", "", "", found["query"])
    ]
    rows.append(row("with a lag", found["all"]))
    rows += [row(f"known by {source}", of) for source, of in found["by_source"].items()]
    rows += [row(f"noticed by {way}", of) for way, of in found["by_way"].items()]
    late = [
        (
            one["run"], one["low_seconds"], one["high_seconds"], one["source"], one["noticed_by"],
            one["query"],
        )
        for one in found["latest"]
    ]  # fmt: skip
    own = ", ".join(f"{source} {count}" for source, count in found["without"].items())
    return [
        Text(
            "A lag is an interval: upstream's end is known to a second at best, or lies between "
            "two looks. Medians are of the middles of the intervals, the worst of their upper ends."
        ),
        table("Lag from upstream's end to the verdict", columns, rows),
        table("The latest", LATE, late),
        Text(f"Verdicts without a lag, by what gave them: {own or 'none'}."),
        table(
            "Negative lags, which clocks that differ make",
            ("verdicts", "command"),
            [(found["negative"], found["negative_query"])] if found["negative"] else [],
        ),
    ]


def timeline(entries: Sequence[Numbers]) -> Sequence[Block]:
    """What happened when."""
    rows = [(one["at"], one["text"], one["see"]) for one in entries]
    return [table("Key moments", ("at", "what", "command"), rows)]


def comparison(windows: Sequence[Numbers]) -> Sequence[Block]:
    """The window beside others."""
    rows = [
        (
            past["name"],
            f"{past['since']} to {past['until']}",
            past["finished"],
            percent(past["failure"]["share"]),
            ratio(past["volume_ratio"]),
            ratio(past["failure_ratio"]),
            past["duration"]["p95_seconds"],
            past["cost_usd"],
            _whole(past),
        )
        for past in windows
    ]
    columns = (
        "baseline", "window", "ended", "failed", "volume, times (95 %)", "failures, times (95 %)",
        "p95 s", "cost USD", "whole",
    )  # fmt: skip
    return [table("This window beside others", columns, rows)]


def _whole(past: Numbers) -> str:
    if past["pruned"]:
        return f"no, {past['pruned']} pruned"
    return "yes" if past["whole"] else "before the ledger began"


def _factors(numbers: Numbers) -> Sequence[Block]:
    if not numbers["factors"]:
        return [Text("Nothing in the numbers stands out.")]
    rows = [(one["strength"], one["text"], one["see"]) for one in numbers["factors"]]
    return [
        Text("Hypotheses from rules, for people to judge: what coincided is no cause by that."),
        table("What may have contributed", ("strength", "what", "command"), rows),
    ]


def _or(items: Sequence[str], otherwise: str) -> Sequence[Block]:
    return [Items(items)] if items else [Text(otherwise)]
