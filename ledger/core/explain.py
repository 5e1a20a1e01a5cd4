"""Why a run stands where it stands: what happens next, when, and what it waits for. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from ledger.core.alphabet import Attention, CallState, RemoteKind, RemoteState, State
from ledger.core.following import Next, Owner, Surroundings, WaitingFor
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.pacing import Look
from ledger.core.pacing.policies import TAIL
from ledger.core.plan import next_step
from ledger.core.plan.approvals import lapses_at, pending
from ledger.core.plan.doubts import doubt_until, doubted
from ledger.core.plan.tails import ends_at
from ledger.core.plan.timing import later
from ledger.core.steps import (
    CANCEL_SECONDS,
    TAIL_SECONDS,
    UNCANCELLED_SECONDS,
    Context,
    Settle,
    ToolSpec,
    Wait,
)

PROBE: Final = "one probe a minute goes out"
DRIVE: Final = "nobody is at work on it: `runward daemon`, or `runward wait`, drives it"
INTERVENE: Final = "`runward tools list` shows the calls, `runward tools submit` answers one"

APPROVE: Final = (
    "it needs a person's word: `runward tools approve`, or `runward tools deny --reason TEXT`"
)


def explain(facts: Facts, around: Surroundings) -> Next:
    """What happens next with a run, and why not now."""
    if not facts.watched:
        return Next(step="none", why="it is settled: nothing more happens")
    return (
        _set_aside(facts)
        or _nobody(facts, around)
        or _blocked(facts, around)
        or (_tails(facts, around) if facts.run.final else _live(facts, around))
    )


def _live(facts: Facts, around: Surroundings) -> Next:
    current = facts.current
    return (
        _restart_behind_tail(facts, around)
        or (
            current
            and (
                _delayed(facts, current, around)
                or _unclear(facts, current)
                or _in_lane(facts, current, around)
                or _doubting(facts, current, around)
                or _waiting_for_calls(facts, current, around)
                or _cancelling(facts, current, around)
            )
        )
        or _otherwise(facts, around)
    )


def step_name(facts: Facts, now: datetime) -> str:
    """The name of the step that is due, if nothing has to be waited for."""
    specs = {
        call.tool: ToolSpec(name=call.tool, idempotent=False, timeout_seconds=0)
        for call in facts.calls
    }
    step = next_step(facts, Context(now=now, life="", tools=specs, look=Look(next_at=now)))
    if isinstance(step, Wait):
        return "wait"
    return "decide" if isinstance(step, Settle) else type(step).__name__.lower()


def _set_aside(facts: Facts) -> Next | None:
    if facts.run.needs_attention != Attention.poison or facts.run.final:
        return None
    return Next(
        step="decide",
        why="set aside, since lives died driving it: `runward release` lets it go on, `runward "
        "cancel` ends it",
        waiting_for=WaitingFor.person,
        since=facts.attempt.opened_at,
        until=facts.run.deadline_at,
    )


def _nobody(facts: Facts, around: Surroundings) -> Next | None:
    owner = around.owner
    if owner is not None and owner.alive:
        return None
    step = step_name(facts, around.now)
    if around.driven:
        why = "a life takes it at its next sweep, within seconds"
        return Next(
            step=step, why=why, waiting_for=WaitingFor.life, since=_alone_since(facts, owner)
        )
    return Next(
        step=step,
        why=DRIVE,
        waiting_for=WaitingFor.life,
        since=_alone_since(facts, owner),
        until=None if facts.run.final else facts.run.deadline_at,
    )


def _alone_since(facts: Facts, owner: Owner | None) -> datetime:
    return owner.heartbeat_at if owner else facts.attempt.opened_at


def _blocked(facts: Facts, around: Surroundings) -> Next | None:
    flag = facts.run.needs_attention
    if around.stopped is None and flag == Attention.blocked_hidden:
        why = f"{flag}: upstream answers 404, and the key may be of another project"
        return replace(_otherwise(facts, around), why=why, waiting_for=WaitingFor.account)
    if around.stopped is None:
        return None
    said = str(flag) if flag and flag.startswith("blocked") else f"blocked: {around.stopped}"
    return Next(
        step=step_name(facts, around.now),
        why=f"{said}; {PROBE}",
        at=later(around.now, 60),
        waiting_for=WaitingFor.account,
        since=around.stopped_at,
        until=None if facts.run.final else ends_at(facts, around.now),
    )


def _tails(facts: Facts, around: Surroundings) -> Next:
    """The verdict stands, and what the run left upstream is still watched."""
    remotes = facts.unsettled()
    first = remotes[0]
    more = f", and {len(remotes) - 1} more" if remotes[1:] else ""
    since = facts.run.finished_at or around.now
    limit = TAIL_SECONDS if first.cancel_sent_at else UNCANCELLED_SECONDS
    until = first.settle_until or later(max(since, first.cancel_sent_at or since), limit)
    return Next(
        step=step_name(facts, around.now),
        why=f"the verdict stands; {_named(first)}{more} is watched until it is over upstream",
        at=_next_look(first, around),
        waiting_for=WaitingFor.tail,
        since=since,
        until=until,
    )


def _restart_behind_tail(facts: Facts, around: Surroundings) -> Next | None:
    older = [r for r in facts.unsettled() if r.attempt < facts.attempt.number]
    if not older:
        return None
    first = older[0]
    ended = facts.attempts[first.attempt - 1].ended_at or facts.attempt.opened_at
    return Next(
        step="create",
        why=f"attempt {facts.attempt.number} is sent once {_named(first)} of attempt "
        f"{first.attempt} is over",
        at=_next_look(first, around),
        waiting_for=WaitingFor.tail,
        since=facts.attempt.opened_at,
        until=later(max(ended, first.cancel_sent_at or ended), CANCEL_SECONDS),
    )


def _delayed(facts: Facts, current: Remote, around: Surroundings) -> Next | None:
    start = facts.attempt.not_before
    if start is None or start <= around.now or current.state != RemoteState.intended:
        return None
    return Next(
        step="create",
        why=f"attempt {facts.attempt.number} waits for the delay that its policy puts between "
        "attempts",
        at=start,
        waiting_for=WaitingFor.time,
        since=facts.attempt.opened_at,
        until=min(start, facts.run.deadline_at),
    )


def _unclear(facts: Facts, current: Remote) -> Next | None:
    """A create whose fate is not known, and what follows when it stays so."""
    if current.state not in (RemoteState.unknown, RemoteState.sending):
        return None
    recreate = facts.run.policy.recreate
    unclear = sum(1 for remote in facts.remotes if remote.state == RemoteState.unknown)
    if current.kind == RemoteKind.thread_run:
        follows = "the thread is searched for it; if it is not there it is sent again"
    elif facts.run.cancel_requested_at is not None:
        follows = "then the run ends cancelled"
    elif unclear <= recreate or current.kind == RemoteKind.thread:
        follows = f"then it is sent again (recreate={recreate}), which may pay once more"
    else:
        follows = "then the run fails; upstream may have done the work"
    return Next(
        step="search" if current.kind == RemoteKind.thread_run else "decide",
        why=f"the create of remote {current.n} was sent and no reply came: {follows}",
        at=current.settle_until,
        waiting_for=WaitingFor.settle_window,
        since=current.sent_at,
        until=current.settle_until,
    )


def _doubting(facts: Facts, current: Remote, around: Surroundings) -> Next | None:
    if current.doubted_at is None or not doubted(current):
        return None
    return Next(
        step="harvest" if current.settled else "observe",
        why=f"{_named(current)} completed with nothing to show; that counts once it has "
        "been read again",
        at=_next_look(current, around),
        waiting_for=WaitingFor.upstream,
        since=current.doubted_at,
        until=doubt_until(facts, current.doubted_at),
    )


def _in_lane(facts: Facts, current: Remote, around: Surroundings) -> Next | None:
    waits = current.state == RemoteState.intended and current.kind == RemoteKind.thread_run
    if not waits or around.ahead is None:
        return None
    return Next(
        step="create",
        why=f"thread {facts.run.serial_key} takes one run at a time: run {around.ahead} is first",
        waiting_for=WaitingFor.lane,
        since=facts.attempt.opened_at,
        until=facts.run.deadline_at,
    )


def _waiting_for_calls(facts: Facts, current: Remote, around: Surroundings) -> Next | None:
    if facts.run.state != State.requires_action or facts.run.cancel_requested_at is not None:
        return None
    waiting = [call for call in facts.open_calls(current) if call.output is None]
    if not waiting:
        return None
    held = [call for call in waiting if call.held]
    running = [call for call in waiting if call.state == CallState.started and not call.held]
    if held:
        since = held[0].started_at or held[0].requested_at
        why = f"held: nobody may run it by itself; {INTERVENE}"
        return _calls(facts, current, held, why, since)
    if running:
        by = f"being run by life {(running[0].started_by or '')[:8]}"
        return _calls(facts, current, running, by, running[0].started_at, WaitingFor.tool)
    since = waiting[0].requested_at
    if all(pending(call) for call in waiting):
        return _calls(facts, current, waiting, APPROVE, since)
    if facts.run.needs_attention == Attention.tool_unhandled:
        why = f"no life has it: `runward daemon --tools MODULE`; or {INTERVENE}"
        return _calls(facts, current, waiting, why, since, WaitingFor.tool)
    found = _calls(facts, current, waiting, "the next to be run", since, WaitingFor.tool)
    return Next(step=found.step, why=found.why, at=around.now, since=since)


def _calls(
    facts: Facts,
    remote: Remote,
    calls: list[ToolCall],
    why: str,
    since: datetime | None,
    whom: WaitingFor = WaitingFor.person,
) -> Next:
    names = ", ".join(sorted({call.tool for call in calls}))
    return Next(
        step="runtools",
        why=f"tool {names}: {why}",
        waiting_for=whom,
        since=since,
        until=lapses_at(facts, remote),
    )


def _cancelling(facts: Facts, current: Remote, around: Surroundings) -> Next | None:
    asked = facts.run.cancel_requested_at
    if asked is None or current.cancel_sent_at is None:
        return None
    return Next(
        step=step_name(facts, around.now),
        why=f"a cancel was sent {current.cancels} times and has not taken effect; any end may "
        "still win, and without one the ledger ends the run as cancelled",
        at=_next_look(current, around),
        waiting_for=WaitingFor.upstream,
        since=asked,
        until=later(current.cancel_sent_at, CANCEL_SECONDS),
    )


def _otherwise(facts: Facts, around: Surroundings) -> Next:
    """Nothing stands in the way: the step is taken when it is due."""
    step, current = step_name(facts, around.now), facts.current
    if current is None or step != "observe":
        return Next(step=step, why=f"it is due: {step}", at=around.now)
    return Next(
        step=step,
        why=f"{_named(current)} is {current.observed_status or 'not read yet'}; `runward limits "
        f"--explain {facts.run.id}` says when it is read again",
        waiting_for=WaitingFor.upstream,
        since=current.changed_at or current.sent_at,
        until=min(facts.run.deadline_at, current.expires_at or facts.run.deadline_at),
    )


def _named(remote: Remote) -> str:
    return f"{remote.kind} {remote.remote_id or f'of remote {remote.n}'}"


def _next_look(remote: Remote, around: Surroundings) -> datetime:
    """The latest time of the next look: what a life remembers of its looks is not in the rows."""
    age = (around.now - (remote.changed_at or around.now)).total_seconds()
    return later(around.now, TAIL.wait_seconds(age))
