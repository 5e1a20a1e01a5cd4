"""What is measured of a ledger: counters that go on from read to read, gauges of the moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ledger.clock import monotonic, utcnow
from ledger.store.metrics import Counts, Gauges, Mark, Tally, gauges, tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.store.store import Store

CACHE_SECONDS: Final = 10.0
ERROR_CODES_MAX: Final = 50
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that was measured, at one moment."""

    total: Tally
    now: Gauges


class Measure:
    """Reads the numbers of one ledger, at most once in ten seconds. Safe for threads."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], datetime] = utcnow,
    ) -> None:
        self._store, self._clock, self._wall = store, clock, wall
        self._lock = threading.Lock()
        self._mark, self._total = Mark(), Tally()
        self._codes: set[str] = {""}
        self._kept: tuple[float, Numbers] | None = None

    def read(self) -> Numbers:
        """The numbers as they are, or were less than ten seconds ago. Raises DatabaseError."""
        with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= CACHE_SECONDS:
                self._kept = (self._clock(), self._measured())
            return self._kept[1]

    def _measured(self) -> Numbers:
        lives, now, mark = self._store.lives, self._wall(), self._mark

        def ask(connection: Connection) -> tuple[tuple[Tally, Mark], Gauges]:
            return tally(connection, mark), gauges(connection, lives, now)

        (since, self._mark), standing = self._store.read(ask)
        self._add(since)
        return Numbers(self._total, standing)

    def _add(self, since: Tally) -> None:
        """A new tally each time: the old one may be in somebody's hands."""
        total = self._total
        self._total = Tally(
            submitted=_sum(total.submitted, since.submitted),
            finished=_sum(total.finished, self._bounded(since.finished)),
            restarts=_sum(total.restarts, since.restarts),
            lag=_sum_lag(total.lag, since.lag),
        )

    def _bounded(self, finished: Counts) -> Counts:
        """The first fifty error codes keep their names, the most frequent of a read first: those of
        upstream may be any text."""
        by_count = sorted(finished.items(), key=lambda item: -item[1])
        bounded: Counts = {}
        for (provider, outcome, code), count in by_count:
            if code not in self._codes and len(self._codes) <= ERROR_CODES_MAX:
                self._codes.add(code)
            named = (provider, outcome, code if code in self._codes else OTHER)
            bounded[named] = bounded.get(named, 0) + count
        return bounded


def _sum(one: Counts, other: Counts) -> Counts:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _sum_lag(
    one: dict[str, tuple[list[int], float]], other: dict[str, tuple[list[int], float]]
) -> dict[str, tuple[list[int], float]]:
    found = dict(one)
    for source, (buckets, seconds) in other.items():
        before, total = found.get(source, ([0] * len(buckets), 0.0))
        added = [a + b for a, b in zip(before, buckets, strict=True)]
        found[source] = (added, total + seconds)
    return found
