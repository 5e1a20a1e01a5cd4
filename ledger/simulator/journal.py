"""What the simulator did, told afterwards: the truth that a ledger is compared with."""

from __future__ import annotations

from collections import Counter, deque

from . import jobs
from .jobs import Job
from .world import Item, World

MOST_ENTRIES = 1_000_000


class Journal:
    """Every request that changed something or tried to; reads are only counted."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self._entries: deque[Item] = deque(maxlen=MOST_ENTRIES)
        self._written = 0

    def write(self, entry: Item) -> None:
        """Append an entry; beyond the bound the oldest one is lost."""
        self._written += 1
        self._entries.append({"seq": self._written, **entry})

    def entries(self) -> list[Item]:
        """The entries, oldest first."""
        return list(self._entries)

    @property
    def lost(self) -> int:
        """How many old entries the bound has cost."""
        return self._written - len(self._entries)


def objects_of(world: World, now: float) -> list[Item]:
    """Every run and response with its true state, whatever the API shows of it."""
    return [_object(job, now) for job in world.jobs.values()]


def _object(job: Job, now: float) -> Item:
    asked = job.rounds if jobs.view(job, now).calls else [r for r in job.rounds if r.answers]
    return {
        "id": job.id,
        "api": job.api,
        "parent_id": job.parent_id,
        "model": job.model,
        "behaviour": job.behaviour.name,
        "status": job.status(now),
        "since": job.timeline.at(now).at,
        "gone": job.gone(now),
        "created_at": job.created,
        "metadata": job.metadata,
        "calls": [
            {
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "round": index + 1,
            }
            for index, round_ in enumerate(asked)
            for call in round_.calls
        ],
        "outputs": [answer for round_ in asked for answer in round_.answers],
    }
