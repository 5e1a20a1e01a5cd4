"""A job is a run or a response: how it lives from its create to its end.

Everything takes ``now`` and nothing waits; the clock and the network are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .behaviours import Behaviour
from .talk import reply_to, tool_call
from .timeline import FINAL, Pace, Timeline

_AGAIN = (("queued", "queued"), ("in_progress", "in_progress"))


@dataclass(frozen=True, slots=True)
class Call:
    """One function call that the simulated model asks for."""

    id: str
    item_id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Round:
    """The calls asked for at once, and every answer that they got, with who gave it."""

    calls: tuple[Call, ...]
    answers: list[dict[str, str]] = field(default_factory=list)

    @property
    def call_ids(self) -> list[str]:
        """The ids of the calls, as asked."""
        return [call.id for call in self.calls]


@dataclass(slots=True, kw_only=True)
class Job:
    """One run (``api`` is ``runs``) or one response (``responses``)."""

    id: str
    api: str
    parent_id: str | None
    model: str
    behaviour: Behaviour
    metadata: dict[str, str]
    settings: Mapping[str, Any]
    text: str
    tools: Sequence[Mapping[str, Any]]
    message_id: str
    created: float
    expires: float | None
    timeline: Timeline = field(default_factory=Timeline)
    rounds: list[Round] = field(default_factory=list)
    rounds_asked: int = 0  # along a whole chain of responses
    heard: list[str] = field(default_factory=list)
    stale_reads: int = 0
    vanishes_at: float | None = None
    deleted: bool = False
    message_added: bool = False

    def gone(self, now: float) -> bool:
        """Whether the API pretends that the job never was."""
        return self.deleted or (self.vanishes_at is not None and now >= self.vanishes_at)

    def status(self, now: float) -> str:
        """The true status, whatever a stale read shows."""
        return self.timeline.at(now).status

    def active(self, now: float) -> bool:
        """Whether the job is not final and can be seen."""
        return self.status(now) not in FINAL and not self.gone(now)

    @property
    def answer(self) -> str:
        """The final text."""
        return reply_to(self.text, self.heard)


@dataclass(frozen=True, slots=True)
class View:
    """What a read shows of a job."""

    status: str
    since: float
    calls: tuple[Call, ...] = ()


def begin(job: Job, pace: Pace, calls: tuple[Call, ...], now: float) -> None:
    """Plan a new job from its create to its end, or to its first question."""
    waits = enumerate(job.behaviour.waits)
    path = [(status, pace.jittered(name, job.id, step)) for step, (status, name) in waits]
    _plan(job, path, calls, now)
    if job.behaviour.vanishes:
        job.vanishes_at = now + pace.seconds("vanish")


def resume(job: Job, pace: Pace, calls: tuple[Call, ...], now: float) -> None:
    """Go on after the answers: through the queue again to the next question or the end."""
    leg = len(job.rounds)
    path = [(status, pace.jittered(name, job.id, "leg", leg, status)) for status, name in _AGAIN]
    _plan(job, path, calls, now)


def _plan(job: Job, path: list[tuple[str, float]], calls: tuple[Call, ...], now: float) -> None:
    end = job.behaviour.end
    if calls:
        job.rounds.append(Round(calls))
        end = "requires_action" if job.api == "runs" else "completed"
    job.timeline = job.timeline.redirected(now, path, end)
    # An object that is stuck stays so even past its expiry: that is the point of it.
    stuck = not calls and end not in FINAL and not job.behaviour.expires_early
    if job.expires is not None and not stuck:
        job.timeline = job.timeline.expiring(job.expires)


def cancel(job: Job, pace: Pace, now: float) -> None:
    """Take a cancel; how it ends is up to the behaviour."""
    end = job.behaviour.after_cancel
    taking = pace.jittered("cancelling", job.id)
    if job.api == "runs":
        path = [] if end == "cancelling" else [("cancelling", taking)]
        job.timeline = job.timeline.redirected(now, path, end)
    elif end == "cancelled":
        job.timeline = job.timeline.redirected(now, [], end)
    elif end == "completed":
        job.timeline = job.timeline.redirected(now, [(job.status(now), taking)], end)


def view(job: Job, now: float) -> View:
    """What the API shows of the job, which may be stale."""
    moment = job.timeline.at(now)
    if job.stale_reads > 0:
        return View("requires_action", moment.at, job.rounds[-1].calls)
    asks = job.rounds and moment.status == ("requires_action" if job.api == "runs" else "completed")
    return View(moment.status, moment.at, job.rounds[-1].calls if asks else ())


def note_read(job: Job) -> None:
    """Count a read of this one object; stale ones come to an end."""
    job.stale_reads = max(0, job.stale_reads - 1)


def calls_for(job: Job, new_ids: Sequence[tuple[str, str]], nth_round: int) -> tuple[Call, ...]:
    """The calls of a round, with ids made for them (call id, item id)."""
    calls = []
    for index, (call_id, item_id) in enumerate(new_ids):
        name, arguments = tool_call(job.tools, job.metadata, job.text, nth_round + index)
        calls.append(Call(call_id, item_id, name, arguments))
    return tuple(calls)
