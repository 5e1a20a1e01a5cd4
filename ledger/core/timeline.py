"""A run's history as stretches of time and marks in them: what a person looks at first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from ledger.core.alphabet import EventKind, Source, State
from ledger.core.lifecycle import FINAL

BACKOFF: Final = "backoff"
"""A stretch of `queued` that is the pause before a restart's create."""
LIFE: Final = "life:"
TOOL: Final = "tool"


class Told(Protocol):
    """What is read of an event."""

    kind: EventKind
    to_state: State | None
    source: Source
    actor: str
    recorded_at: datetime
    attempt: int
    detail: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of one attempt. `until` is None while it lasts."""

    attempt: int
    name: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened at a time, or `count` times until `until`."""

    kind: str
    at: datetime
    until: datetime | None = None
    count: int = 1
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Phases by attempt, and marks, both in order."""

    phases: tuple[Phase, ...]
    marks: tuple[Mark, ...]

    def view(self) -> dict[str, Any]:
        """As plain values; times in ISO form."""
        return {
            "phases": [
                {
                    "attempt": phase.attempt,
                    "name": phase.name,
                    "since": phase.since.isoformat(),
                    "until": phase.until.isoformat() if phase.until else None,
                }
                for phase in self.phases
            ],
            "marks": [
                {
                    "kind": mark.kind,
                    "at": mark.at.isoformat(),
                    "until": mark.until.isoformat() if mark.until else None,
                    "count": mark.count,
                    "text": mark.text,
                }
                for mark in self.marks
            ],
        }


MARKED: Final = {
    EventKind.notified: "webhook",
    EventKind.restarted: "restart",
    EventKind.cancel_requested: "cancel",
    EventKind.attention: "attention",
    EventKind.contradiction: "contradiction",
    EventKind.trouble: "trouble",
    EventKind.held: "held",
    EventKind.set_aside: "set_aside",
    EventKind.tool_held: "held",
    EventKind.noted: "note",
}
TOOLS: Final = {
    EventKind.tool_started: True,
    EventKind.tool_finished: False,
    EventKind.tool_not_started: False,
}


def timeline(events: Sequence[Told]) -> Timeline:
    """The phases and marks of one history, given whole and in order."""
    return Timeline(phases=tuple(_phases(events)), marks=tuple(_marks(events)))


def _phases(events: Iterable[Told]) -> list[Phase]:
    found: list[Phase] = []
    for event in events:
        last = found[-1] if found else None
        name = _phase_after(event, last)
        if name is None or (last and last.until is None and last.name == name):
            continue
        if last is not None and last.until is None:
            found[-1] = _closed(last, event.recorded_at)
        if name not in FINAL:
            found.append(Phase(attempt=event.attempt, name=name, since=event.recorded_at))
    return [phase for phase in found if phase.until is None or phase.until > phase.since]


def _closed(phase: Phase, at: datetime) -> Phase:
    # A clock that was put back makes no stretch of negative length.
    until = max(at, phase.since)
    return Phase(attempt=phase.attempt, name=phase.name, since=phase.since, until=until)


def _phase_after(event: Told, last: Phase | None) -> str | None:
    """What begins with an event; None where nothing does."""
    if event.kind == EventKind.restarted and (event.detail or {}).get("delay_seconds"):
        return BACKOFF
    if event.kind == EventKind.create_sending and last is not None and last.name == BACKOFF:
        return str(State.queued)
    if event.to_state is not None:
        return str(event.to_state)
    return str(State.queued) if last is None else None


def _marks(events: Iterable[Told]) -> list[Mark]:
    found: list[Mark] = []
    driver: str | None = None
    tools: dict[Any, Mark] = {}
    for event in events:
        life = event.actor if event.actor.startswith(LIFE) else None
        if life and driver and life != driver:
            text = f"from {driver.removeprefix(LIFE)[:8]} to {life.removeprefix(LIFE)[:8]}"
            found.append(Mark(kind="takeover", at=event.recorded_at, text=text))
        driver = life or driver
        mark = _mark(event)
        if mark is not None:
            found.append(mark)
        _tool(event, tools, found)
    open_ones = sorted(tools.values(), key=lambda mark: mark.at)
    return sorted([*found, *open_ones], key=lambda mark: mark.at)


def _mark(event: Told) -> Mark | None:
    detail = event.detail or {}
    if event.kind == EventKind.looked:
        first, last = detail.get("first"), detail.get("last")
        if first and last:
            at, until = datetime.fromisoformat(first), datetime.fromisoformat(last)
            return Mark(kind="looks", at=at, until=until, count=int(detail.get("count", 1)))
    if event.kind == EventKind.observed and event.source == Source.poll:
        return Mark(kind="looks", at=event.recorded_at)
    kind = MARKED.get(event.kind)
    if kind is None:
        return None
    text = str(detail.get("type") or detail.get("why") or detail.get("cause") or "")
    return Mark(kind=kind, at=event.recorded_at, text=text)


def _tool(event: Told, tools: dict[Any, Mark], found: list[Mark]) -> None:
    """A call is a stretch from its start to its end."""
    if event.kind not in TOOLS:
        return
    detail = event.detail or {}
    name = detail.get("call", detail.get("n"))
    if TOOLS[event.kind]:
        tools[name] = Mark(kind=TOOL, at=event.recorded_at, text=str(detail.get("tool") or ""))
        return
    begun = tools.pop(name, None)
    if begun is not None:
        until = max(begun.at, event.recorded_at)
        found.append(Mark(kind=TOOL, at=begun.at, until=until, text=begun.text))
