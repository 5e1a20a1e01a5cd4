"""Failures grouped by fingerprint: how many, since when, whom they hit, and where they tend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.core.failures import GroupRule, together, trend
from ledger.core.model import Fingerprint
from ledger.core.standing_out import standing_out
from ledger.errors import InvalidInput, NotFound
from ledger.store.failures import (
    Part,
    Span,
    compared,
    count_in,
    count_parts,
    fingerprints,
    outcomes,
    runs_hit,
    samples,
    whole,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from ledger.settings import Settings

PREFIX_LEAST: Final = 4
TAGS_MAX: Final = 50
ATTRIBUTES: Final = ("provider", "model", "assistant", "kind", "profile")


def rules_of(settings: Settings) -> tuple[GroupRule, ...]:
    """The user's rules, in the order in which they stand in the configuration."""
    return tuple(
        GroupRule(name=name, **rule.model_dump()) for name, rule in settings.error_groups.items()
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """What the store knows of a span."""

    span: Span
    parts: Mapping[str, Sequence[Part]]
    now: Mapping[str, tuple[int, int]]
    before: Mapping[str, tuple[int, int]]
    seen: Mapping[str, tuple[Fingerprint, datetime]]
    whole: bool
    """Whether it knows all of the equal time before."""


def _read(connection: Connection, span: Span) -> _Read:
    known = {}
    for name, row in fingerprints(connection).items():
        values = dict(row._mapping)
        first, _ = values.pop("first_seen_at"), values.pop("first_run")
        known[name] = (Fingerprint(**values), first)
    parts: dict[str, list[Part]] = defaultdict(list)
    for part in sorted(count_parts(connection, span), key=lambda part: part.first_at):
        parts[part.fingerprint].append(part)
        # Of one that came with a file that did not say, no more is known than its id.
        known.setdefault(
            part.fingerprint, (Fingerprint(id=part.fingerprint, provider=""), part.first_at)
        )
    now, before = count_in(connection, span), count_in(connection, span.before())
    return _Read(span, parts, now, before, known, whole(connection, span.before()))


def failures_report(
    connection: Connection, span: Span, rules: Sequence[GroupRule]
) -> dict[str, Any]:
    """Every group that failed in the span, the most frequent first."""
    read = _read(connection, span)
    groups = together((read.seen[name][0] for name in read.now), rules)
    rows = [_group(read, name, members) for name, members in groups.items()]
    for row in rows:
        if len(row["fingerprints"]) > 1:
            # A run that failed in two ways of the group was hit once.
            row["runs"] = runs_hit(connection, row["fingerprints"], span)
    return {
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "part_seconds": span.part_seconds,
        "before_whole": read.whole,
        "attempts": sum(attempts for attempts, _ in read.now.values()),
        "groups": sorted(rows, key=lambda row: (-row["attempts"], row["fingerprint"])),
    }


def _group(read: _Read, name: str, members: Sequence[Fingerprint]) -> dict[str, Any]:
    ids = sorted(member.id for member in members)
    parts = [part for one in ids for part in read.parts[one]]
    counted = [0] * read.span.parts
    for part in parts:
        counted[min(part.part, read.span.parts - 1)] += part.attempts
    attempts = sum(read.now[one][0] for one in ids)
    before = sum(read.before.get(one, (0, 0))[0] for one in ids)
    first_seen = min(read.seen[one][1] for one in ids)
    return {
        "fingerprint": name,
        "fingerprints": ids,
        **_common(members),
        "attempts": attempts,
        "runs": sum(read.now[one][1] for one in ids),
        "before": before,
        "trend": trend(attempts, before, new=first_seen >= read.span.since, whole=read.whole),
        "first_at": min(part.first_at for part in parts).isoformat(),
        "last_at": max(part.last_at for part in parts).isoformat(),
        "first_seen_at": first_seen.isoformat(),
        "counts": counted,
    }


def _common(members: Sequence[Fingerprint]) -> dict[str, Any]:
    """What all members of a group share; None where they differ."""
    names = ("provider", "origin", "code", "http_status", "incomplete_reason", "tool", "message")
    shared: dict[str, Any] = {}
    for name in names:
        values = {getattr(member, name) for member in members}
        value = values.pop() if len(values) == 1 else None
        shared[name] = str(value) if name == "origin" and value is not None else value
    return shared


def failure_report(
    connection: Connection, name: str, span: Span, rules: Sequence[GroupRule]
) -> dict[str, Any]:
    """One group whole: with the newest attempts, and how the runs that it hit stand now.

    `name` is a fingerprint, the beginning of one, or the name of a rule. Raises NotFound, and
    InvalidInput for a beginning that several have.
    """
    rows = failures_report(connection, span, rules)["groups"]
    found = [row for row in rows if name in (row["fingerprint"], *row["fingerprints"])]
    if not found and len(name) >= PREFIX_LEAST:
        found = [row for row in rows if any(_begins(one, name) for one in row["fingerprints"])]
    if not found:
        hint = "runward errors list names those there are; --since goes further back"
        raise NotFound(f"no failure {name!a:.60} in this time", hint=hint)
    if len(found) > 1:
        names = ", ".join(row["fingerprint"] for row in found[:5])
        raise InvalidInput(f"{name!r} begins several: {names}")
    row, ids = found[0], found[0]["fingerprints"]
    return {
        **row,
        "states": outcomes(connection, ids, span),
        "over_represented": _over_represented(compared(connection, ids, span)),
        "samples": [_sample(one) for one in samples(connection, ids, span)],
    }


def _over_represented(runs: Sequence[tuple[bool, Any]]) -> list[dict[str, Any]]:
    """What the runs that were hit have more often than the others that ended in the span: an
    association, as in the incident report."""
    names = sorted({name for _, row in runs for name in row.tags})[:TAGS_MAX]
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for _, row in runs] for name in ATTRIBUTES
    }
    for name in names:
        columns[f"tag.{name}"] = [row.tags.get(name) for _, row in runs]
    found = standing_out([hit for hit, _ in runs], columns, [row.serial_key for _, row in runs])
    return [
        {
            "attribute": one.of.attribute,
            "value": one.of.value,
            "hit": one.of.failed,
            "runs": one.of.runs,
            "other_hit": one.of.other_failed,
            "other_runs": one.of.other_runs,
            "ratio": round(one.ratio.value, 3),
            "low": round(one.ratio.low, 3),
            "high": round(one.ratio.high, 3),
            "q": one.q,
        }
        for one in found.found
    ]


def _begins(fingerprint: str, name: str) -> bool:
    return fingerprint.startswith(name) or fingerprint.partition(":")[2].startswith(name)


def _sample(row: Any) -> dict[str, Any]:
    return {
        "id": row.run_id,
        "key": row.key,
        "attempt": row.number,
        "ended_at": row.ended_at.isoformat(),
        "model": row.model,
        "status": str(row.state),
        "error_message": row.error_message,
    }
