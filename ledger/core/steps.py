"""What to do next with a run: a pure function of its facts, the time and what this life can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger.core.alphabet import CallState, RemoteKind, RemoteState, State
from ledger.core.families import FAMILIES
from ledger.core.model import Facts, Remote, ToolCall
from ledger.core.pacing import Look

CANCEL_SECONDS: Final = 120.0
"""A cancel that upstream accepts and does not finish is given up after this."""
CANCELS_MAX: Final = 4
"""So many times a cancel is sent for one remote."""
TAIL_SECONDS: Final = 3_600.0
"""A remote that lives on after its run's verdict is watched this long."""
UNCANCELLED_SECONDS: Final = 86_400.0
"""The same for one that no cancel could be sent for, as while its account is stopped."""
EXPIRY_GRACE_SECONDS: Final = 30.0
"""Upstream may report its own `expires_at` this late before the ledger derives it."""
RECHECK_SECONDS: Final = 3_600.0
"""A recheck that upstream does not answer is given up after this."""
RESEND_SECONDS: Final = 5.0
"""Outputs whose submission is in doubt are sent again after this, if upstream still asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What the core has to know of a tool."""

    name: str
    idempotent: bool
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who decides, when, and with which tools at hand."""

    now: datetime
    life: str
    tools: Mapping[str, ToolSpec]
    look: Look


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Create:
    """Send the create of remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Search:
    """Look for the marker of remote `n` upstream."""

    n: int


@dataclass(frozen=True, slots=True)
class Observe:
    """Read remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Harvest:
    """Fetch the final output of remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask upstream to cancel remote `n`."""

    n: int


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these calls."""

    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the recorded outputs of these calls to remote `n`."""

    n: int
    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Decide without a call: time or evidence is enough."""

    why: str


Step = Wait | Create | Search | Observe | Harvest | Cancel | RunTools | Submit | Settle


def next_step(facts: Facts, context: Context) -> Step:
    """The one thing to do now. Total: every combination of facts has an answer."""
    if facts.evidence:
        return Settle("evidence")
    if any(remote.state == RemoteState.sending for remote in facts.remotes):
        return Settle("create left in doubt")
    if facts.run.final:
        return _tail(facts, facts.unsettled(), context)
    if context.now >= facts.run.deadline_at:
        return Settle("deadline")
    return _live(facts, context)


def _live(facts: Facts, context: Context) -> Step:
    older = tuple(r for r in facts.unsettled() if r.attempt < facts.attempt.number)
    if older:
        return _no_later(_tail(facts, older, context), facts)
    current = facts.current
    if current is None:
        return Settle("open")
    step = _current(facts, current, context)
    extras = tuple(r for r in facts.unsettled() if r.n != current.n)
    if extras:
        tail = _tail(facts, extras, context)
        # A second object costs money: it is called off before the first is read again. After a
        # failed call the first has its turn.
        urgent = isinstance(tail, Cancel) and context.look.failures == 0
        idle = isinstance(step, Wait) and not (isinstance(tail, Wait) and tail.until >= step.until)
        step = tail if urgent or idle else step
    return _no_later(step, facts)


def _no_later(step: Step, facts: Facts) -> Step:
    """No wait outlasts the deadline."""
    if isinstance(step, Wait) and step.until > facts.run.deadline_at:
        return Wait(facts.run.deadline_at, "deadline")
    return step


def _when_due(step: Step, why: str, context: Context) -> Step:
    due = context.look.next_at
    return step if context.now >= due else Wait(due, why)


def _at_once(step: Step, why: str, context: Context) -> Step:
    """Effects do not wait for the polling interval, only for the backoff after a failure."""
    return _when_due(step, why, context) if context.look.failures else step


def _current(facts: Facts, remote: Remote, context: Context) -> Step:
    cancelling = facts.run.cancel_requested_at is not None
    match remote.state:
        case RemoteState.intended:
            if cancelling:
                return Settle("cancelled before it was sent")
            return _at_once(Create(remote.n), "create", context)
        case RemoteState.unknown:
            return _unknown(remote, context)
        case RemoteState.confirmed:
            return _confirmed(facts, remote, context)
        case RemoteState.sending | RemoteState.absent | RemoteState.lost:
            return Settle("remote is over")


def _unknown(remote: Remote, context: Context) -> Step:
    if remote.kind == RemoteKind.thread_run:
        return _when_due(Search(remote.n), "search for the create", context)
    until = remote.settle_until or context.now
    return Settle("settle window over") if context.now >= until else Wait(until, "settle window")


def harvestable(facts: Facts, remote: Remote) -> bool:
    """Whether the run is over upstream and only its final output has to be fetched."""
    family = FAMILIES[facts.run.provider]
    completed = remote.settled and remote.observed_status == State.completed
    return completed and family.harvested and remote.kind == family.kind


def _confirmed(facts: Facts, remote: Remote, context: Context) -> Step:
    if harvestable(facts, remote):
        # Before anything else: a cancel that came too late does not take the result away.
        return _at_once(Harvest(remote.n), "fetch the result", context)
    if facts.run.cancel_requested_at is not None:
        return _cancel(remote, context)
    over = remote.settled and not FAMILIES[facts.run.provider].chained
    if facts.run.state == State.requires_action and facts.open_calls(remote) and not over:
        return _tools(facts, remote, context)
    if remote.settled:
        return Settle("open" if remote.kind == RemoteKind.thread else "verdict")
    if remote.expires_at and context.now >= _later(remote.expires_at, EXPIRY_GRACE_SECONDS):
        return Settle("upstream's expires_at has passed")
    return _when_due(Observe(remote.n), "next look", context)


def _cancel(remote: Remote, context: Context) -> Step:
    if remote.settled:
        return Settle("nothing left to cancel")
    if cancel_due(remote, context.now):
        return _at_once(Cancel(remote.n), "cancel", context)
    if cancel_given_up(remote, context.now):
        return Settle("cancel not confirmed")
    return _when_due(Observe(remote.n), "waiting for the cancel", context)


def cancel_due(remote: Remote, now: datetime) -> bool:
    """Whether to send a cancel, or to send it once more: a crash may lie between its record and
    its POST, and a second one does no harm."""
    if remote.cancel_sent_at is None:
        return True
    taken = remote.observed_status == State.cancelling or remote.cancels >= CANCELS_MAX
    return not taken and now >= _later(remote.cancel_sent_at, RESEND_SECONDS * 2**remote.cancels)


def cancel_given_up(remote: Remote, now: datetime) -> bool:
    """Whether a cancel has had all the time that it gets."""
    sent = remote.cancel_sent_at
    done = remote.observed_status == State.cancelling or remote.cancels >= CANCELS_MAX
    return sent is not None and done and now >= _later(sent, CANCEL_SECONDS)


def _later(time: datetime, seconds: float) -> datetime:
    return time + timedelta(seconds=seconds)


def runnable(call: ToolCall, context: Context) -> bool:
    """Whether this life may start the call now."""
    spec = context.tools.get(call.tool)
    if spec is None or call.held:
        return False
    return call.state == CallState.requested or (
        call.state == CallState.started and (spec.idempotent or call.idempotent is True)
    )


def _tools(facts: Facts, remote: Remote, context: Context) -> Step:
    calls = facts.open_calls(remote)
    ready = tuple(call.n for call in calls if runnable(call, context))
    if ready:
        return RunTools(ready)
    if any(call.output is None for call in calls):
        return _waiting_for_outputs(facts, remote, context)
    if FAMILIES[facts.run.provider].chained:
        return Settle("open")
    return _submission(calls, remote, context)


def abandoned(call: ToolCall) -> bool:
    """Started by a life that never said how it ended, and not to be started again by itself.

    One that is idempotent waits for a life that has its tool.
    """
    return call.state == CallState.started and not call.held and call.idempotent is not True


def _waiting_for_outputs(facts: Facts, remote: Remote, context: Context) -> Step:
    waiting = [call for call in facts.open_calls(remote) if call.output is None]
    if any(abandoned(call) for call in waiting) or facts.run.needs_attention is None:
        return Settle("calls that nobody here may run")
    if remote.settled:
        return Wait(facts.run.deadline_at, "tool output")
    return _when_due(Observe(remote.n), "tool output", context)


def _submission(calls: Sequence[ToolCall], remote: Remote, context: Context) -> Step:
    numbers = tuple(call.n for call in calls)
    pending = [call for call in calls if call.state == CallState.finished]
    if not pending:
        return _when_due(Observe(remote.n), "next look", context)
    sent = [call.sent_at for call in pending if call.sent_at is not None]
    if not sent:
        return _at_once(Submit(remote.n, numbers), "submit outputs", context)
    read_since = context.look.last is not None and context.look.last > max(sent)
    if read_since and context.now >= _later(max(sent), RESEND_SECONDS):
        return Submit(remote.n, numbers)
    return _when_due(Observe(remote.n), "was the submit taken?", context)


def tail_overdue(facts: Facts, remote: Remote, now: datetime) -> bool:
    """Whether a remote that decides nothing any more has been watched long enough.

    One that holds up a restart is given up sooner; one that was found late, or after a long time
    without a life, is called off first, because it costs money.
    """
    ended = facts.attempts[remote.attempt - 1].ended_at or facts.run.finished_at or now
    if remote.state == RemoteState.confirmed and remote.cancel_sent_at is None:
        return now >= _later(ended, UNCANCELLED_SECONDS)
    since = max(ended, remote.cancel_sent_at or ended)
    return now >= _later(since, TAIL_SECONDS if facts.run.final else CANCEL_SECONDS)


def _tail(facts: Facts, remotes: Sequence[Remote], context: Context) -> Step:
    """One step towards settling remotes that no longer decide anything."""
    waits = [_tail_step(facts, remote, context) for remote in remotes]
    acts = [step for step in waits if not isinstance(step, Wait)]
    if acts:
        return acts[0]
    if not waits:
        return Settle("nothing left to watch")
    return min((step for step in waits if isinstance(step, Wait)), key=lambda wait: wait.until)


def rechecking(remote: Remote) -> bool:
    """Whether somebody asked for one more read of an object that had been settled."""
    return remote.state == RemoteState.confirmed and remote.settle_until is not None


def _recheck(remote: Remote, context: Context) -> Step:
    if remote.settle_until and context.now >= remote.settle_until:
        return Settle("recheck given up")
    return _when_due(Observe(remote.n), "recheck", context)


def _tail_step(facts: Facts, remote: Remote, context: Context) -> Step:
    if remote.state == RemoteState.intended:
        return Settle("never sent")
    if rechecking(remote):
        return _recheck(remote, context)
    if tail_overdue(facts, remote, context.now):
        return Settle("tail given up")
    if remote.state == RemoteState.unknown:
        return _unknown(remote, context)
    if cancel_due(remote, context.now):
        return _at_once(Cancel(remote.n), "cancel what is left", context)
    return _when_due(Observe(remote.n), "tail", context)
