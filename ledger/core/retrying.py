"""When something that is passed on is tried again, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Tries with pauses between them that double, in seconds."""

    first_seconds: float
    seconds_max: float
    tries_max: int | None
    """After so many it is given up; None for never."""

    def next_at(self, now: datetime, *, tries: int, spread: float) -> datetime | None:
        """When to try again after `tries` tries failed; None to give up.

        `spread` within [0, 1) moves the pause by up to a fifth either way.
        """
        if self.tries_max is not None and tries >= self.tries_max:
            return None
        pause = min(self.seconds_max, self.first_seconds * 2 ** min(tries - 1, 40))
        return now + timedelta(seconds=pause * (0.8 + 0.4 * spread))


HANDLING: Final = Schedule(first_seconds=1.0, seconds_max=60.0, tries_max=8)
"""For functions of users: about two minutes."""
TELLING: Final = Schedule(first_seconds=1.0, seconds_max=60.0, tries_max=None)
"""For what is kept for another system until it takes it."""
SENDING: Final = Schedule(first_seconds=5.0, seconds_max=21_600.0, tries_max=24)
"""For outbound webhooks: half a day of doubling, then four times a day; three days in all."""
