"""What can be put into a batch, and what comes back for each record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.core.accept import NewRun
from ledger.core.model import Change, Facts
from ledger.core.record import record
from ledger.errors import RunwardError

Performed = Callable[[Facts, tuple[int, ...] | str], Change]
"""What is written once the writes of a change were executed: by row counts, or why they were not.
"""


@dataclass(frozen=True, slots=True)
class Guard:
    """The ownership that a life believes it has."""

    owner: str
    fence: int


@record
class Submission:
    """A run to accept. A known key with the same request gives the existing run."""

    new: NewRun


@record
class Decision:
    """A change to one run.

    `decide` makes the change from facts; it runs again inside the transaction when the run has
    moved since `change` was made, so it must be pure. With a guard the record is written only
    under that ownership; without one (an operator's command) only the version counts. `evidence`
    makes what must not be lost if the guard fails: the outcome may be the only copy of an id. Where
    the change has writes, `performed` makes what is written instead, from their row counts or from
    the words by which they are undone.
    """

    run_id: int
    decide: Callable[[Facts], Change]
    change: Change | None = None
    guard: Guard | None = None
    evidence: Callable[[], bytes] | None = None
    performed: Performed | None = None


Record = Submission | Decision


@record
class Written:
    """The record is durable. `created` is False for a submission whose key was known."""

    facts: Facts
    created: bool = True
    woken: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """Another life owns the run; what was learned is filed as evidence."""


@dataclass(frozen=True, slots=True)
class LaneBusy:
    """Another run holds the serial key, or an older one waits for it; nothing was written."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The record could not be written; the others of its batch were."""

    error: RunwardError


Result = Written | Stale | LaneBusy | Rejected
