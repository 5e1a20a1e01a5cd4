"""When a result may be believed: what is empty, what was fetched, what contradicts a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ledger.core.alphabet import Attention, EventKind, Source, State
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end
from ledger.core.lifecycle import trigger_towards
from ledger.core.model import Remote
from ledger.core.outcome import Harvested
from ledger.core.plan.doubts import doubt_over
from ledger.core.redaction import redact_bytes
from ledger.core.results import has_messages


def doubt(draft: Draft, remote: Remote, fields: dict[str, Any]) -> bool:
    """Begin to doubt an empty result, unless that has had its time; says whether it waits."""
    first = remote.doubted_at is None
    if not draft.run.policy.settle_seconds or doubt_over(draft.facts, remote, draft.now):
        return False
    trigger = trigger_towards(draft.run.state, State.in_progress)
    moved = draft.move(trigger) if trigger else {}
    draft.event(fields.pop("kind"), **fields, **moved)
    if first:
        draft.set_remote(remote.n, doubted_at=draft.now)
        draft.event(EventKind.doubted, remote=remote.n, attempt=remote.attempt)
    return True


def empty_after_all(draft: Draft, remote: Remote) -> None:
    """It completed, showed nothing, and time is up: the last reading is the verdict."""
    draft.set_remote(remote.n, settled=True)
    end(
        draft,
        State.completed,
        kind=EventKind.ended,
        source=Source.policy,
        remote=remote.n,
        result=remote.observed,
        restartable=False,
    )
    flag_empty(draft, remote)


def contradict(draft: Draft, remote: Remote, verdict: State, upstream: str) -> None:
    """Append that upstream says something else than the verdict, and flag the run for it."""
    # Only what this change keeps can be hashed with its event.
    body = remote.observed if remote.observed in {p.n for p in draft.payloads} else None
    draft.event(
        EventKind.contradiction,
        remote=remote.n,
        attempt=remote.attempt,
        payloads=(("body", body),) if body is not None else (),
        detail={"verdict": str(verdict), "upstream": upstream},
    )
    if draft.run.final or upstream == State.completed:
        draft.set_run(needs_attention=draft.run.needs_attention or Attention.contradiction)


def flag_empty(draft: Draft, remote: Remote) -> None:
    """Upstream says that it finished, and has nothing to show for it."""
    evidence = replace(remote, observed=draft.run.result)
    contradict(draft, evidence, State.completed, "completed without output")


def harvested(draft: Draft, remote: Remote, outcome: Harvested) -> None:
    """The final output has arrived: the verdict."""
    told = outcome.has_messages
    empty = not (has_messages(outcome.body) if told is None else told)
    current = draft.facts.current
    decides = not draft.run.final and current is not None and current.n == remote.n
    if decides and empty and draft.run.policy.settle_seconds > 0:
        if remote.doubted_at is None:
            draft.set_remote(remote.n, doubted_at=draft.now)
            draft.event(EventKind.doubted, remote=remote.n, attempt=remote.attempt)
            return
        if not doubt_over(draft.facts, remote, draft.now):
            return
    result = draft.keep(redact_bytes(outcome.body))
    if not decides:
        return
    end(
        draft,
        State.completed,
        kind=EventKind.result_stored,
        remote=remote.n,
        result=result,
        payloads=(("result", result),),
    )
    if empty:
        flag_empty(draft, remote)
