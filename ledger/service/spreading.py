"""First looks at many runs are spread: neither a restart nor the end of an outage is a storm.

Each run's next routine look falls into the interval that it would be looked at in anyhow; of very
many, about a thousand fall into a second. Few runs do not wait, and neither does what is new, what
somebody wants cancelled, or a result that may be dropped before long.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ledger.core.pacing.policies import CAP_SECONDS
from ledger.core.plan.urgency import fetch_by
from ledger.service.gates import Gate
from ledger.service.lines import Rank, rank_of

if TYPE_CHECKING:
    from ledger.service.entry import Entry

AT_ONCE: Final = 100
"""So many routine looks do no harm together."""
LOOKS_PER_SECOND: Final = 1_000.0
FORGET_SECONDS: Final = 60.0
OPEN: Final = Gate()


class Spreading:
    """Says when the runs that come in together are looked at first."""

    def __init__(self) -> None:
        self._crowd = 0
        self._since = datetime.min

    def first_look(self, entry: Entry, now: datetime, spread: float) -> datetime:
        """When to look at a run that would be due now. `spread` in [0, 1) is the random number."""
        by = fetch_by(entry.facts, entry.look)
        if rank_of(entry, by, OPEN, now) != Rank.routine:
            return now
        if self._crowd == 0 or (now - self._since).total_seconds() > FORGET_SECONDS:
            self._crowd, self._since = 0, now
        self._crowd += 1
        if self._crowd <= AT_ONCE:
            return now
        last = max(self._crowd / LOOKS_PER_SECOND, CAP_SECONDS)
        at = self._since + timedelta(seconds=last - CAP_SECONDS * (1.0 - spread))
        return max(at, now)
