"""How a profile wants its runs watched."""

from __future__ import annotations

from typing import Final

from ledger.core.alphabet import PacePolicy
from ledger.core.pacing.policies import Backoff, Fixed
from ledger.core.pacing.worth import Aim
from ledger.core.record import record

EVERY_SECONDS: Final = 2.5


@record
class ProfilePace:
    """A policy by name, and the figures of each."""

    policy: PacePolicy = PacePolicy.learned
    aim: Aim = Aim()
    backoff: Backoff = Backoff()
    fixed: Fixed = Fixed(seconds=EVERY_SECONDS)


USUAL: Final = ProfilePace()
