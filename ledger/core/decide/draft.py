"""A change in the making: the one mutable thing in the core, alive only inside one decision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ledger.core.alphabet import Attention, EventKind, Source, State, Trigger
from ledger.core.lifecycle import advance
from ledger.core.model import (
    Attempt,
    Change,
    EventDraft,
    Facts,
    Fingerprint,
    PayloadDraft,
    Remote,
    Run,
    ToolCall,
    Write,
)
from ledger.core.pacing import Look
from ledger.core.record import evolve


class Draft:
    """Collects what one decision changes. Numbers are allocated from the facts, so under the
    version check they are never given twice."""

    def __init__(self, facts: Facts, *, now: datetime, actor: str, source: Source) -> None:
        self.before = facts
        self.now, self.actor, self.source = now, actor, source
        self.run: Run = facts.run
        self.attempts: list[Attempt] = list(facts.attempts)
        self.remotes: list[Remote] = list(facts.remotes)
        self.calls: list[ToolCall] = list(facts.calls)
        self.events: list[EventDraft] = []
        self.payloads: list[PayloadDraft] = []
        self.passed: list[State] = []
        self.take_lane = False
        self.writes: tuple[Write, ...] = ()
        self.refusal: str | None = None
        self.fingerprints: list[Fingerprint] = []

    @property
    def facts(self) -> Facts:
        """The facts as they stand in this draft, with the evidence that it has not read."""
        return evolve(
            self.before,
            run=self.run,
            attempts=tuple(self.attempts),
            remotes=tuple(self.remotes),
            calls=tuple(self.calls),
            evidence=tuple(
                item for item in self.before.evidence if item.id > self.run.evidence_seen
            ),
        )

    @property
    def attempt(self) -> Attempt:
        """The newest attempt."""
        return self.attempts[-1]

    def set_run(self, **fields: Any) -> None:
        """Change the run."""
        self.run = evolve(self.run, **fields)

    def set_attempt(self, **fields: Any) -> None:
        """Change the newest attempt."""
        self.attempts[-1] = evolve(self.attempts[-1], **fields)

    def set_remote(self, n: int, **fields: Any) -> Remote:
        """Change remote `n`."""
        self.remotes[n - 1] = evolve(self.remotes[n - 1], **fields)
        return self.remotes[n - 1]

    def set_call(self, n: int, **fields: Any) -> ToolCall:
        """Change tool call `n`."""
        self.calls[n - 1] = evolve(self.calls[n - 1], **fields)
        return self.calls[n - 1]

    def keep(self, body: bytes, media: str = "application/json") -> int:
        """Keep bytes verbatim; returns their number within the run."""
        number = self.run.payload_seq + 1
        self.set_run(payload_seq=number)
        self.payloads.append(PayloadDraft(n=number, body=body, media=media))
        return number

    def move(self, trigger: Trigger) -> dict[str, Any]:
        """Pull a trigger; returns the event fields that record it."""
        source = self.run.state
        target = advance(source, trigger)
        if self.run.state != self.before.run.state:
            self.passed.append(self.run.state)
        fields: dict[str, Any] = {"state": target}
        if target == State.in_progress and self.run.started_at is None:
            fields["started_at"] = self.now
        self.set_run(**fields)
        return {"from_state": source, "trigger": trigger, "to_state": target}

    def event(
        self, kind: EventKind, *, detail: Mapping[str, object] | None = None, **fields: Any
    ) -> None:
        """Append one event."""
        fields.setdefault("attempt", self.attempt.number)
        fields.setdefault("source", self.source)
        self.events.append(
            EventDraft(kind=kind, actor=self.actor, recorded_at=self.now, detail=detail, **fields)
        )

    def attend(self, why: Attention, **fields: Any) -> None:
        """Flag the run for a person, once per reason."""
        if self.run.needs_attention != why:
            self.set_run(needs_attention=why)
            self.event(EventKind.attention, detail={"why": str(why), **fields})

    def calm(self, *reasons: Attention) -> None:
        """Take the flag back where its reason is gone."""
        if self.run.needs_attention in reasons:
            self.set_run(needs_attention=None)

    def note_looks(self, look: Look) -> None:
        """Write the looks that brought no news together with the event that ends their streak."""
        if self.events:
            self.looked(look)

    def looked(self, look: Look) -> None:
        """Write how often the life looked since the last event, and found nothing new."""
        if not (look.count and look.first and look.last):
            return
        detail = {
            "count": look.count,
            "first": look.first.isoformat(),
            "last": look.last.isoformat(),
        }
        event = EventDraft(
            kind=EventKind.looked,
            actor=self.actor,
            source=Source.poll,
            recorded_at=self.now,
            attempt=self.before.attempt.number,
            detail=detail,
        )
        self.events.insert(0, event)

    def after(self, seconds: float) -> datetime:
        """`seconds` from now."""
        return self.now + timedelta(seconds=seconds)

    def change(self, *, due_at: datetime, why: str) -> Change:
        """The finished change."""
        payloads, events = list(self.payloads), []
        for event in self.events:
            if event.detail is not None:
                number = self.run.payload_seq + 1
                self.set_run(payload_seq=number)
                payloads.append(PayloadDraft(n=number, body=_detail_bytes(event.detail)))
                events.append(evolve(event, payloads=(*event.payloads, ("detail", number))))
            else:
                events.append(event)
        return Change(
            before=self.before,
            after=self.facts,
            events=tuple(events),
            payloads=tuple(payloads),
            passed=tuple(self.passed),
            take_lane=self.take_lane,
            writes=self.writes,
            refusal=self.refusal,
            fingerprints=tuple(self.fingerprints),
            due_at=due_at,
            why=why,
        )


def _detail_bytes(detail: Mapping[str, object]) -> bytes:
    from ledger.core.hashing import canonical_json

    return canonical_json(dict(detail))
