"""What people do to runs: the same drafts, with their name in the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from ledger.core.alphabet import (
    Attention,
    CallState,
    Effects,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
)
from ledger.core.decide import calls, finish
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import effects_started, end, restart
from ledger.core.lifecycle import possible_triggers
from ledger.core.model import ADOPTED, Change, Facts, Run
from ledger.core.outcome import ToolDone
from ledger.core.pacing import Look
from ledger.core.steps import ASIDE, RECHECK_SECONDS, Context
from ledger.errors import InvalidInput, NotAllowed

TEXT_MAX: Final = 2_000

Command = Callable[[Draft], None]


def carry_out(facts: Facts, command: Command, *, now: datetime, actor: str) -> Change:
    """The change that a command makes. Raises NotAllowed where the run does not permit it."""
    draft = Draft(replace(facts, evidence=()), now=now, actor=actor, source=Source.operator)
    command(draft)
    if draft.run.needs_attention == Attention.poison and not draft.run.final:
        return draft.change(due_at=draft.run.deadline_at, why=ASIDE)
    return finish(draft, Context(now=now, life=actor, tools={}, look=Look(next_at=now)))


def cancel(reason: str | None) -> Command:
    """Ask for the run to be called off. What was never sent is cancelled on the spot."""

    def command(draft: Draft) -> None:
        if draft.run.final:
            raise NotAllowed(f"run {draft.run.id} is {draft.run.state} already")
        if draft.run.cancel_requested_at is not None:
            return
        draft.set_run(cancel_requested_at=draft.now)
        draft.calm(Attention.poison)
        draft.event(EventKind.cancel_requested, detail=with_reason(reason))
        current = draft.facts.current
        if current is not None and current.state == RemoteState.intended:
            draft.set_remote(current.n, state=RemoteState.absent, settled=True)
            end(draft, State.cancelled, kind=EventKind.ended, remote=current.n)

    return command


def restart_run(effects: Effects | None, reason: str | None) -> Command:
    """Open the next attempt of a run that ended, with a fresh deadline."""

    def command(draft: Draft) -> None:
        run = draft.run
        chosen = effects or run.policy.effects
        if refusal := restart_refusal(draft, chosen):
            raise refusal
        deadline = draft.now + timedelta(seconds=run.policy.deadline_seconds)
        draft.set_run(deadline_at=deadline, policy=replace(run.policy, effects=chosen))
        detail = {"effects": str(chosen), **with_reason(reason)}
        restart(draft, cause="operator", source=Source.operator, detail=detail)

    return command


def restart_refusal(draft: Draft, effects: Effects) -> NotAllowed | None:
    """Why a person may not restart the run with these effects; None where nothing forbids it."""
    run = draft.run
    if "restart" not in possible_triggers(run.state):
        return NotAllowed(
            f"run {run.id} is {run.state} and cannot be restarted",
            hint="only incomplete, failed, expired and cancelled runs can",
        )
    if run.erased_at is not None:
        return _erased(run, "its request is gone")
    if draft.attempts[0].cause == ADOPTED:
        return NotAllowed(f"run {run.id} was adopted: its request is not known here")
    if run.policy.forget_request:
        return NotAllowed(
            f"run {run.id} was submitted with forget_request: its request is erased at its end",
            hint="submit the request again, under another key",
        )
    if effects == Effects.hold and effects_started(draft, draft.attempt):
        return NotAllowed(
            f"run {run.id} has started tools with effects, and its policy holds restarts",
            hint="runward restart RUN --effects reuse answers them from the record; "
            "--effects rerun runs them again",
        )
    return None


def _erased(run: Run, why: str) -> NotAllowed:
    when = f"{run.erased_at:%Y-%m-%d %H:%M} UTC"
    return NotAllowed(f"the contents of run {run.id} were erased {when}: {why}")


def answer_call(call_id: str, output: bytes, *, is_error: bool) -> Command:
    """Give the output of a call that waits for a person. A number names it too."""

    def command(draft: Draft) -> None:
        waiting = [call for call in draft.calls if call.output is None]
        named = [c for c in waiting if c.call_id == call_id or str(c.n) == call_id]
        if draft.run.state != State.requires_action or not named:
            known = ", ".join(call.call_id for call in waiting) or "none"
            raise NotAllowed(
                f"run {draft.run.id} ({draft.run.state}) has no open call {call_id!r}",
                hint=f"open calls: {known}",
            )
        if named[-1].state == CallState.started and not named[-1].held:
            raise NotAllowed(f"call {call_id!r} is being run by {named[-1].started_by}")
        done = ToolDone(n=named[-1].n, output=output, is_error=is_error)
        calls.tool_done(draft, done, source=Source.operator)
        draft.calm(Attention.poison)

    return command


def note(text: str) -> Command:
    """Write a remark into the history."""

    def command(draft: Draft) -> None:
        draft.event(EventKind.noted, detail={"text": bounded_text(text)})

    return command


def recheck() -> Command:
    """Read the run's newest object at once, also where its verdict is in and nothing is watched."""

    def command(draft: Draft) -> None:
        if draft.run.erased_at is not None:
            raise _erased(draft.run, "a look would fetch its contents again")
        draft.event(EventKind.noted, detail={"text": "recheck"})
        current = draft.facts.current
        readable = current is not None and current.remote_id and current.kind != RemoteKind.thread
        if draft.run.final and current is not None and readable:
            until = draft.after(RECHECK_SECONDS)
            draft.set_remote(
                current.n, state=RemoteState.confirmed, settled=False, settle_until=until
            )

    return command


def adopt_into(remote_id: str) -> Command:
    """Say which upstream object an unclear create made."""

    def command(draft: Draft) -> None:
        unclear = [
            remote
            for remote in draft.remotes
            if remote.state == RemoteState.unknown and remote.kind != RemoteKind.thread
        ]
        if not unclear:
            raise NotAllowed(f"run {draft.run.id} has no create of unknown outcome")
        remote = unclear[-1]
        draft.set_remote(
            remote.n,
            state=RemoteState.confirmed,
            remote_id=remote_id,
            settled=False,
            settle_until=None,
            changed_at=draft.now,
        )
        draft.event(EventKind.adopted, remote=remote.n, detail={"remote_id": remote_id})
        draft.calm(Attention.unknown_create)

    return command


def with_reason(reason: str | None) -> dict[str, Any]:
    """The detail of an event that a person may give a reason for."""
    return {"reason": bounded_text(reason)} if reason else {}


def bounded_text(text: str) -> str:
    """The text, unless it is too long to be kept. Raises InvalidInput."""
    if len(text) > TEXT_MAX:
        raise InvalidInput(f"the text is longer than {TEXT_MAX} characters")
    return text
