"""What a life does about webhooks besides its runs: coverage is judged, parked deliveries are
looked into. In a task of its own, so that no run waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from ledger.clock import pause
from ledger.service.coverage import Coverage
from ledger.service.heart import unexpected
from ledger.service.parking import Parking

log = logging.getLogger("runward")
EVERY_SECONDS: Final = 2.0


class WebhookCare:
    """One life's part in it; any life may do it, and two do no harm."""

    def __init__(self, coverage: Coverage, parking: Parking, clock: Callable[[], datetime]) -> None:
        self._coverage, self._parking, self._clock = coverage, parking, clock

    async def watch(self) -> None:
        """Go on until cancelled."""
        while True:
            await pause(EVERY_SECONDS)
            try:
                now = self._clock()
                await self._coverage.check(now)
                await self._parking.look(now)
            except Exception as error:
                log.error("webhooks: %s", error, exc_info=unexpected(error))
