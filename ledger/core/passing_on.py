"""What is passed on of a run's history: the names, and which events they are drawn from.

| Name | The event behind it |
| --- | --- |
| run.submitted | the first event of a run, adopted ones included |
| run.started | upstream began to work on it, from queued; again in each attempt |
| run.requires_action | the model waits for tool outputs; once in each round |
| run.completed, run.incomplete, run.failed, run.expired, run.cancelled | a verdict |
| run.restarted | another attempt was opened, by policy or by a person |
| run.attention | a person should look at it; `why` says what for |

An attempt whose end a policy answers with a restart, in one transaction, is no verdict: of it only
run.restarted is told, with the attempt's error code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ledger.core.alphabet import EventKind, State, Trigger
from ledger.core.lifecycle import FINAL
from ledger.errors import ConfigurationError
from ledger.errors.ours import unknown_name


class NoticeType(StrEnum):
    """The names under which a run's events are passed on."""

    submitted = "run.submitted"
    started = "run.started"
    requires_action = "run.requires_action"
    completed = "run.completed"
    incomplete = "run.incomplete"
    failed = "run.failed"
    expired = "run.expired"
    cancelled = "run.cancelled"
    restarted = "run.restarted"
    attention = "run.attention"


VERDICTS: Final = frozenset(NoticeType(f"run.{state}") for state in FINAL)
"""The types that tell of a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that happened to a run. Told at least once, so `id` may come again; per run in the
    order of `seq`."""

    id: int
    """Of the event, in this ledger."""
    type: NoticeType
    run: int
    key: str
    state: State
    """The run's state right after it."""
    attempt: int
    seq: int
    at: datetime
    provider: str
    model: str | None = None
    error_code: str | None = None
    why: str | None = None
    """What a person should look at it for (run.attention)."""
    tags: Mapping[str, object]


def type_of(
    kind: EventKind,
    source: State | None,
    trigger: Trigger | None,
    target: State | None,
    *,
    restarted: bool,
) -> NoticeType | None:
    """Under which name an event is passed on, if it is. `restarted` says that a policy answered it
    with a restart in the same transaction."""
    if kind == EventKind.accepted:
        return NoticeType.submitted
    if kind == EventKind.attention:
        return NoticeType.attention
    if kind == EventKind.imported:
        # Long over when this ledger heard of it.
        return None
    if target is None:
        return None
    if trigger == Trigger.restart:
        return NoticeType.restarted
    if target in FINAL:
        return None if restarted else NoticeType(f"run.{target}")
    if target == State.in_progress and source == State.queued:
        return NoticeType.started
    return NoticeType.requires_action if target == State.requires_action else None


def judge_types(names: Iterable[str], place: str) -> frozenset[NoticeType]:
    """The types of these names. Raises ConfigurationError for one that there is not, or none."""
    known = [str(name) for name in NoticeType]
    found = set()
    for name in names:
        if name not in known:
            raise unknown_name(str(name), known, place, what="event")
        found.add(NoticeType(name))
    if not found:
        raise ConfigurationError(f"{place}: no event is named", hint=f"known: {', '.join(known)}")
    return frozenset(found)
