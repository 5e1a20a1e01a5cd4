"""Faults of the transport: what they are, when they strike, and the request limiter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .ids import chance

_HTTP = re.compile(r"http-([45]\d\d)(?:-(before|after|bare))?")
_OTHERS = {
    "drop-before": ("drop", False),
    "drop-after": ("drop", True),
    "truncated": ("truncated", True),
    "html": ("html", True),
    "slow-reply": ("slow", True),
}
FAULT_NAMES = "http-STATUS[-before|-after|-bare], " + ", ".join(_OTHERS)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a request to go wrong.

    ``accepted`` tells whether the request had its effect before the reply was spoilt.
    """

    name: str
    kind: str
    accepted: bool
    status: int = 200
    says_when: bool = False
    retry_after: float | None = None


def parse_fault(name: str, retry_after: float | None = None) -> Fault:
    """The fault of a name such as ``http-500-after``; ``ValueError`` for an unknown one."""
    if name in _OTHERS:
        kind, accepted = _OTHERS[name]
        return Fault(name, kind, accepted)
    match = _HTTP.fullmatch(name)
    if match is None:
        raise ValueError(f"unknown fault {name!r}")
    status, when = int(match[1]), match[2]
    says_when = retry_after is not None or (status == 429 and when != "bare")
    return Fault(name, "status", when == "after", status, says_when, retry_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fault of the scenario: which requests it strikes, and how often."""

    fault: Fault
    operation: str = "*"
    model: str = "*"
    probability: float = 1.0
    times: int | None = None
    after: int = 0

    def matches(self, operation: str, model: str) -> bool:
        """Whether a request is one that the rule is about (``*`` as in file names)."""
        return fnmatchcase(operation, self.operation) and fnmatchcase(model, self.model)


class FaultPlan:
    """The rules in force and how often each of them has been looked at and has struck."""

    def __init__(self, rules: Iterable[Rule], seed: int) -> None:
        self._rules = tuple(rules)
        self._seed = seed
        self._matched: Counter[int] = Counter()
        self._struck: Counter[int] = Counter()

    def choose(self, operation: str, model: str) -> Fault | None:
        """The fault of the first rule that strikes this request."""
        for index, rule in enumerate(self._rules):
            if rule.matches(operation, model) and self._strikes(index, rule):
                return rule.fault
        return None

    def _strikes(self, index: int, rule: Rule) -> bool:
        self._matched[index] += 1
        nth = self._matched[index]
        if nth <= rule.after:
            return False
        if rule.times is not None and self._struck[index] >= rule.times:
            return False
        if chance(self._seed, "fault", index, nth) >= rule.probability:
            return False
        self._struck[index] += 1
        return True


class Bucket:
    """A token bucket over all requests; one that is not limited never runs dry."""

    UNLIMITED = 10_000

    def __init__(self, per_minute: int | None, speed: float) -> None:
        self.limit = per_minute or self.UNLIMITED
        self._limited = per_minute is not None
        self._per_second = self.limit / 60 * speed
        self._tokens = float(self.limit)
        self._at: float | None = None

    @property
    def remaining(self) -> int:
        """Whole requests left."""
        return int(self._tokens)

    @property
    def reset_after(self) -> float:
        """Seconds until the bucket is full again."""
        return (self.limit - self._tokens) / self._per_second

    def take(self, now: float) -> float:
        """Spend one request; else the seconds to wait for one."""
        if not self._limited:
            return 0.0
        passed = max(0.0, now - self._at) if self._at is not None else 0.0
        self._at = now
        self._tokens = min(float(self.limit), self._tokens + passed * self._per_second)
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0
