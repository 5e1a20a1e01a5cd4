"""Many plays in a row, and the account of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ledger.clock import monotonic
from ledger.fuzzing.play import Played, play, shortest
from ledger.fuzzing.scenarios import SCENARIOS, killed_everywhere, stopped_everywhere
from ledger.fuzzing.schedule import Schedule, schedule_of


@dataclass(slots=True)
class Account:
    """What was played, and the first play that failed, cut down to what it takes to fail."""

    plays: int = 0
    events: int = 0
    points: int = 0
    requests: int = 0
    deaths: int = 0
    seconds: float = 0.0
    last: Played | None = None
    failed: Played | None = None
    cut: Schedule | None = None

    def add(self, played: Played) -> None:
        """Count one play."""
        self.last = played
        self.plays += 1
        self.events += played.events
        self.points += played.points
        self.requests += played.requests
        self.deaths += played.deaths


def seeds(first: int, count: int) -> Iterator[Played]:
    """One play for each seed."""
    for seed in range(first, first + count):
        yield play(schedule_of(seed))


def stories(every: int) -> Iterator[Played]:
    """Each small story with a death, and then with a stop, at every so many-th point."""
    for name in SCENARIOS:
        yield from killed_everywhere(name, every=every)
        yield from stopped_everywhere(name, every=every)


def campaign(
    plays: Iterable[Played], *, seconds: float | None, told: Callable[[Account], None]
) -> Account:
    """Play until the plays, or the seconds, are over, or one fails."""
    account, begun = Account(), monotonic()
    for played in plays:
        account.add(played)
        account.seconds = monotonic() - begun
        told(account)
        if not played.ok:
            account.failed = played
            account.cut = shortest(played.schedule, lambda schedule: not play(schedule).ok)
            break
        if seconds is not None and account.seconds >= seconds:
            break
    return account
