"""A reconciler that can be asked when it last came round."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ledger.clock import monotonic
from ledger.service.options import Options, Report
from ledger.service.reconciler import Reconciler

AGE_SECONDS_MAX: Final = max(2 * Options().sweep_seconds, 10.0)
"""A loop that has not come round for so long hangs, or its database does."""


class TimedReconciler(Reconciler):
    """One life at work, and when it last ended a pass."""

    passed_at: float | None = None

    async def tick(self, now: datetime) -> Report:
        """See Reconciler.tick."""
        report = await super().tick(now)
        self.passed_at = monotonic()
        return report

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the last pass that went well; None before the first."""
        return None if self.passed_at is None else monotonic() - self.passed_at
