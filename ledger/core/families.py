"""What distinguishes one provider's protocol from another's, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.core.alphabet import RemoteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The traits of a protocol that decisions depend on."""

    kind: RemoteKind
    """The kind of remote that a run's verdict comes from."""
    chained: bool
    """Tool outputs travel in the create of a further remote."""
    searchable: bool
    """A create of unknown outcome can be found by its marker."""
    harvested: bool
    """The final output takes a further call."""
    serial: bool
    """Upstream allows one live run per parent."""
    notified: bool = False
    """Webhooks tell of its ends."""


FAMILIES: Final = {
    "responses": Family(
        kind=RemoteKind.response,
        chained=True,
        searchable=False,
        harvested=False,
        serial=False,
        notified=True,
    ),
    "assistants": Family(
        kind=RemoteKind.thread_run, chained=False, searchable=True, harvested=True, serial=True
    ),
}
