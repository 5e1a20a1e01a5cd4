"""Webhook events: what one says, and which ends of responses still lie ahead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from .jobs import Job
from .timeline import FINAL, Timeline

_SESSION: Mapping[str, Any] = {"environment_type": "openai"}
_SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "agent.session.created": _SESSION,
    "agent.session.in_progress": _SESSION,
    "agent.session.idle": _SESSION,
    "agent.session.failed": _SESSION,
    "agent.session.action_required": {"required_action": {"type": "function_call"}},
    "realtime.call.incoming": {"call_id": "rtc_sample", "sip_headers": []},
}
_PREFIXES = {"response": "resp", "agent.session": "sess", "agent.environment": "env"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at an instant; every delivery of it has the same bytes."""

    id: str
    type: str
    object_id: str
    at: float
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The body of its deliveries: ids only, never a status or an output."""
        said = {
            "object": "event",
            "id": self.id,
            "type": self.type,
            "created_at": int(self.at),
            "data": {"id": self.object_id, **self.more},
        }
        return json.dumps(said, separators=(",", ":")).encode()


def sample(event_id: str, event_type: str, now: float) -> Event:
    """The event that a test of an endpoint sends: about an object that does not exist."""
    family = event_type.rpartition(".")[0]
    prefix = _PREFIXES.get(family, family.replace(".", "_"))
    return Event(event_id, event_type, f"{prefix}_sample", now, _SAMPLES.get(event_type, {}))


class Endings:
    """The ends of jobs that lie ahead, the next one first.

    A job's timeline is replaced as a whole when it is cancelled, so an entry holds as long as
    the job still has the timeline that the entry was made from. One job may end more than
    once: a simulated API may contradict itself.
    """

    def __init__(self) -> None:
        self._ahead: list[tuple[float, int, Job, Timeline, int]] = []
        self._number = count()
        self._told: dict[str, int] = {}

    def expect(self, job: Job) -> None:
        """Note the next end of a job; to be called again when its timeline has changed."""
        for index in range(self._told.get(job.id, 0), len(job.timeline.moments)):
            moment = job.timeline.moments[index]
            if moment.status in FINAL:
                heappush(self._ahead, (moment.at, next(self._number), job, job.timeline, index))
                return

    def next_at(self) -> float | None:
        """When the next job ends; None if no end is in sight."""
        while self._ahead and not self._holds():
            heappop(self._ahead)
        return self._ahead[0][0] if self._ahead else None

    def take(self, now: float) -> Iterator[tuple[Job, int]]:
        """The ends up to now that can be seen, once each: which moment of which job."""
        while (at := self.next_at()) is not None and at <= now:
            _, _, job, _, index = heappop(self._ahead)
            self._told[job.id] = index + 1
            self.expect(job)
            if not job.gone(at):
                yield job, index

    def _holds(self) -> bool:
        _, _, job, timeline, index = self._ahead[0]
        return timeline is job.timeline and index >= self._told.get(job.id, 0)
