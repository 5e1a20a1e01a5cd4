"""How many calls a credential may make. Pure: the time comes in, as seconds on any one clock.

In any minute at most the limit goes out: a burst of a twentieth at once, the rest evenly. The limit
is the lower one of the configured and of what upstream's headers say. Where neither is known calls
are free until the first 429. A 429 halves what this life sends; without a 429 it grows again, by
equal steps up to what was refused, and beyond that, where nothing is known, by a share of itself.

A life has a share of the credential: one part in as many as lives are at work. What is bounded: the
sum over all lives that know of each other. What is not: in the seconds until others have noticed
that a life began, they still use its share (at most that share, for as long as a sweep takes); what
a life sent just before it was killed, which its successor does not know (so it begins with one
call, not with a burst); calls `forced` for a result that would be lost otherwise, which are paid
back by those after them; and other programs with the same credential, which only a 429 tells of.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from ledger.core.limits import LIMIT_MAX, Limits
from ledger.core.pacing.looks import HINT_SECONDS_MAX, JITTER, trouble_seconds

MINUTE: Final = 60.0
WINDOW_SECONDS: Final = 61.0
"""Calls that leave evenly arrive less so: a second more keeps a minute of upstream within it."""
BURST_SHARE: Final = 0.05
LIMIT_MIN: Final = 1.0
"""Requests a minute that nothing takes away: no header and no 429 stops an account for ever."""
BELIEVED_SECONDS: Final = 600.0
"""A lower limit that upstream named holds so long against a higher one: models differ in theirs."""
FULL_SECONDS: Final = 300.0
"""From nothing to what was refused by equal steps; from a half in half of the time."""
RESET_SECONDS_MAX: Final = 60.0
NEAR: Final = 1e-3
"""A token that is so nearly there is there: times are rounded. What is missing is owed."""
WAIT_SECONDS_MIN: Final = 1e-3


class Minute:
    """Counts what was done in the last minute, by whole seconds."""

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque()
        self._sum = 0.0

    def add(self, now: float, count: float = 1.0) -> None:
        """Count so many at a time that is not before the last one."""
        second = math.floor(now)
        if self._slots and self._slots[-1][0] >= second:
            self._slots[-1][1] += count
        else:
            self._slots.append([second, count])
        self._sum += count
        self.count(now)

    def count(self, now: float) -> float:
        """How many in the minute before `now`."""
        while self._slots and self._slots[0][0] <= now - MINUTE:
            self._sum -= self._slots.popleft()[1]
        return self._sum

    def shift(self, by: float) -> None:
        """The clock was set by so many seconds."""
        for slot in self._slots:
            slot[0] += by


@dataclass(slots=True)
class Budget:
    """One life's part of one credential. Limits are in requests a minute."""

    configured: float | None = None
    share: float = 1.0
    """This life's part, above 0 and at most 1."""
    seen: float | None = None
    """The limit that upstream named, for the whole credential."""
    seen_at: float = -math.inf
    remaining: float | None = None
    """How many requests upstream said were left, when it last did."""
    held_until: float = -math.inf
    """No call before: Retry-After."""
    allowed: float | None = None
    """What 429s have left of this life's part; None while nothing was refused."""
    _refused_at: float = -math.inf
    _base: float = LIMIT_MIN
    _streak: int = 0
    _tokens: float = 1.0
    _at: float = -math.inf
    _short: bool = False
    _minute: Minute = field(default_factory=Minute)

    # What is known.

    @property
    def ceiling(self) -> float | None:
        """The limit of the whole credential, as configured or seen."""
        known = [value for value in (self.configured, self.seen) if value is not None]
        return min(known) if known else None

    @property
    def limit(self) -> float | None:
        """What this life may send in a minute; None: as much as it likes."""
        ceiling = self.ceiling
        if ceiling is None:
            return self.allowed
        mine = ceiling * self.share
        return mine if self.allowed is None else min(mine, self.allowed)

    def measured(self, now: float) -> float:
        """Calls of this life in the minute before."""
        return self._minute.count(now)

    # Spending.

    def take(self, now: float) -> bool:
        """Spend one call, if there is one."""
        self._advance(now)
        if now < self.held_until:
            return False
        if self.limit is None:
            self._minute.add(now)
            return True
        if self._tokens < 1.0 - NEAR:
            self._short = True
            return False
        self._short = False
        self.force(now)
        return True

    def force(self, now: float) -> None:
        """Spend one call that cannot wait; the next ones wait for it, a minute at most."""
        self._advance(now)
        limit = self.limit
        if limit is not None:
            self._tokens = max(self._tokens - 1.0, -max(limit, 1.0))
        self._minute.add(now)

    def give_back(self, now: float) -> None:
        """A call that was taken was not made."""
        self._advance(now)
        limit = self.limit
        if limit is not None:
            self._tokens = min(self._tokens + 1.0, _burst(limit))
        self._minute.add(now, -1.0)

    def wait(self, now: float) -> float:
        """Seconds until the next call may go out: 0 if one may now; always finite."""
        self._advance(now)
        held, limit = max(self.held_until - now, 0.0), self.limit
        if limit is not None and self._tokens < 1.0 - NEAR:
            held = max(held, (1.0 - self._tokens) / _rate(limit))
        # Never so little that a rounded time comes out as now.
        return max(held, WAIT_SECONDS_MIN) if held > 0 else 0.0

    # Learning.

    def divide(self, share: float, now: float) -> None:
        """This life's part is another one now."""
        self._advance(now)
        self.share = min(max(share, 1e-6), 1.0)

    def saw(self, limits: Limits, now: float) -> None:
        """Take in what a reply's headers say."""
        self._advance(now)
        before = self.limit
        if limits.limit is not None:
            self._named(limits.limit, now)
        self._lowered(before, now)
        if limits.remaining is None:
            return
        self.remaining = limits.remaining
        if self.limit is not None:
            self._tokens = min(self._tokens, max(limits.remaining, 0.0) * self.share)
        elif limits.remaining < 1 and limits.reset_seconds is not None:
            self.hold(now + min(limits.reset_seconds, RESET_SECONDS_MAX), now)

    def told(self, limit: float, at: float, now: float) -> None:
        """Another life saw a limit at a time before now."""
        self._advance(now)
        before = self.limit
        self._named(limit, min(at, now))
        self._lowered(before, now)

    def hold(self, until: float, now: float) -> None:
        """No calls before `until`, ten minutes from now at most. Never sooner than it was."""
        if not math.isnan(until):
            self.held_until = max(self.held_until, min(until, now + HINT_SECONDS_MAX))

    def refused(
        self, now: float, *, started: float, retry_after: float | None, spread: float
    ) -> None:
        """Take in a 429 to a call sent at `started`. Those sent before the last one that counted
        are the same refusal; `spread` in [0, 1) is the random number of who retries when."""
        self._advance(now)
        if started >= self._refused_at:
            self._streak += 1
            self._refused_at = now
            self._cut(now)
        wait = backoff = trouble_seconds(self._streak)
        if retry_after is not None and retry_after >= 0:
            # The first Retry-After is taken at its word; refused again and again, it was too short.
            wait = max(retry_after, 0.0 if self._streak <= 1 else backoff)
        self.hold(now + wait * (1.0 + JITTER * spread), now)

    def worked(self, started: float) -> None:
        """A call sent at `started` was not refused."""
        if started >= self._refused_at:
            self._streak = 0

    def shift(self, by: float) -> None:
        """The clock was set back by so many seconds (0 or less): what was noted by the time before
        would else lie in the future, and whatever comes until then would count as older."""
        self.held_until += by
        self.seen_at += by
        self._refused_at += by
        self._minute.shift(by)

    # The machinery.

    def _cut(self, now: float) -> None:
        limit = self.limit
        self._base = max(self._minute.count(now) if limit is None else limit, LIMIT_MIN)
        self.allowed = max(self._base / 2.0, min(LIMIT_MIN, self._base))
        self._tokens = min(self._tokens, 0.0)
        self._short = False

    def _named(self, limit: float, at: float) -> None:
        """What was said before what is known says nothing new."""
        named = min(max(limit, LIMIT_MIN), LIMIT_MAX)
        lower = self.seen is None or named <= self.seen
        if at >= self.seen_at and (lower or at - self.seen_at >= BELIEVED_SECONDS):
            self.seen, self.seen_at = named, at

    def _lowered(self, before: float | None, now: float) -> None:
        """A limit that was not known before counts what was sent already."""
        limit = self.limit
        if limit is not None and (before is None or limit < before):
            left = limit - self._minute.count(now)
            self._tokens = max(min(self._tokens, left), -limit)

    def _advance(self, now: float) -> None:
        """Earn what the time has brought. A clock that was put back earns nothing."""
        passed = now - self._at
        if not passed > 0:
            self._at = now
            self.held_until = min(self.held_until, now + HINT_SECONDS_MAX)
            return
        self._at = now
        if self.limit is None:
            self._tokens = 1.0
            return
        self._grow(min(passed, MINUTE), now)
        limit = self.limit
        if limit is not None:
            # The very first call finds the one token that a life begins with.
            earned = 0.0 if math.isinf(passed) else passed * _rate(limit)
            self._tokens = min(self._tokens + earned, _burst(limit))

    def _grow(self, seconds: float, now: float) -> None:
        """More is allowed again, as long as more is wanted."""
        if self.allowed is None or not self._short or now < self.held_until:
            return
        self.allowed += max(self.allowed, self._base) * seconds / FULL_SECONDS
        ceiling = self.ceiling
        if ceiling is None:
            self.allowed = min(self.allowed, LIMIT_MAX)
        elif self.allowed >= ceiling * self.share:
            self.allowed = None


def _burst(limit: float) -> float:
    """Calls that may go out at once."""
    return max(1.0, limit * BURST_SHARE)


def _rate(limit: float) -> float:
    """Calls a second: with the burst they are the limit, in any minute. Without one, as below
    twenty a minute, whole calls at equal distances are."""
    if limit <= 1.0 / BURST_SHARE:
        return (math.floor(limit) if limit >= 1.0 else limit) / WINDOW_SECONDS
    return (limit - _burst(limit)) / WINDOW_SECONDS
