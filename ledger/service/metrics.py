"""What is measured of a ledger: counters that go on from read to read, gauges of the moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ledger.clock import monotonic, utcnow
from ledger.core.prices import Prices
from ledger.core.tokens import Tokens
from ledger.store.metrics import Counts, Gauges, Mark, Tally, gauges, tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.store.store import Store

CACHE_SECONDS: Final = 10.0
ERROR_CODES_MAX: Final = 50
MODELS_MAX: Final = 50
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that was measured, at one moment."""

    total: Tally
    now: Gauges
    cost_usd: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    """By model, of those whose price is known."""


class Measure:
    """Reads the numbers of one ledger, at most once in ten seconds. Safe for threads."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], datetime] = utcnow,
        prices: Prices | None = None,
    ) -> None:
        self._store, self._clock, self._wall, self._prices = store, clock, wall, prices
        self._lock = threading.Lock()
        self._mark, self._total = Mark(), Tally()
        self._codes: set[str] = {""}
        self._models: set[str] = {""}
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
        return Numbers(self._total, standing, self._cost())

    def _add(self, since: Tally) -> None:
        """A new tally each time: the old one may be in somebody's hands."""
        total = self._total
        self._total = Tally(
            submitted=_sum(total.submitted, since.submitted),
            finished=_sum(total.finished, self._bounded(since.finished)),
            restarts=_sum(total.restarts, since.restarts),
            lag=_sum_lag(total.lag, since.lag),
            tokens=_sum(total.tokens, self._of_models(since.tokens)),
            wasted=_sum(total.wasted, since.wasted),
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

    def _of_models(self, tokens: Counts) -> Counts:
        """The first fifty models keep their names: those of requests may be any text."""
        bounded: Counts = {}
        for (direction, model), count in sorted(tokens.items(), key=lambda item: -item[1]):
            if model not in self._models and len(self._models) <= MODELS_MAX:
                self._models.add(model)
            named = (direction, model if model in self._models else OTHER)
            bounded[named] = bounded.get(named, 0) + count
        return bounded

    def _cost(self) -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        tokens = self._total.tokens
        for model in {model for _, model in tokens} if self._prices else ():
            used = Tokens(
                input=int(tokens.get(("input", model), 0)),
                cached=int(tokens.get(("cached_input", model), 0)),
                output=int(tokens.get(("output", model), 0)),
            )
            cost = self._prices.cost(model, used) if self._prices else None
            if cost is not None:
                found[model,] = float(cost)
        return found


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
