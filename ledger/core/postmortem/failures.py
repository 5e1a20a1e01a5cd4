"""Which failures there were: by fingerprint, the first and the last, and what upstream knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from ledger.core.alphabet import State
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.material import AttemptRow, Material
from ledger.core.postmortem.queries import ended, listing, moment, term
from ledger.core.postmortem.recovery import Bucket, bucket_of, failed_attempts

FINGERPRINTS_MAX: Final = 50
EVIDENCE_MAX: Final = 200
CODE: Final = "code:"
WELL: Final = (Bucket.restarted, Bucket.later_look, Bucket.webhook, Bucket.by_hand)


class Failure(NamedTuple):
    """One failed attempt of the window."""

    at: datetime
    case: Case
    attempt: AttemptRow

    @property
    def mark(self) -> str:
        """Its fingerprint, or what stands for one."""
        return self.attempt.fingerprint or f"{CODE}{self.attempt.error_code or 'unknown'}"


def failures_of(material: Material, cases: Sequence[Case]) -> list[Failure]:
    """All attempts that failed in the window, in order of time."""
    found = [
        Failure(attempt.ended_at, case, attempt)
        for case in cases
        for attempt in failed_attempts(case, material.span)
        if attempt.ended_at is not None
    ]
    return sorted(found, key=lambda one: (one.at, one.case.run.id, one.attempt.number))


def fingerprints(material: Material, failures: Sequence[Failure]) -> dict[str, Any]:
    """The failures by fingerprint, the most frequent first."""
    groups: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.mark].append(failure)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "kinds": len(groups),
        "new": sum(1 for mark in groups if _is_new(material, mark)),
        "listed": [_group(material, mark, of) for mark, of in ordered[:FINGERPRINTS_MAX]],
    }


def _is_new(material: Material, mark: str) -> bool | None:
    known = material.fingerprints.get(mark)
    return None if known is None else known.first_seen_at >= material.span.since


def _group(material: Material, mark: str, of: Sequence[Failure]) -> dict[str, Any]:
    known = material.fingerprints.get(mark)
    first, runs = of[0], {failure.case.run.id: failure.case for failure in of}
    return {
        "fingerprint": mark,
        "code": known.code if known else first.attempt.error_code,
        "origin": known.origin if known else first.attempt.error_origin,
        "http_status": known.http_status if known else None,
        "tool": known.tool if known else None,
        "message": known.message if known else None,
        "attempts": len(of),
        "runs": len(runs),
        "recovered_runs": sum(1 for case in runs.values() if bucket_of(case) in WELL),
        "first": moment_of(first),
        "last": moment_of(of[-1]),
        "first_ever": known.first_seen_at.isoformat() if known else None,
        "new": _is_new(material, mark),
        "query": _query(material, mark),
    }


def _query(material: Material, mark: str) -> str:
    """The command that counts the same. `errors` knows no query: with one it is a list, of the runs
    alone that have not recovered."""
    span = material.span
    if mark not in material.fingerprints:
        return listing(material.query, term("error_code", mark.removeprefix(CODE)), ended(span))
    if material.query:
        return listing(material.query, term("fingerprint", mark), ended(span))
    return f"runward errors show {mark} --since {moment(span.since)} --until {moment(span.until)}"


def moment_of(failure: Failure) -> dict[str, Any]:
    """One failed attempt, as it can be looked up here and upstream."""
    remote = failure.case.remote_of(failure.attempt)
    return {
        "at": failure.at.isoformat(),
        "run": failure.case.run.id,
        "key": failure.case.run.key,
        "attempt": failure.attempt.number,
        "code": failure.attempt.error_code,
        "upstream_id": remote.remote_id if remote else None,
        "request_id": remote.request_id if remote else None,
    }


def ends_of(failures: Sequence[Failure], done: Sequence[Case]) -> dict[str, Any]:
    """The first failure, the last, and the first run that completed after each."""
    if not failures:
        return {
            "first": None,
            "last": None,
            "success_after_first": None,
            "success_after_last": None,
        }
    completed = sorted(
        (case.ended_at, case.run.id, case.run.key)
        for case in done
        if case.state == State.completed and case.ended_at is not None
    )
    first, last = failures[0], failures[-1]
    return {
        "first": moment_of(first),
        "last": moment_of(last),
        "success_after_first": _next(completed, first.at),
        "success_after_last": _next(completed, last.at),
    }


def _next(completed: Sequence[tuple[datetime, int, str]], after: datetime) -> dict[str, Any] | None:
    for at, run_id, key in completed:
        if at > after:
            return {"at": at.isoformat(), "run": run_id, "key": key}
    return None


def evidence(material: Material, failures: Sequence[Failure]) -> dict[str, Any]:
    """What a support ticket needs: one row a failed attempt that upstream knows something of."""
    rows = [row for failure in failures if (row := _evidence(material, failure)) is not None]
    return {"known_upstream": len(rows), "listed": rows[:EVIDENCE_MAX]}


def _evidence(material: Material, failure: Failure) -> dict[str, Any] | None:
    remote = failure.case.remote_of(failure.attempt)
    if remote is None or not (remote.remote_id or remote.request_id):
        return None
    run = failure.case.run
    return {
        "at": failure.at.isoformat(),
        "run": run.id,
        "upstream_id": remote.remote_id,
        "request_id": remote.request_id,
        "client_id": remote.marker,
        "model": run.model,
        "base_url": material.accounts[run.account_id].base_url,
        "code": failure.attempt.error_code,
        "message": (failure.attempt.error_message or "")[:200] or None,
    }
