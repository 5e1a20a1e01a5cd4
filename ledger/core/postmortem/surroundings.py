"""What happened around the runs: limits and 429s, webhook gaps, lives, and who was not there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from ledger.core.alphabet import LifeEventKind, Source
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.material import (
    GapRow,
    LifeEventRow,
    LifeRow,
    Material,
    MinuteRow,
    Span,
)

MINUTE: Final = timedelta(minutes=1)
STORM_SHARE_MIN: Final = 0.1
"""A minute in which so many of the calls were refused counts for a storm, and a storm as a whole
has as many. Not their number: once 429s come, our own limiter lets out a call a minute."""
STORM_GAP: Final = timedelta(minutes=5)
"""Minutes without a 429 between two of a storm, that do not end it: those calls had to wait."""
STORM_TOTAL_MIN: Final = 10
LOW_SHARE: Final = 0.1
DRIVERS: Final = frozenset({"daemon"})
"""The roles that drive whatever is due; a life that waits drives its own runs alone."""
LOOP_DEATHS: Final = 3
LOOP_WITHIN: Final = timedelta(minutes=10)
GONE: Final = frozenset({LifeEventKind.died, LifeEventKind.overdue})


class Storm(NamedTuple):
    """Minutes in which upstream refused calls as too many, one after the other."""

    account_id: int
    start: datetime
    end: datetime
    refused: int
    calls: int


def storms(minutes: Iterable[MinuteRow]) -> list[Storm]:
    """The storms of all accounts, in order of time. `minutes` are in order."""
    found: dict[int, list[Storm]] = defaultdict(list)
    calm: dict[int, int] = defaultdict(int)
    for row in minutes:
        mine = found[row.account_id]
        if not row.refused or row.refused < STORM_SHARE_MIN * row.calls:
            calm[row.account_id] += row.calls
            continue
        made = Storm(row.account_id, row.minute, row.minute + MINUTE, row.refused, row.calls)
        if mine and made.start - mine[-1].end <= STORM_GAP:
            last = mine.pop()
            calls = last.calls + calm[row.account_id] + made.calls
            made = made._replace(start=last.start, refused=last.refused + made.refused, calls=calls)
        calm[row.account_id] = 0
        mine.append(made)
    listed = [
        one
        for mine in found.values()
        for one in mine
        if one.refused >= max(STORM_TOTAL_MIN, STORM_SHARE_MIN * one.calls)
    ]
    return sorted(listed, key=lambda one: (one.start, one.account_id))


def headroom(material: Material) -> dict[str, Any]:
    """How near the limits calls came, by account."""
    by: dict[int, list[MinuteRow]] = defaultdict(list)
    for row in material.minutes:
        by[row.account_id].append(row)
    return {
        "accounts": [_account(material, account, by[account]) for account in sorted(by)],
        "storms": [_storm(material, one) for one in storms(material.minutes)],
        "minutes": [
            {
                "minute": row.minute.isoformat(),
                "profile": material.accounts[row.account_id].profile,
                "provider": material.accounts[row.account_id].provider,
                "headroom": _headroom(row),
                "calls": row.calls,
                "refused": row.refused,
            }
            for row in material.minutes
        ],
    }


def _account(material: Material, account_id: int, rows: Sequence[MinuteRow]) -> dict[str, Any]:
    account = material.accounts[account_id]
    shares = [share for row in rows if (share := _headroom(row)) is not None]
    return {
        "profile": account.profile,
        "provider": account.provider,
        "calls": sum(row.calls for row in rows),
        "refused": sum(row.refused for row in rows),
        "lowest_headroom": min(shares, default=None),
        "minutes_known": len(shares),
        "minutes_low": sum(1 for share in shares if share < LOW_SHARE),
        "throttled": sum(row.throttled for row in rows),
        "throttled_seconds": round(sum(row.throttled_seconds for row in rows), 3),
    }


def _headroom(row: MinuteRow) -> float | None:
    if row.lowest_left is None or not row.limit_seen:
        return None
    return round(min(max(row.lowest_left / row.limit_seen, 0.0), 1.0), 6)


def _storm(material: Material, one: Storm) -> dict[str, Any]:
    account = material.accounts[one.account_id]
    return {
        "profile": account.profile,
        "provider": account.provider,
        "start": one.start.isoformat(),
        "end": one.end.isoformat(),
        "minutes": round((one.end - one.start) / MINUTE),
        "refused": one.refused,
        "calls": one.calls,
    }


def environment(material: Material, done: Sequence[Case]) -> dict[str, Any]:
    """What befell daemons, and webhooks. `done` are the runs that got their verdict meanwhile."""
    span, cut = material.span, min(material.span.until, material.as_of)
    events = [event for event in material.life_events if event.at <= material.as_of]
    counts = Counter(str(event.kind) for event in events)
    began = Span(since=max(span.since, material.ledger_since), until=span.until)
    down = unobserved(material.lives, began, material.as_of)
    gaps = [gap for gap in material.gaps if gap.noticed_at <= material.as_of]
    return {
        "events": [_event(event) for event in events],
        "counts": dict(sorted(counts.items())),
        "crash_loops": [_span(one) for one in crash_loops(events)],
        "lives": [_life(life, material.as_of) for life in material.lives],
        "unobserved": [_span(one) for one in down],
        "unobserved_minutes": round(sum((one.length / MINUTE for one in down), 0.0), 2),
        "webhook_gaps": [
            {**_gap(gap, span, cut), "found_by_looks": _by_looks(material, gap, done)}
            for gap in gaps
        ],
    }


def _by_looks(material: Material, gap: GapRow, done: Sequence[Case]) -> int:
    """How many verdicts of its profile came by looking, while no webhook did."""
    found = 0
    for case in done:
        event = None if case.closing is None else case.end_of(case.closing)
        over = gap.closed_at is not None and event is not None and event.recorded_at > gap.closed_at
        if event is None or event.source != Source.poll or event.recorded_at < gap.since or over:
            continue
        found += material.accounts[case.run.account_id].profile == gap.profile
    return found


def unobserved(lives: Sequence[LifeRow], span: Span, as_of: datetime) -> list[Span]:
    """The times of the window in which no daemon was at work. A life that ended without a word
    was there until its last heartbeat."""
    end = min(span.until, as_of)
    at, found = span.since, []
    for life in sorted(lives, key=lambda one: (one.started_at, one.id)):
        if life.role not in DRIVERS:
            continue
        if life.started_at > at:
            found.append(Span(since=at, until=min(life.started_at, end)))
        at = max(at, _until(life, as_of))
        if at >= end:
            break
    if at < end:
        found.append(Span(since=at, until=end))
    return [one for one in found if one.until > one.since]


def _until(life: LifeRow, as_of: datetime) -> datetime:
    if life.ended_at is None or life.ended_at > as_of:
        return as_of
    return min(life.heartbeat_at, as_of) if life.end in GONE else life.ended_at


def crash_loops(events: Sequence[LifeEventRow]) -> list[Span]:
    """Times in which lives died again and again."""
    deaths = [event.at for event in events if event.kind in GONE]
    return close_together(deaths, LOOP_DEATHS, LOOP_WITHIN)


def close_together(times: Sequence[datetime], least: int, within: timedelta) -> list[Span]:
    """From the first to the last of times of which so many lie so close; those that touch are one.

    `times` are in order.
    """
    found: list[Span] = []
    for first, last in zip(times, times[least - 1 :], strict=False):
        if last - first > within:
            continue
        if found and first - found[-1].until <= (within if least == 1 else timedelta(0)):
            found[-1] = Span(since=found[-1].since, until=max(found[-1].until, last))
        else:
            found.append(Span(since=first, until=last))
    return found


def _event(event: LifeEventRow) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(),
        "kind": str(event.kind),
        "life": event.life,
        "host": event.host,
        "detail": dict(event.detail or {}),
    }


def _life(life: LifeRow, as_of: datetime) -> dict[str, Any]:
    over = life.ended_at is not None and life.ended_at <= as_of
    return {
        "life": life.id,
        "role": life.role,
        "host": life.host,
        "version": life.version,
        "started_at": life.started_at.isoformat(),
        "ended_at": life.ended_at.isoformat() if over and life.ended_at else None,
        "end": life.end if over else None,
    }


def _span(one: Span) -> dict[str, Any]:
    return {"start": one.since.isoformat(), "end": one.until.isoformat()}


def _gap(gap: GapRow, span: Span, cut: datetime) -> dict[str, Any]:
    closed = gap.closed_at if gap.closed_at is not None and gap.closed_at <= cut else None
    end = closed or cut
    return {
        "profile": gap.profile,
        "start": gap.since.isoformat(),
        "noticed_at": gap.noticed_at.isoformat(),
        "closed_at": closed.isoformat() if closed else None,
        "minutes_in_window": round((end - max(gap.since, span.since)) / MINUTE, 2),
        "missed_when_noticed": gap.missed,
    }
