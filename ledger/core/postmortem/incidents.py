"""Windows that may be worth a report: proposed from counts and rules, for a person to confirm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from ledger.core.alphabet import LifeEventKind
from ledger.core.postmortem.excess import Counts, windows
from ledger.core.postmortem.material import GapRow, LifeEventRow, MinuteRow, Span
from ledger.core.postmortem.surroundings import (
    GONE,
    LOOP_DEATHS,
    LOOP_WITHIN,
    close_together,
    storms,
)
from ledger.core.record import record

WIDTH: Final = timedelta(minutes=10)
DAY: Final = timedelta(days=1)
DAYS_BEFORE: Final = 14
DAYS_TO_TRIM: Final = 4
"""From so many days on the worst one is left out: it may have been an incident itself."""
P_MAX: Final = 1e-5
"""Of the 4,320 buckets of thirty quiet days, one in 25 such times is proposed."""
FAILED_MIN: Final = 5
LATE_MIN: Final = 10
LATE_SHARE: Final = 0.5
CHURN_TAKEOVERS: Final = 3
PAD: Final = timedelta(minutes=30)
"""So much before and after an incident belongs to its report."""


@record
class Incident:
    """One proposal. `end` None is one that goes on."""

    kind: str
    start: datetime
    end: datetime | None
    what: str
    of: str = ""
    """The profile it is about, where it is about one."""

    @property
    def id(self) -> str:
        """Its name: the same each time, as long as the ledger says the same of that time."""
        name = f"{self.kind}-{self.start:%Y%m%dT%H%M}"
        return f"{name}-{self.of}" if self.of else name

    def view(self, until: datetime) -> dict[str, Any]:
        """As plain values, with the command that reports on it."""
        end = self.end or until
        since, last = self.start - PAD, min(end + PAD, until)
        return {
            "id": self.id,
            "kind": self.kind,
            "start": self.start.isoformat(),
            "end": self.end.isoformat() if self.end else None,
            "minutes": round((end - self.start) / timedelta(minutes=1), 1),
            "what": self.what,
            "report": f"runward postmortem --since {since.isoformat()} --until {last.isoformat()}",
        }


def by_failures(
    span: Span, failed: Mapping[datetime, int], ended: Mapping[datetime, int]
) -> list[Incident]:
    """Times with more failed attempts than the same times of the days before let expect."""
    counts = [
        Counts(start, failed[start], expected(start, failed, ended))
        for start in sorted(failed)
        if span.since <= start < span.until
    ]
    return [
        Incident(
            kind="failures",
            start=one.start,
            end=one.end,
            what=f"{one.failed} failed attempts, {one.expected:.1f} expected",
        )
        for one in windows(counts, WIDTH, p_max=P_MAX, failed_min=FAILED_MIN)
    ]


def expected(
    start: datetime, failed: Mapping[datetime, int], ended: Mapping[datetime, int]
) -> float:
    """By the share of the same ten minutes of up to 14 days before, and by this time's volume.

    Where the ledger is younger than a day, by the share of all that it has. The larger of the
    median share and of the mean one without the worst day: where few fail the median is nought.
    """
    volume = ended.get(start, 0) + failed.get(start, 0)
    days = [(failed.get(at, 0), ended.get(at, 0) + failed.get(at, 0)) for at in _before(start)]
    past = sorted((day for day in days if day[1]), key=lambda day: day[0] / day[1])
    if not past:
        past = [(sum(failed.values()), sum(ended.values()) + sum(failed.values()))]
    kept = past[:-1] if len(past) >= DAYS_TO_TRIM else past
    mean = (sum(bad for bad, _ in kept) + 0.5) / (sum(whole for _, whole in kept) + 1)
    return max(median(bad / whole for bad, whole in past), mean) * volume


def _before(start: datetime) -> list[datetime]:
    return [start - day * DAY for day in range(1, DAYS_BEFORE + 1)]


def by_rules(
    span: Span,
    *,
    minutes: Iterable[MinuteRow],
    gaps: Iterable[GapRow],
    events: Sequence[LifeEventRow],
    accounts: Mapping[int, str],
) -> list[Incident]:
    """429 storms, webhook gaps, workers that died again and again, runs that changed hands."""
    found = [
        Incident(
            kind="storm",
            start=one.start,
            end=one.end,
            what=f"{one.refused} of {one.calls} calls refused with 429, profile "
            f"{accounts[one.account_id]}",
            of=accounts[one.account_id],
        )
        for one in storms(minutes)
    ]
    found += [
        Incident(
            kind="webhook_gap",
            start=gap.since,
            end=gap.closed_at if gap.closed_at and gap.closed_at < span.until else None,
            what=f"no webhook came for profile {gap.profile} although runs ended",
            of=gap.profile,
        )
        for gap in gaps
    ]
    deaths = [event.at for event in events if event.kind in GONE]
    taken = [event.at for event in events if event.kind == LifeEventKind.takeover]
    for kind, times, least, words in (
        ("crash_loop", deaths, LOOP_DEATHS, "workers died"),
        ("lease_churn", taken, CHURN_TAKEOVERS, "times runs were taken over"),
    ):
        for one in close_together(times, least, LOOP_WITHIN):
            number = sum(1 for at in times if one.since <= at <= one.until)
            found.append(
                Incident(kind=kind, start=one.since, end=one.until, what=f"{number} {words}")
            )
    return found


def by_waiting(sent: Mapping[datetime, int], late: Mapping[datetime, int]) -> list[Incident]:
    """Times in which most runs waited long to be sent: too few workers, or too little budget."""
    hungry = [
        at
        for at in sorted(late)
        if late[at] >= LATE_MIN and late[at] >= LATE_SHARE * sent.get(at, 0)
    ]
    found: list[Incident] = []
    for span in close_together(hungry, 1, WIDTH):
        number = sum(late[at] for at in hungry if span.since <= at <= span.until)
        what = f"{number} runs waited more than a minute to be sent"
        found.append(
            Incident(kind="starvation", start=span.since, end=span.until + WIDTH, what=what)
        )
    return found
