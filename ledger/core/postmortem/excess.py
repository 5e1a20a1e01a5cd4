"""Times with more failures than were to be expected: a proposal, for a person to confirm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ledger.core.postmortem.material import Span
from ledger.core.statistics import poisson_tail

GAP_BUCKETS: Final = 2
"""Neighbours with so many quiet buckets between them are one window."""
WIDTHS: Final = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1_440)
)
BUCKETS_MAX: Final = 96


class Counts(NamedTuple):
    """Failures in one bucket, and how many were to be expected."""

    start: datetime
    failed: int
    expected: float


class Window(NamedTuple):
    """Neighbouring buckets with too many failures."""

    start: datetime
    end: datetime
    failed: int
    expected: float
    p: float
    """That of its most unlikely bucket."""


def width_for(length: timedelta) -> timedelta:
    """The narrowest width that cuts a time into few enough buckets."""
    for width in WIDTHS:
        if length <= width * BUCKETS_MAX:
            return width
    return timedelta(days=-(-length // timedelta(days=BUCKETS_MAX)))


def starts(span: Span, width: timedelta) -> list[datetime]:
    """Where the buckets of a window begin, the first one with the window."""
    return [span.since + width * n for n in range(max(-(-span.length // width), 1))]


def place(at: datetime, span: Span, width: timedelta) -> int:
    """The number of the bucket that holds a time of the window."""
    return int((at - span.since) // width)


def windows(
    counts: Sequence[Counts], width: timedelta, *, p_max: float, failed_min: int
) -> list[Window]:
    """Buckets that are too unlikely, neighbours merged. In order of time."""
    found: list[Window] = []
    for one in counts:
        p = poisson_tail(one.failed, one.expected)
        if one.failed < failed_min or p >= p_max:
            continue
        made = Window(one.start, one.start + width, one.failed, one.expected, p)
        if found and made.start - found[-1].end <= width * GAP_BUCKETS:
            made = _merged(found.pop(), made)
        found.append(made)
    return found


def _merged(a: Window, b: Window) -> Window:
    return Window(a.start, b.end, a.failed + b.failed, a.expected + b.expected, min(a.p, b.p))
