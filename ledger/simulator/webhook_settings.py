"""How webhook deliveries go wrong in a scenario: its section ``webhooks``."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist

LONGEST_RETRY_SECONDS = 72 * 3600
#: After 5 s, then each wait three times the one before, and a last try after 72 hours.
RETRY_SECONDS = (*(5.0 * 3**step for step in range(10)), 111_580.0)

_USUAL_SPREAD = 5.0
_Z99 = NormalDist().inv_cdf(0.99)
_RAREST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Probabilities are per delivery, which is one event for one endpoint; seconds at speed 1.

    ``loss``: it is never sent. ``delay`` and ``delay_p99``: how long after the event the first
    try is, at the median and in one of a hundred cases (five times the median unless given).
    ``duplicate``: it is sent twice. ``reorder``: it waits for 5 to 30 s more, so that later ones
    overtake it. ``forged``: the expected number of forgeries for each. ``retry_seconds``: the
    waits between a failed try and the next one.
    """

    loss: float = 0.0
    delay: float = 0.6
    delay_p99: float | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    forged: float = 0.0
    retry_seconds: tuple[float, ...] = RETRY_SECONDS

    def delay_at(self, share: float) -> float:
        """The delay that this share (0 to 1) of all deliveries does not exceed, in seconds."""
        if self.delay == 0:
            return 0.0
        slow = self.delay * _USUAL_SPREAD if self.delay_p99 is None else self.delay_p99
        spread = log(slow / self.delay) / _Z99
        return self.delay * exp(
            spread * NormalDist().inv_cdf(min(max(share, _RAREST), 1 - _RAREST))
        )
