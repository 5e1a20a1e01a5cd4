"""What became of each failed attempt: exactly one thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from ledger.core.alphabet import EventKind, Source, State
from ledger.core.decide.endings import POLICY
from ledger.core.model import ACCEPTED
from ledger.core.postmortem.cases import FAILED, LOST_CODES, Case
from ledger.core.postmortem.material import AttemptRow, Span
from ledger.core.postmortem.queries import shown


class Bucket(StrEnum):
    """Where a failed attempt ends up in the account."""

    restarted = "restarted_and_recovered"  # policy opened the attempt that completed
    later_look = "recovered_by_later_look"  # a later look found it completed after all
    webhook = "recovered_by_webhook"  # a late delivery led to that look
    by_hand = "recovered_by_hand"  # a person restarted it
    incomplete = "ended_incomplete"  # a later attempt ended at a limit
    called_off = "called_off"  # cancelled after the failure
    for_good = "failed_for_good"
    lost = "lost"  # its object, or the fate of its create, is not known
    open = "open"  # a later attempt is under way


def bucket_of(case: Case) -> Bucket:
    """Where all failed attempts of a run end up: what the run has come to by `as_of`."""
    last = case.attempts[-1]
    if last.outcome is None:
        return Bucket.open
    if last.outcome == State.completed:
        return _how(case, last)
    if last.outcome == State.incomplete:
        return Bucket.incomplete
    if last.outcome == State.cancelled:
        return Bucket.called_off
    return Bucket.lost if last.error_code in LOST_CODES else Bucket.for_good


def _how(case: Case, last: AttemptRow) -> Bucket:
    if last.cause == POLICY:
        return Bucket.restarted
    if last.cause != ACCEPTED:
        return Bucket.by_hand
    told = [e for e in case.events if e.kind == EventKind.contradiction]
    webhook = bool(told) and told[-1].source == Source.webhook
    return Bucket.webhook if webhook else Bucket.later_look


def failed_attempts(case: Case, span: Span) -> list[AttemptRow]:
    """A run's attempts that failed in the window."""
    return [
        attempt
        for attempt in case.attempts
        if attempt.outcome in FAILED and span.holds(attempt.ended_at)
    ]


def recovery(cases: Sequence[Case], span: Span) -> dict[str, Any]:
    """The account of all attempts that failed in the window, and what recovering took."""
    buckets: Counter[Bucket] = Counter()
    runs: dict[Bucket, list[int]] = {bucket: [] for bucket in Bucket}
    for case in cases:
        failed = len(failed_attempts(case, span))
        if failed:
            bucket = bucket_of(case)
            buckets[bucket] += failed
            runs[bucket].append(case.run.id)
    total = sum(buckets.values())
    return {
        "failed_attempts": total,
        "buckets": {
            str(b): {"attempts": buckets[b], "runs": len(runs[b]), "query": shown(runs[b])}
            for b in Bucket
        },
        **_efforts(cases, span),
    }


def _efforts(cases: Sequence[Case], span: Span) -> dict[str, Any]:
    opened = [
        attempt
        for case in cases
        for attempt in case.attempts
        if attempt.number > 1 and span.holds(attempt.opened_at)
    ]
    waited = [
        (attempt.not_before - attempt.opened_at).total_seconds()
        for attempt in opened
        if attempt.not_before is not None
    ]
    twice = _effects_twice(cases, span)
    return {
        "restarts_by_policy": sum(1 for attempt in opened if attempt.cause == POLICY),
        "restarts_by_hand": sum(1 for attempt in opened if attempt.cause != POLICY),
        "backoff_seconds": round(sum(waited), 3),
        "duplicate_deliveries": sum(
            one.duplicates
            for case in cases
            for one in case.deliveries
            if span.holds(one.received_at)
        ),
        "tools_run_again": len(twice),
        "tools_run_again_runs": sorted(set(twice)),
        "tools_run_again_query": shown(twice),
    }


def _effects_twice(cases: Sequence[Case], span: Span) -> list[int]:
    """The runs of tool calls whose function was started more than once, as the history allows."""
    calls = [call for case in cases for call in case.calls if span.holds(call.requested_at)]
    started = Counter((call.run_id, call.key) for call in calls if call.started_at)
    again = {(call.run_id, call.key) for call in calls if call.reruns}
    again |= {call for call, times in started.items() if times > 1}
    return [run_id for run_id, _ in again]
