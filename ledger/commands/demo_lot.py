"""The demo's mixed lot of runs: what is asked, and how each has to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.commands.demo_tools import lookup_order, send_receipt
from ledger.core.alphabet import State

SCENARIO: Final = {
    "seed": 7,
    "speed": 1.0,
    "durations": {"queued": 0.2, "in_progress": 0.8, "expire": 1.0, "slow": 30.0},
    "faults": [
        # A storm: the first creates after the start are refused, some with Retry-After.
        {"operation": "responses.create", "times": 6, "after": 4, "fault": "http-429",
         "retry_after_s": 0.3},
        {"operation": "runs.create", "times": 3, "after": 2, "fault": "http-429-bare"},
        {"operation": "*.retrieve", "probability": 0.05, "times": 20, "fault": "http-503-before"},
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """Some runs of one sort."""

    name: str
    count: int
    provider: str
    model: str
    ends: State
    attempts: int = 1
    tool: Any = None
    cancel: bool = False

    def requests(self) -> list[dict[str, Any]]:
        """What is submitted."""
        return [self._request(number) for number in range(1, self.count + 1)]

    def _request(self, number: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "key": f"demo:{self.name}:{number}",
            "provider": self.provider,
            "tags": {"demo": self.name},
            # The kill may fall between a create and its reply: the demo then finds the object in
            # upstream's log, and after the window what never arrived is sent again.
            "settle_seconds": 3.0,
            "on_unknown": "recreate=1",
            "restart": "expired=2",
        }
        if self.provider == "responses":
            request |= {"model": self.model, "input": "What is 2+2?"}
        else:
            request |= {"assistant_id": f"asst_{self.model}", "input": "What is 2+2?"}
        if self.tool is not None:
            order = f"A-{number}"
            request |= {
                "tools": [self.tool],
                "metadata": {"sim_args": f'{{"order_id": "{order}"}}'},
            }
        return request


LOT: Final = (
    Kind("answer", 8, "responses", "sim-ok", State.completed),
    Kind("lookup", 5, "responses", "sim-tool", State.completed, tool=lookup_order),
    Kind("receipt", 5, "responses", "sim-tool", State.completed, tool=send_receipt),
    Kind("thread", 5, "assistants", "sim-ok", State.completed),
    Kind("thread-receipt", 4, "assistants", "sim-tool", State.completed, tool=send_receipt),
    Kind("lost-reply", 2, "assistants", "sim-http-500-after-once", State.completed),
    Kind("expires", 2, "assistants", "sim-expire-once", State.completed, attempts=2),
    Kind("fails", 2, "responses", "sim-fail-server_error", State.failed),
    Kind("called-off", 2, "responses", "sim-slow", State.cancelled, cancel=True),
)
