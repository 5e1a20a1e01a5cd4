"""When an account may be called: a circuit breaker, and what stops an account altogether.

closed      calls go through; what fails is tried again run by run
open        several calls in a row met no upstream or its 5xx: none goes through for a while, which
            grows up to a minute; a Retry-After is obeyed at once, without a row
half-open   that while is over: one call finds out, the others wait for its answer
stopped     upstream refuses the credential: one call a minute finds out

A 429 is no trouble of upstream's: it is the budget's concern.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from ledger.core.pacing import after_failure
from ledger.errors import Pause, RateLimited, Refused, UpstreamError

PROBE_SECONDS: Final = 60.0
OPENS_AFTER: Final = 5
"""So many failures in a row open the breaker; fewer may lie with the runs that met them."""
ANSWER_SECONDS: Final = 90.0
"""A probe that has not answered by then is given up: longer than any call takes."""
TURN_SECONDS_MAX: Final = 15


@dataclass(slots=True)
class Gate:
    """When an account may be called again, and why not now."""

    not_before: datetime | None = None
    failures: int = 0
    stopped: str | None = None
    opened_at: datetime | None = None
    missing: dict[tuple[int, int], datetime] = field(default_factory=dict)

    @property
    def guarded(self) -> bool:
        """Whether calls go through one at a time, if at all: open, half-open or stopped."""
        return self.stopped is not None or self.opened_at is not None

    def closed(self, now: datetime) -> bool:
        """Whether no call goes through now."""
        return self.not_before is not None and self.not_before > now

    def state(self, now: datetime) -> str:
        """The word for it."""
        if self.stopped is not None:
            return "stopped"
        if self.opened_at is None:
            return "closed"
        return "open" if self.closed(now) else "half-open"

    def enter(self, now: datetime, failures: int) -> datetime | None:
        """None to go on, or the time to wait for. A guarded account lets one probe in.

        `failures` are those of the run in a row: who was refused comes after those who were not,
        since the fault may lie with one run.
        """
        if self.not_before is not None and self.not_before > now:
            turn = min(failures, TURN_SECONDS_MAX) if self.stopped is not None else 0
            return self.not_before + timedelta(seconds=turn)
        if self.stopped is not None:
            self.not_before = now + timedelta(seconds=PROBE_SECONDS)
        elif self.opened_at is not None:
            self.not_before = now + timedelta(seconds=ANSWER_SECONDS)
        return None

    def spare(self, now: datetime) -> None:
        """Who was let in made no call: it found nothing out, and another may."""
        if self.guarded:
            self.not_before = now

    def failed(self, error: UpstreamError, now: datetime, spread: float, started: datetime) -> None:
        """Take in a failure of a call sent at `started`, and close the gate as it demands."""
        if error.pause == Pause.stopped:
            self.failures += 1
            self.stopped = type(error).__name__
            self.not_before = now + timedelta(seconds=PROBE_SECONDS)
        elif error.pause == Pause.briefly and not isinstance(error, RateLimited):
            self._troubled(error, now, spread, started)
        elif isinstance(error, Refused) and self.stopped is None:
            # An answer, if not the one that was hoped for: upstream is there.
            self._close()
        elif self.opened_at is not None and self.stopped is None:
            # The probe proved nothing: another one, soon.
            self._open(error, now, spread)

    def worked(self) -> bool:
        """A call succeeded; says whether the account had been stopped, or its breaker open."""
        was_guarded = self.guarded
        self.stopped = None
        self._close()
        return was_guarded

    def _troubled(
        self, error: UpstreamError, now: datetime, spread: float, started: datetime
    ) -> None:
        if self.opened_at is not None and started < self.opened_at:
            # Under way when the breaker opened: it says nothing new.
            return
        self.failures += 1
        if self.stopped is not None:
            self.not_before = now + timedelta(seconds=PROBE_SECONDS)
        elif self.failures >= OPENS_AFTER:
            self._open(error, now, spread)
        elif error.reply.retry_after_seconds is not None:
            self.not_before = self._until(error, now, spread, failures=1)

    def _open(self, error: UpstreamError, now: datetime, spread: float) -> None:
        self.opened_at = now
        self.not_before = self._until(error, now, spread, failures=max(self.failures, OPENS_AFTER))

    def _until(self, error: UpstreamError, now: datetime, spread: float, failures: int) -> datetime:
        wait = error.reply.retry_after_seconds
        return after_failure(now, failures=failures, retry_after_seconds=wait, spread=spread)

    def _close(self) -> None:
        self.failures, self.not_before, self.opened_at = 0, None, None
