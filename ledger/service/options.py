"""How a reconciler works, apart from what it works on, and what it says of a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.core.pacing.profile import ProfilePace


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bounds and intervals, in seconds. `only` limits a life to some runs; `seal_seconds` None
    means that it makes no seals."""

    concurrency: int = 64
    sweep_seconds: float = 2.0
    review_seconds: float = 10.0
    flush_seconds: float = 60.0
    seal_seconds: float | None = None
    claim_max: int = 1_000
    effect_seconds_max: float = 2.0
    grace_seconds: float = 25.0
    poison_deaths: int = 3
    """So many lives that die in the same step of a run set it aside."""
    only: tuple[int, ...] | None = None
    covered: frozenset[str] = frozenset()
    """The profiles whose runs upstream sends webhooks about."""
    settings: Mapping[str, Any] | None = None
    """What the life was configured with, as it may be shown; None: not worth noting."""
    paces: Mapping[str, ProfilePace] = field(default_factory=dict)
    """How each profile wants its runs watched."""

    @property
    def age_seconds_max(self) -> float:
        """A life that has not come round for so long hangs, or its database does."""
        return max(2 * self.sweep_seconds, 10.0)


@dataclass(slots=True)
class Report:
    """What one tick did."""

    claimed: int = 0
    started: int = 0
    dropped: int = 0
