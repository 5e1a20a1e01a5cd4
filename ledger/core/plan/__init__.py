"""What to do next with a run: a pure function of its facts, the time and what this life can do."""

from __future__ import annotations

from ledger.core.alphabet import RemoteKind, RemoteState, State
from ledger.core.families import FAMILIES
from ledger.core.model import Facts, Remote
from ledger.core.plan.calls import step_for_calls
from ledger.core.plan.doubts import doubted, read_again
from ledger.core.plan.tails import cancel_due, cancel_given_up, ends_at, tail_step
from ledger.core.plan.timing import at_once, later, resolve_unknown, when_due
from ledger.core.steps import (
    EXPIRY_GRACE_SECONDS,
    Cancel,
    Context,
    Create,
    Harvest,
    Observe,
    Settle,
    Step,
    Wait,
)


def next_step(facts: Facts, context: Context) -> Step:
    """The one thing to do now. Total: every combination of facts has an answer."""
    if facts.evidence:
        return Settle("evidence")
    if any(remote.state == RemoteState.sending for remote in facts.remotes):
        return Settle("create left in doubt")
    if facts.run.final:
        return tail_step(facts, facts.unsettled(), context)
    if context.now >= facts.run.deadline_at:
        return Settle("deadline")
    return _live(facts, context)


def _live(facts: Facts, context: Context) -> Step:
    unsettled, current = facts.unsettled(), facts.current
    alone = current is not None and unsettled == (current,)
    older = () if alone else tuple(r for r in unsettled if r.attempt < facts.attempt.number)
    if older:
        return _no_later(tail_step(facts, older, context), facts, context)
    if current is None:
        return Settle("open")
    step = _current(facts, current, context)
    extras = () if alone else tuple(r for r in unsettled if r.n != current.n)
    if extras:
        tail = tail_step(facts, extras, context)
        # A second object costs money: it is called off before the first is read again. After a
        # failed call the first has its turn.
        urgent = isinstance(tail, Cancel) and context.look.failures == 0
        idle = isinstance(step, Wait) and not (isinstance(tail, Wait) and tail.until >= step.until)
        step = tail if urgent or idle else step
    return _no_later(step, facts, context)


def _no_later(step: Step, facts: Facts, context: Context) -> Step:
    """No wait outlasts the deadline, of the run or of its cancel."""
    end = ends_at(facts, context.now)
    if isinstance(step, Wait) and step.until > end:
        return Wait(end, "deadline" if end == facts.run.deadline_at else step.why)
    return step


def _current(facts: Facts, remote: Remote, context: Context) -> Step:
    cancelling = facts.run.cancel_requested_at is not None
    match remote.state:
        case RemoteState.intended:
            if cancelling:
                return Settle("cancelled before it was sent")
            if facts.attempt.not_before and context.now < facts.attempt.not_before:
                return Wait(facts.attempt.not_before, "restart delay")
            return at_once(Create(remote.n), "create", context)
        case RemoteState.unknown:
            return resolve_unknown(remote, context)
        case RemoteState.confirmed:
            return _confirmed(facts, remote, context)
        case RemoteState.sending | RemoteState.absent | RemoteState.lost:
            return Settle("remote is over")


def harvestable(facts: Facts, remote: Remote) -> bool:
    """Whether the run is over upstream and only its final output has to be fetched."""
    family = FAMILIES[facts.run.provider]
    completed = remote.settled and remote.observed_status == State.completed
    return completed and family.harvested and remote.kind == family.kind


def _confirmed(facts: Facts, remote: Remote, context: Context) -> Step:
    if harvestable(facts, remote):
        # Before anything else: a cancel that came too late does not take the result away.
        if doubted(remote):
            return read_again(Harvest(remote.n), facts, remote, context)
        return at_once(Harvest(remote.n), "fetch the result", context)
    if doubted(remote) and not remote.settled:
        return read_again(Observe(remote.n), facts, remote, context)
    if facts.run.cancel_requested_at is not None:
        return _cancel(facts, remote, context)
    over = remote.settled and not FAMILIES[facts.run.provider].chained
    if facts.run.state == State.requires_action and facts.open_calls(remote) and not over:
        return step_for_calls(facts, remote, context)
    if remote.settled:
        return Settle("open" if remote.kind == RemoteKind.thread else "verdict")
    if remote.expires_at and context.now >= later(remote.expires_at, EXPIRY_GRACE_SECONDS):
        return Settle("upstream's expires_at has passed")
    return when_due(Observe(remote.n), "next look", context)


def _cancel(facts: Facts, remote: Remote, context: Context) -> Step:
    if remote.settled:
        return Settle("nothing left to cancel")
    if cancel_given_up(facts, remote, context):
        return Settle("cancel not confirmed")
    if cancel_due(remote, context.now):
        return at_once(Cancel(remote.n), "cancel", context)
    return when_due(Observe(remote.n), "waiting for the cancel", context)
