"""The steps that a run can take next, and the limits in time that they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger.core.alphabet import OnUnknownOutcome
from ledger.core.counting import Spent
from ledger.core.pacing import Look
from ledger.core.record import record

CANCEL_SECONDS: Final = 120.0
"""A cancel that upstream accepts and does not finish is given up after this."""
CANCEL_FAILED_SECONDS: Final = 600.0
"""A cancel that upstream answers with trouble each time is given up so long after it was asked."""
CANCELS_MAX: Final = 4
"""So many times a cancel is sent for one remote."""
TAIL_SECONDS: Final = 3_600.0
"""A remote that lives on after its run's verdict is watched this long."""
UNCANCELLED_SECONDS: Final = 86_400.0
"""The same for one that no cancel could be sent for, as while its account is stopped."""
EXPIRY_GRACE_SECONDS: Final = 30.0
"""Upstream may report its own `expires_at` this late before the ledger derives it."""
RECHECK_SECONDS: Final = 3_600.0
"""A recheck that upstream does not answer is given up after this."""
APPROVAL_WARNING_SECONDS: Final = 300.0
"""A call that still waits for a person's word is flagged so long before its time is up, or when a
quarter of the time is left, whichever is later."""
RERUNS_MAX: Final = 5
"""So many times policy lets one call run again: a tool that kills its process must not for ever."""
UNDER_WAY: Final = " under way"
"""Ends the `why` of a watch whose step may be having its effect at this moment."""
ASIDE: Final = "set aside"
"""The `why`, and the owner, of a watch that no life takes before the run's deadline."""
RESEND_SECONDS: Final = 5.0
"""Outputs whose submission is in doubt are sent again after this, if upstream still asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What the core has to know of a tool."""

    name: str
    idempotent: bool
    timeout_seconds: float
    transactional: bool = False
    requires_approval: bool = False
    on_unknown_outcome: OnUnknownOutcome | None = None


@record
class Context:
    """Who decides, when, and with which tools at hand."""

    now: datetime
    life: str
    tools: Mapping[str, ToolSpec]
    look: Look
    spent: Spent = ()
    """Calls that are not written yet."""
    call: str | None = None
    """The call whose outcome is being decided on, as it counts if it leads to a change."""
    refused: bool = False
    """Upstream refuses this life's credential, and no call gets through."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Create:
    """Send the create of remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Search:
    """Look for the marker of remote `n` upstream."""

    n: int


@dataclass(frozen=True, slots=True)
class Observe:
    """Read remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Harvest:
    """Fetch the final output of remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask upstream to cancel remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these calls."""

    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the recorded outputs of these calls to remote `n`."""

    n: int
    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Decide without a call: time or evidence is enough."""

    why: str


Step = Wait | Create | Search | Observe | Harvest | Cancel | RunTools | Submit | Settle
