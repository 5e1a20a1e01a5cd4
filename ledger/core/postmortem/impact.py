"""How many runs were hit, for how long, and by how much they were late."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ledger.core.alphabet import State
from ledger.core.postmortem.cases import FAILED, Case
from ledger.core.postmortem.excess import Counts, place, starts, width_for, windows
from ledger.core.postmortem.material import Before, Material, Span
from ledger.core.postmortem.queries import FAILED as FAILED_TERM
from ledger.core.postmortem.queries import created, ended, listing
from ledger.core.postmortem.recovery import failed_attempts
from ledger.core.statistics import quantile, wilson

ENDS: Final = (State.completed, State.incomplete, State.failed, State.expired, State.cancelled)
P_MAX: Final = 0.001
"""Divided by the number of buckets: were runs independent, one quiet night of a thousand would
show an excess."""
EXCESS_MIN: Final = 3
BEFORE_MIN: Final = 50
"""With fewer verdicts the window before says too little of what is usual."""
LISTED_MAX: Final = 20


def impact(
    material: Material, cases: Sequence[Case], done: Sequence[Case], before: Before | None
) -> dict[str, Any]:
    """The section on impact. `done` are the runs that got their verdict in the window."""
    span, query = material.span, material.query
    ends = Counter(case.state for case in done)
    failed = [case for case in done if case.failed]
    hit = [case for case in cases if failed_attempts(case, span)]
    return {
        "started": sum(1 for case in cases if span.holds(case.run.created_at)),
        "finished": len(done),
        "pruned": material.pruned,
        "by_state": {str(state): ends[state] for state in ENDS},
        "failed": len(failed),
        "lost": sum(1 for case in failed if case.lost),
        "open": sum(1 for case in cases if case.closing is None),
        "missed_deadlines": sum(1 for case in done if _late(case)),
        "failure": ratio_of(len(failed), len(done)),
        "hit": len(hit),
        "affected": _affected(material, failed),
        "delay": _delay(done, before),
        "queries": {
            "started": listing(query, created(span)),
            "finished": listing(query, ended(span)),
            "failed": listing(query, FAILED_TERM, ended(span)),
        },
    }


def ratio_of(part: int, whole: int) -> dict[str, Any]:
    """A share with Wilson's interval; None of nothing."""
    interval = wilson(part, whole)
    return {
        "part": part,
        "whole": whole,
        "share": round(part / whole, 6) if whole else None,
        "low": round(interval[0], 6) if interval else None,
        "high": round(interval[1], 6) if interval else None,
    }


def _late(case: Case) -> bool:
    """Whether it was not done by its deadline."""
    assert case.ended_at is not None
    return case.state != State.cancelled and case.ended_at >= case.run.deadline_at


def _affected(material: Material, failed: Sequence[Case]) -> dict[str, Any]:
    """Of whom the failed runs are."""
    accounts = material.accounts
    columns: dict[str, Iterable[str | None]] = {
        "profile": [accounts[case.run.account_id].profile for case in failed],
        "model": [case.run.model for case in failed],
        "kind": [case.run.kind for case in failed],
        "thread": [case.run.serial_key for case in failed],
    }
    tags: dict[str, list[str]] = defaultdict(list)
    for case in failed:
        for name, value in case.run.tags.items():
            tags[f"tag.{name}"].append(str(value))
    columns |= dict(sorted(tags.items()))
    return {name: _most(Counter(v for v in column if v)) for name, column in columns.items()}


def _most(counts: Counter[str]) -> dict[str, Any]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"values": len(counts), "most": dict(ordered[:5])}


def durations(ends: Iterable[tuple[State | None, float]]) -> list[float]:
    """How long completed runs took, in seconds, in order."""
    return sorted(seconds for state, seconds in ends if state == State.completed)


def figures(ordered: Sequence[float]) -> dict[str, Any]:
    """Percentiles by the nearest rank."""
    found = {f"p{int(q * 100)}_seconds": quantile(ordered, q) for q in (0.5, 0.95)}
    rounded = {name: None if v is None else round(v, 3) for name, v in found.items()}
    return {"completed": len(ordered), **rounded}


def _delay(done: Sequence[Case], before: Before | None) -> dict[str, Any]:
    """How long completed runs took, beside the window before."""
    now = durations((case.state, case.seconds) for case in done)
    made: dict[str, Any] = {"window": figures(now), "before": None, "run_minutes": None}
    if before is None or not before.ends:
        return made
    past = durations((e.state, (e.finished_at - e.created_at).total_seconds()) for e in before.ends)
    made["before"] = figures(past)
    if now and past:
        apart = sum(now) / len(now) - sum(past) / len(past)
        made["run_minutes"] = round(apart * len(now) / 60.0, 3)
    return made


def over_time(
    material: Material, cases: Sequence[Case], done: Sequence[Case], before: Before | None
) -> dict[str, Any]:
    """Ends and failed attempts bucket by bucket, and the times with more failures than expected."""
    span = material.span
    width = width_for(span.length)
    ends: list[Counter[str]] = [Counter() for _ in starts(span, width)]
    tries: list[list[int]] = [[0, 0] for _ in ends]
    marks: list[Counter[str]] = [Counter() for _ in ends]
    for case in done:
        assert case.ended_at is not None
        ends[place(case.ended_at, span, width)][str(case.state)] += 1
    # Runs, each once in a bucket: the attempts of one depend on each other.
    hits: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in ends]
    for case in cases:
        for attempt in case.attempts:
            if attempt.ended_at is None or not span.holds(attempt.ended_at):
                continue
            number = place(attempt.ended_at, span, width)
            tries[number][0] += 1
            hits[number][0].add(case.run.id)
            if attempt.outcome in FAILED:
                tries[number][1] += 1
                hits[number][1].add(case.run.id)
                marks[number][attempt.fingerprint or attempt.error_code or "unknown"] += 1
    buckets = [
        {
            "start": start.isoformat(),
            "ends": {str(state): ends[n][str(state)] for state in ENDS},
            "attempts": tries[n][0],
            "failed_attempts": tries[n][1],
            "fingerprints": dict(sorted(marks[n].items())),
        }
        for n, start in enumerate(starts(span, width))
    ]
    if before and (before.pruned or material.pruned):
        # Who pruned may have kept what failed: neither tells what is usual of the other.
        before = None
    excess = _excess(span, width, [(len(of), len(bad)) for of, bad in hits], before)
    return {
        "bucket_seconds": width.total_seconds(),
        "buckets": buckets,
        "excess": [_affected_time(one, cases) for one in excess],
    }


def _excess(
    span: Span, width: timedelta, tries: Sequence[Sequence[int]], before: Before | None
) -> list[Any]:
    """Against the share of the window before, or this window's own where there was none."""
    if before and len(before.ends) >= BEFORE_MIN:
        well = sum(1 for end in before.ends if end.state not in FAILED)
        share = (before.failed_attempts + 0.5) / (well + before.failed_attempts + 1)
    else:
        # The mean and not the median: where few fail, most buckets have no failure at all.
        whole, failed = sum(all_ for all_, _ in tries), sum(bad for _, bad in tries)
        share = (failed + 0.5) / (whole + 1)
    counts = [
        Counts(start, bad, max(share * all_, 1e-9))
        for start, (all_, bad) in zip(starts(span, width), tries, strict=True)
    ]
    return windows(counts, width, p_max=P_MAX / max(len(counts), 1), failed_min=EXCESS_MIN)


def _affected_time(window: Any, cases: Sequence[Case]) -> dict[str, Any]:
    """One excess, from its first failure to its last."""
    within = Span(since=window.start, until=window.end)
    times: list[datetime] = sorted(
        attempt.ended_at
        for case in cases
        for attempt in failed_attempts(case, within)
        if attempt.ended_at is not None
    )
    return {
        "first": times[0].isoformat(),
        "last": times[-1].isoformat(),
        "runs": window.failed,
        "expected": round(window.expected, 3),
        "p": window.p,
    }
