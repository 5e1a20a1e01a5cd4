"""The seam between runward and a provider: what the reconciler may ask, whoever answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.core.intent import Address, Intent, Output
from ledger.core.outcome import Observation


class Provider(Protocol):
    """One account at one provider. No call is ever repeated here: the ledger owns repetition.

    Every method raises only errors of the UpstreamError tree. `create` alone may also raise
    MissingCredential, before anything is sent, when the request names a secret that is not set.
    """

    async def create(self, intent: Intent) -> Observation:
        """Make the object, once. What comes back always has an id."""

    async def observe(self, address: Address) -> Observation:
        """Read the object. Its id is None where upstream left it out.

        One at a time: responses have no list, and a thread has one live run, so its list would
        answer for that run alone. A family whose list answers for many would add a method here.
        """

    async def search(self, address: Address) -> tuple[Observation, ...]:
        """The objects that carry `address.marker`; none where upstream has no list."""

    async def submit(self, address: Address, outputs: Sequence[Output]) -> Observation:
        """Send the outputs of all calls that the object waits for, together."""

    async def cancel(self, address: Address) -> Observation:
        """Ask upstream to stop. Any final status may still win."""

    async def harvest(self, address: Address) -> bytes:
        """The final output, as bytes of JSON."""

    async def close(self) -> None:
        """Give the connections back."""
