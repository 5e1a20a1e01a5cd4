"""Runs under whose steps life after life has died: set aside until a person lets them go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ledger.core.alphabet import Attention, EventKind, Source
from ledger.core.decide import finish
from ledger.core.decide.draft import Draft
from ledger.core.decide.operator import Command, with_reason
from ledger.core.model import Change, Facts
from ledger.core.pacing import Look
from ledger.core.steps import ASIDE, Context
from ledger.errors import NotAllowed


def set_aside(facts: Facts, lives: Sequence[str], *, now: datetime, actor: str) -> Change:
    """Have no life drive the run any more. One with a verdict goes on: its tail has an end."""
    draft = Draft(facts, now=now, actor=actor, source=Source.recovery)
    if facts.run.final:
        return finish(draft, Context(now=now, life=actor, tools={}, look=Look(next_at=now)))
    draft.event(EventKind.set_aside, detail={"lives": list(lives)})
    draft.attend(Attention.poison)
    return draft.change(due_at=facts.run.deadline_at, why=ASIDE)


def release(reason: str | None) -> Command:
    """Let lives drive the run again."""

    def command(draft: Draft) -> None:
        if draft.run.needs_attention != Attention.poison:
            raise NotAllowed(f"run {draft.run.id} is not set aside")
        draft.set_run(needs_attention=None)
        detail = with_reason(reason) or None
        draft.event(EventKind.released, detail=detail)

    return command
