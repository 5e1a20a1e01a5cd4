"""How an object's status changes with time: a list of moments, read lazily.

Nothing runs in the background. What an object is follows from its moments and from ``now``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .ids import chance

FINAL = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})

#: Seconds at speed 1; a scenario may replace each of them.
DURATIONS: Mapping[str, float] = {
    "queued": 0.05,
    "in_progress": 0.3,
    "cancelling": 0.05,
    "slow": 10.0,
    "expire": 0.5,
    "expires_after": 600.0,
    "vanish": 0.3,
    "slow_reply": 2.0,
    "retry_after": 1.0,
}
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Moment:
    """From this instant on the object has this status."""

    at: float
    status: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The past and the planned future of one object."""

    moments: tuple[Moment, ...] = ()

    def at(self, now: float) -> Moment:
        """The moment that holds now."""
        current = self.moments[0]
        for moment in self.moments:
            if moment.at > now:
                break
            current = moment
        return current

    def first(self, status: str, now: float) -> float | None:
        """When the object first had a status, if it had it by now."""
        for moment in self.moments:
            if moment.at <= now and moment.status == status:
                return moment.at
        return None

    def times(self, status: str, now: float) -> int:
        """How often the object has entered a status by now."""
        return sum(moment.at <= now and moment.status == status for moment in self.moments)

    def redirected(self, now: float, path: Iterable[tuple[str, float]], end: str) -> Timeline:
        """Keep what has happened, replace what was planned: each status with its seconds."""
        moments = [moment for moment in self.moments if moment.at <= now]
        at = now
        for status, seconds in path:
            moments.append(Moment(at, status))
            at += seconds
        return Timeline((*moments, Moment(at, end)))

    def expiring(self, expires: float) -> Timeline:
        """The same, but an object that is not final at that instant expires."""
        if self.at(expires).status in FINAL:
            return self
        before = tuple(moment for moment in self.moments if moment.at < expires)
        return Timeline((*before, Moment(expires, "expired")))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take: durations of the scenario, its speed and a little seeded jitter."""

    seed: int
    speed: float
    durations: Mapping[str, float]

    def seconds(self, name: str) -> float:
        """A duration as it passes on the real clock."""
        return self.durations[name] / self.speed

    def jittered(self, name: str, *salt: object) -> float:
        """The same, varied a little by what it is for."""
        return self.seconds(name) * (1 + _JITTER * (chance(self.seed, name, *salt) - 0.5))
