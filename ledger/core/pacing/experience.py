"""What is known of how long runs take, by class: provider, model, assistant or prompt, kind.

A class is a tuple of those four words, and each of its beginnings is a broader class, down to that
of all runs: the ladder that a class without runs of its own falls back along.
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final, TypeAlias

from ledger.core.pacing.density import Density, density_of, prior
from ledger.core.record import record
from ledger.errors import InvalidInput

RunClass: TypeAlias = tuple[str, ...]
Place: TypeAlias = tuple[int, int]
"""A run's id and the number of its remote; in the order in which runs were begun."""
KEPT: Final = 300
"""Runs of a class that are remembered; older ones weigh nothing any more."""
HALF_RUNS: Final = 60.0
"""After so many newer runs of its class a run weighs half: models and loads change."""
ENOUGH: Final = 5
"""Below so many runs of a class that says more than the provider, nothing is known of it."""
STALE_SHARE: Final = 0.05
STALE_SECONDS: Final = 60.0
BUSY_SECONDS: Final = 5.0
"""A density is made anew for so many more runs, or after so long, since what goes on gets older;
that of a class which ends many runs a second, not for each of them."""


@record
class Known:
    """A class's density, the class that it is of, and how many of its runs were counted."""

    of: RunClass
    density: Density
    runs: int


class Experience:
    """Durations of ended runs, under each beginning of their class; starts of those still going,
    which may be very many, under the class itself."""

    def __init__(self) -> None:
        self._ended: dict[RunClass, dict[Place, float]] = defaultdict(dict)
        self._going: dict[RunClass, dict[Place, datetime]] = defaultdict(dict)
        self._added: Counter[RunClass] = Counter()
        self._made: dict[RunClass, tuple[Density, int, datetime]] = {}

    def ended(self, of: RunClass, place: Place, seconds: float) -> None:
        """An object took so long. Raises InvalidInput for what is no duration."""
        if not (math.isfinite(seconds) and seconds >= 0.0):
            raise InvalidInput(f"a run cannot take {seconds!r} seconds")
        self._going[of].pop(place, None)
        for rung in ladder(of):
            kept = self._ended[rung]
            kept[place] = seconds
            self._added[rung] += 1
            if len(kept) > KEPT:
                del kept[next(iter(kept))]

    def going(self, of: RunClass, place: Place, since: datetime) -> None:
        """An object has been going since then."""
        self._going[of][place] = since

    def count(self, of: RunClass) -> int:
        """How many ended runs of a class are remembered."""
        return len(self._ended.get(of, ()))

    def classes(self) -> Iterable[RunClass]:
        """The classes of which runs have ended, broader ones among them."""
        return tuple(self._ended)

    def known(self, of: RunClass, now: datetime) -> Known | None:
        """What is known of a class, by the narrowest that has runs enough; None if none has."""
        for rung in ladder(of)[:-2]:
            if self.count(rung) >= ENOUGH:
                return Known(of=rung, density=self.density(rung, now), runs=self.count(rung))
        return None

    def density(self, rung: RunClass, now: datetime) -> Density:
        """The density of a class, leaning on the broader ones."""
        made = self._made.get(rung)
        if made is not None and not self._stale(rung, made, now):
            return made[0]
        broader = self.density(rung[:-1], now) if rung else prior()
        found = density_of(*self._sample(rung, now), broader)
        self._made[rung] = (found, self._added[rung], now)
        return found

    def _stale(self, rung: RunClass, made: tuple[Density, int, datetime], now: datetime) -> bool:
        _, added, at = made
        count, more = self.count(rung), self._added[rung] - added
        age = abs((now - at).total_seconds())
        if more > STALE_SHARE * count and (count < KEPT or age >= BUSY_SECONDS):
            return True
        return age >= STALE_SECONDS and bool(count or self._under(rung))

    def _under(self, rung: RunClass) -> dict[Place, datetime]:
        """What is still going in all classes that begin so."""
        alike = (found for of, found in self._going.items() if of[: len(rung)] == rung)
        return dict(ChainMap(*alike))

    def _sample(
        self, rung: RunClass, now: datetime
    ) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Both kinds with their weights, newest runs first: a run weighs by how many that were
        begun after it have ended. What was begun before all that is remembered says nothing."""
        over, on = self._ended.get(rung, {}), self._under(rung)
        oldest = min(over, default=(0, 0))
        ended: list[tuple[float, float]] = []
        going: list[tuple[float, float]] = []
        for place in sorted([*over, *(one for one in on if one >= oldest)], reverse=True):
            weight = 0.5 ** (len(ended) / HALF_RUNS)
            if place in over:
                ended.append((over[place], weight))
            else:
                going.append((max((now - on[place]).total_seconds(), 0.0), weight))
        return ended, going


def class_of(provider: str, model: str | None, assistant: str | None, kind: str | None) -> RunClass:
    """The class of a run."""
    return (provider, model or "", assistant or "", kind or "")


def ladder(of: RunClass) -> tuple[RunClass, ...]:
    """A class and the broader ones, narrow to broad; the last is that of all runs."""
    return tuple(of[:length] for length in range(len(of), -1, -1))
