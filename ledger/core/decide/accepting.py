"""What people do with a contradiction: take upstream's word as a new verdict, or keep ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ledger.core.alphabet import Attention, ErrorOrigin, EventKind, RemoteKind, Source, State
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import PASSING, end, restart
from ledger.core.decide.observations import STATES, meaning
from ledger.core.decide.operator import Command, bounded_text
from ledger.core.families import FAMILIES
from ledger.core.lifecycle import FINAL
from ledger.core.model import ACCEPTED, Facts, Remote
from ledger.core.outcome import Observation
from ledger.core.reading import read_object
from ledger.core.redaction import redact_text
from ledger.errors import NotAllowed

STANDING: Final = (*PASSING, Attention.unknown_create)
"""Flags of a live run that go by themselves, with what they speak of."""


def contradicting(facts: Facts) -> Remote | None:
    """The newest remote whose last words are not how its attempt ended."""
    for remote in reversed(facts.remotes):
        said = STATES.get(remote.observed_status or "")
        verdict = facts.attempts[remote.attempt - 1].outcome
        asked_for = said == State.cancelled and remote.cancel_sent_at is not None
        spoke = remote.observed and remote.kind != RemoteKind.thread
        if said in FINAL and verdict not in (None, said) and spoke and not asked_for:
            return remote
    return None


def accept(observed: int | None, body: bytes | None, reason: str) -> Command:
    """Take upstream's word for the verdict: a new attempt, whose end is what upstream said.

    `body` is the stored observation number `observed`. The ended attempt stays as it is.
    """

    def command(draft: Draft) -> None:
        remote = _acceptable(draft)
        if body is None or remote.observed != observed:
            raise NotAllowed(
                f"run {draft.run.id} has changed, or the observation was erased",
                hint=f"runward recheck {draft.run.id}, and try again",
            )
        seen = read_object(remote.kind, body)
        target = meaning(seen)
        if target is None or target not in FINAL or target == draft.run.state:
            raise NotAllowed(
                f"upstream says {seen.status} of run {draft.run.id}: that is no other verdict",
                hint=f"runward resolve {draft.run.id} --reason TEXT keeps the verdict",
            )
        _accept(draft, remote, seen, target, reason, body)

    return command


def _acceptable(draft: Draft) -> Remote:
    run, remote = draft.run, contradicting(draft.facts)
    if not run.final:
        raise NotAllowed(f"run {run.id} is {run.state}: it has no verdict yet")
    if run.state == State.completed:
        raise NotAllowed(
            f"run {run.id} completed, and what completed is done for good",
            hint=f"runward resolve {run.id} --reason TEXT keeps the verdict and clears the flag",
        )
    if remote is None:
        raise NotAllowed(
            f"upstream contradicts nothing about run {run.id}",
            hint=f"runward recheck {run.id} reads its object again",
        )
    return remote


def _accept(
    draft: Draft, remote: Remote, seen: Observation, target: State, reason: str, body: bytes
) -> None:
    detail = {"reason": bounded_text(reason), "upstream": str(target), "remote": remote.n}
    draft.set_remote(remote.n, settled=True, settle_until=None, doubted_at=None)
    draft.set_run(deadline_at=draft.now + timedelta(seconds=draft.run.policy.deadline_seconds))
    restart(draft, cause=ACCEPTED, source=Source.operator, detail=detail, accepts=remote.n)
    if target == State.completed and FAMILIES[draft.run.provider].harvested:
        # The verdict comes with the result, which takes a call of its own.
        return
    has_result = target in (State.completed, State.incomplete)
    # Kept once more: what an event refers to is hashed with it, and may be erased apart.
    kept = draft.keep(body)
    end(
        draft,
        target,
        kind=EventKind.ended,
        source=Source.operator,
        remote=remote.n,
        remote_status=seen.status,
        origin=None if target == State.completed else ErrorOrigin.remote,
        code=seen.error_code,
        message=redact_text(seen.error_message) if seen.error_message else None,
        last_error=seen.last_error,
        result=kept if has_result else None,
        restartable=False,
        payloads=(("body", kept),),
    )


def resolve(reason: str) -> Command:
    """A person has looked at what the run was flagged for; its verdict stays."""

    def command(draft: Draft) -> None:
        run = draft.run
        why = run.needs_attention
        if why is None:
            raise NotAllowed(f"run {run.id} is not flagged for attention")
        if why == Attention.poison or (not run.final and why in STANDING):
            raise NotAllowed(
                f"run {run.id} is flagged {why}, which goes only with its reason",
                hint=f"runward show {run.id} says what it waits for",
            )
        draft.set_run(needs_attention=None)
        draft.event(EventKind.resolved, detail={"why": str(why), "reason": bounded_text(reason)})

    return command
