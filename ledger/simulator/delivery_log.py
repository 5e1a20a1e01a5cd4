"""What became of webhook events, told afterwards: the truth that a receiver is compared with."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .endpoints import Endpoint
from .events import Event

MOST_ENTRIES = 1_000_000


@dataclass(slots=True, eq=False)
class Delivery:
    """One message for one endpoint: the event itself, its duplicate, a forgery or a test.

    ``state`` is waiting, sent (a try has no answer yet), delivered, lost (never sent),
    given_up (the last try failed too) or dropped (the endpoint was deleted).
    """

    event: Event
    endpoint: Endpoint
    webhook_id: str
    kind: str = "genuine"
    forgery: str | None = None
    state: str = "waiting"
    tries: int = 0


@dataclass(slots=True)
class Told:
    """One event with its deliveries."""

    event: Event
    deliveries: list[Delivery] = field(default_factory=list)

    def entry(self) -> dict[str, Any]:
        """As the log shows it."""
        return {
            "id": self.event.id,
            "type": self.event.type,
            "object_id": self.event.object_id,
            "at": self.event.at,
            "deliveries": [
                {
                    "webhook_id": delivery.webhook_id,
                    "endpoint_id": delivery.endpoint.id,
                    "kind": delivery.kind,
                    "forgery": delivery.forgery,
                    "state": delivery.state,
                    "tries": delivery.tries,
                }
                for delivery in self.deliveries
            ],
        }


class DeliveryLog:
    """Every event that had a subscriber, and every try; beyond a bound the oldest are lost."""

    def __init__(self) -> None:
        self._events: deque[Told] = deque(maxlen=MOST_ENTRIES)
        self._tries: deque[dict[str, Any]] = deque(maxlen=MOST_ENTRIES)
        self._written = 0

    def event(self, event: Event) -> Told:
        """Note an event; its deliveries are added to what is returned."""
        told = Told(event)
        self._events.append(told)
        return told

    def attempt(self, delivery: Delivery, now: float) -> dict[str, Any]:
        """Note a try; its answer is added to what is returned."""
        self._written += 1
        entry = {
            "seq": self._written,
            "at": now,
            "webhook_id": delivery.webhook_id,
            "event_id": delivery.event.id,
            "endpoint_id": delivery.endpoint.id,
            "kind": delivery.kind,
            "forgery": delivery.forgery,
            "attempt": delivery.tries,
            "answered_at": None,
            "status": None,
        }
        self._tries.append(entry)
        return entry

    def account(self) -> dict[str, list[dict[str, Any]]]:
        """Events and tries, oldest first; a try without an instant of its answer is under way."""
        return {
            "events": [told.entry() for told in self._events],
            "tries": [dict(entry) for entry in self._tries],
        }
