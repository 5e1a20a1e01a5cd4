"""Failures in groups: by fingerprint, or as the user's rules regroup them; and where they tend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.core.model import Fingerprint

MORE_LEAST: Final = 3
"""So many more or fewer than before, and twice or half as many, is a trend; less is chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRule:
    """Fingerprints that are one to the user: all that is said must fit. `message` is a part of
    the masked message."""

    name: str
    provider: str | None = None
    origin: str | None = None
    code: str | None = None
    http_status: int | None = None
    tool: str | None = None
    message: str | None = None

    def fits(self, seen: Fingerprint) -> bool:
        """Whether a fingerprint falls under the rule."""
        pairs = (
            (self.provider, seen.provider),
            (self.origin, seen.origin),
            (self.code, seen.code),
            (self.http_status, seen.http_status),
            (self.tool, seen.tool),
        )
        same = all(wanted is None or wanted == found for wanted, found in pairs)
        return same and (self.message is None or self.message in (seen.message or ""))


def group_of(rules: Sequence[GroupRule]) -> Callable[[Fingerprint], str]:
    """What a fingerprint is counted under: the first rule that fits, else its own id."""

    def name(seen: Fingerprint) -> str:
        return next((rule.name for rule in rules if rule.fits(seen)), seen.id)

    return name


def together(
    seen: Iterable[Fingerprint], rules: Sequence[GroupRule]
) -> Mapping[str, list[Fingerprint]]:
    """Fingerprints by group."""
    name, found = group_of(rules), defaultdict(list)
    for one in seen:
        found[name(one)].append(one)
    return found


def trend(now: int, before: int, *, new: bool, whole: bool = True) -> str:
    """Where it tends, against the equal time before: new, rising, falling or steady.

    Where the ledger does not know the whole of that time, there were at least `before`: it may be
    falling all the same, and else is unknown.
    """
    if new:
        return "new"
    if before >= 2 * now and before - now >= MORE_LEAST:
        return "falling"
    if not whole:
        return "unknown"
    return "rising" if now >= 2 * before and now - before >= MORE_LEAST else "steady"
