"""What a restart by hand would do, without doing it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ledger.core.alphabet import Effects, Source, State
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import last_link, tokens_used
from ledger.core.decide.operator import restart_refusal
from ledger.core.model import Facts, ToolCall
from ledger.core.plan.calls import may_have_acted
from ledger.core.plan.timing import later


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierCall:
    """A tool with effects that had been called, and what each choice would make of it."""

    n: int
    attempt: int
    tool: str
    key: str
    called_at: datetime
    outcome_known: bool
    consequences: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPlan:
    """What `restart` would do with one run as it is now."""

    run_id: int
    state: State
    allowed: bool
    refusal: str | None
    effects: Effects
    attempts: int
    tokens: int
    calls: tuple[EarlierCall, ...]
    continues_from: int | None
    """The remote whose answer the next attempt continues, in a chain of responses."""
    continues_id: str | None
    waits_for: tuple[str, ...]
    """Upstream objects that have to be over before the next attempt is sent."""
    deadline_at: datetime


def plan_restart(facts: Facts, effects: Effects | None, *, now: datetime) -> RestartPlan:
    """What a restart with these effects (the policy's, if None) would do."""
    draft = Draft(facts, now=now, actor="", source=Source.operator)
    chosen = effects or facts.run.policy.effects
    refusal = restart_refusal(draft, chosen)
    base = last_link(draft, facts.attempt)
    return RestartPlan(
        run_id=facts.run.id,
        state=facts.run.state,
        allowed=refusal is None,
        refusal=refusal.message if refusal else None,
        effects=chosen,
        attempts=facts.run.attempts,
        tokens=tokens_used(facts.run),
        calls=tuple(_earlier(call) for call in facts.calls if may_have_acted(call)),
        continues_from=base,
        continues_id=facts.remote(base).remote_id if base else None,
        waits_for=tuple(r.remote_id or f"remote {r.n}" for r in facts.unsettled()),
        deadline_at=later(now, facts.run.policy.deadline_seconds),
    )


def _earlier(call: ToolCall) -> EarlierCall:
    assert call.started_at is not None
    known = call.output is not None
    return EarlierCall(
        n=call.n,
        attempt=call.attempt,
        tool=call.tool,
        key=call.key,
        called_at=call.started_at,
        outcome_known=known,
        consequences={
            str(Effects.hold): "forbids the restart",
            str(Effects.reuse): "answered from the record if asked for again"
            if known
            else "held for a person if asked for again",
            str(Effects.rerun): "run again under the same key if asked for again",
        },
    )
