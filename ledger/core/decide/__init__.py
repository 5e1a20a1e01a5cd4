"""Facts and an outcome in, a Change out. Pure, and total: every pair has a legal decision."""

from __future__ import annotations

from ledger.core.alphabet import (
    Attention,
    ErrorOrigin,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
)
from ledger.core.counting import counted
from ledger.core.decide import calls, creates, missing, observations, results, waiting
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import end, open_first, open_remote
from ledger.core.delivery import ANNOUNCED
from ledger.core.families import FAMILIES
from ledger.core.model import Change, Facts, Remote
from ledger.core.outcome import (
    Elapsed,
    Failed,
    Found,
    Harvested,
    Observation,
    Observed,
    Outcome,
    ToolDone,
    ToolNotStarted,
    load_outcome,
)
from ledger.core.pacing import trouble_is_news
from ledger.core.plan import harvestable, next_step
from ledger.core.plan.doubts import doubted
from ledger.core.plan.tails import cancel_given_up, cancel_overdue, rechecking, tail_overdue
from ledger.core.plan.urgency import expiring
from ledger.core.redaction import redact_text
from ledger.core.steps import (
    EXPIRY_GRACE_SECONDS,
    UNDER_WAY,
    Cancel,
    Context,
    Create,
    RunTools,
    Step,
    Submit,
    Wait,
)
from ledger.errors import ObjectHidden, ObjectMissing, Pause

MISSING_LOOKS = 3
"""So many reads in a row, and the settle window, must say 404 before a remote counts as lost."""

__all__ = ["Draft", "arm", "decide", "finish", "flush_looks"]


def arm(facts: Facts, step: Step, context: Context) -> Change:
    """The record that must be durable before `step` has its effect. Empty for steps without."""
    draft = _draft(facts, context, Source.policy)
    match step:
        case Create(n):
            creates.arm_create(draft, n)
        case RunTools(numbers):
            calls.arm_tools(draft, numbers, context)
        case Submit(n, numbers):
            calls.arm_submit(draft, n, numbers)
        case Cancel(n):
            sent = facts.remote(n).cancels
            draft.set_remote(n, cancel_sent_at=context.now, cancels=sent + 1)
            draft.event(EventKind.cancel_sent, remote=n, attempt=facts.remote(n).attempt)
        case _:
            pass
    doing = type(step).__name__.lower()
    # A create needs no mark: it is never simply sent again, so it cannot kill life after life.
    mark = UNDER_WAY if isinstance(step, RunTools | Submit | Cancel) else ""
    return counted(draft.change(due_at=context.now, why=doing + mark), context.spent)


def decide(
    facts: Facts, outcome: Outcome, context: Context, *, source: Source = Source.poll
) -> Change:
    """What `outcome` makes of `facts`."""
    draft = _draft(facts, context, source)
    _apply(draft, outcome, context)
    draft.note_looks(context.look)
    return counted(finish(draft, context), context.spent, context.call)


def flush_looks(facts: Facts, context: Context) -> Change:
    """Write down the looks and calls that stand in memory alone, without any other news."""
    draft = _draft(facts, context, Source.poll)
    draft.looked(context.look)
    return counted(finish(draft, context), context.spent, always=True)


def finish(draft: Draft, context: Context) -> Change:
    """Close a draft with the due time of what comes next."""
    step = next_step(draft.facts, context)
    if isinstance(step, Wait):
        return draft.change(due_at=step.until, why=step.why)
    return draft.change(due_at=context.now, why=type(step).__name__.lower())


def _draft(facts: Facts, context: Context, source: Source) -> Draft:
    return Draft(facts, now=context.now, actor=f"life:{context.life}", source=source)


def _apply(draft: Draft, outcome: Outcome, context: Context) -> None:
    match outcome:
        case Observed(n=n, observation=seen):
            _observed(draft, n, seen, context)
        case Found(n=n):
            if draft.remotes[n - 1].state == RemoteState.unknown:
                creates.found(draft, draft.remotes[n - 1], outcome)
            else:
                creates.found_more(draft, draft.remotes[n - 1], outcome)
        case Harvested(n=n):
            results.harvested(draft, draft.remotes[n - 1], outcome)
        case ToolDone():
            calls.tool_done(draft, outcome)
        case ToolNotStarted():
            calls.not_started(draft, outcome)
        case Failed(n=n):
            _failed(draft, draft.remotes[n - 1], outcome, context)
        case Elapsed():
            _elapsed(draft, context)


def _observed(draft: Draft, n: int, seen: Observation, context: Context) -> None:
    remote = draft.remotes[n - 1]
    created = remote.state != RemoteState.confirmed
    if creates.mistaken(draft, remote, seen):
        creates.not_ours(draft, remote, seen)
        return
    if draft.source == Source.submit:
        calls.submitted(draft, remote)
    observations.observed(draft, remote, seen, context)
    if created:
        calls.link_confirmed(draft, draft.remotes[n - 1])


def _failed(draft: Draft, remote: Remote, outcome: Failed, context: Context) -> None:
    if outcome.operation == "create":
        if remote.state in (RemoteState.sending, RemoteState.unknown):
            creates.create_failed(draft, remote, outcome)
        return
    if outcome.operation == "submit":
        calls.submit_failed(draft, remote, outcome, creates.failure(outcome))
        return
    if outcome.operation == "cancel" and outcome.kind.pause != Pause.none:
        # Most likely not taken: free to be sent again as soon as the account is.
        draft.set_remote(remote.n, cancel_sent_at=None, cancels=remote.cancels - 1)
    if trouble_is_news(context.look, context.now):
        fields = creates.failure(outcome)
        draft.event(EventKind.trouble, remote=remote.n, attempt=remote.attempt, **fields)
    if outcome.kind.pause == Pause.stopped and not draft.run.final:
        draft.attend(observations.blocked(outcome))
    if outcome.kind is ObjectHidden and not draft.run.final:
        draft.attend(Attention.blocked_hidden, message=redact_text(outcome.message)[:300])
    elif _due_soon(draft, remote, context):
        draft.attend(Attention.result_expiring, remote=remote.n)
    if outcome.operation == "cancel" and _in_vain(draft, outcome, context):
        # It stays wanted beside the verdict, for as long as a tail is watched.
        _cancel_unconfirmed(draft)
    elif outcome.kind is ObjectMissing and context.look.failures + 1 >= MISSING_LOOKS:
        missing.missing(draft, remote, outcome, context.look)


def _in_vain(draft: Draft, outcome: Failed, context: Context) -> bool:
    """Whether the cancel of the run has failed for all the time that it gets: it was taken back
    each time, and counts as never sent."""
    again = outcome.kind.pause == Pause.briefly and context.look.failures + 1 >= MISSING_LOOKS
    return again and cancel_overdue(draft.facts, context.now)


def _due_soon(draft: Draft, remote: Remote, context: Context) -> bool:
    """Whether a result that cannot be fetched is running out of time, and nobody was told."""
    current = draft.facts.current
    mine = current is not None and current.n == remote.n
    told = draft.run.needs_attention is not None
    return mine and not told and expiring(draft.facts, context.look, context.now)


def _elapsed(draft: Draft, context: Context) -> None:
    """No call was made: evidence, a doubt left by a dead life, or the clock decides."""
    if draft.before.evidence:
        _read_evidence(draft, context)
        return
    doubtful = [r for r in draft.remotes if r.state == RemoteState.sending]
    for remote in doubtful:
        creates.left_in_doubt(draft, remote)
    if doubtful:
        return
    if not draft.run.final and context.now >= draft.run.deadline_at:
        current = draft.facts.current
        if current is not None and doubted(current) and not current.settled:
            results.empty_after_all(draft, current)
            return
        _ledger_verdict(draft, State.expired, "deadline", "the run's own deadline has passed")
        return
    older = [r for r in draft.facts.unsettled() if _is_tail(draft, r)]
    for remote in older:
        _give_up(draft, remote, context)
    if not draft.run.final and not draft.events:
        _advance(draft, context)


def _is_tail(draft: Draft, remote: Remote) -> bool:
    current = draft.facts.current
    return draft.run.final or current is None or current.n != remote.n


def _read_evidence(draft: Draft, context: Context) -> None:
    for item in draft.before.evidence:
        if item.source in ANNOUNCED:
            observations.notified(draft, item)
            continue
        try:
            outcome = load_outcome(item.body)
        except ValueError:
            continue
        of_call = isinstance(outcome, ToolDone | ToolNotStarted)
        known = draft.calls if of_call else draft.remotes
        if not isinstance(outcome, Elapsed) and 1 <= outcome.n <= len(known):
            _apply(draft, outcome, context)
    observations.without_evidence(draft)


def _give_up(draft: Draft, remote: Remote, context: Context) -> None:
    """A remote that decides nothing any more and will not settle by itself."""
    overdue = tail_overdue(draft.facts, remote, context.now)
    if rechecking(remote):
        if remote.settle_until and context.now < remote.settle_until:
            return
        draft.set_remote(remote.n, settled=True, settle_until=None)
    elif remote.state == RemoteState.intended:
        draft.set_remote(remote.n, state=RemoteState.absent, settled=True)
    elif remote.state == RemoteState.unknown and not overdue:
        if remote.settle_until is None or context.now >= remote.settle_until:
            creates.window_over(draft, remote)
        return
    elif overdue:
        draft.set_remote(remote.n, settled=True)
        draft.set_run(needs_attention=draft.run.needs_attention or Attention.tail_unsettled)
    else:
        return
    draft.event(EventKind.settled, source=Source.policy, remote=remote.n, attempt=remote.attempt)


def _advance(draft: Draft, context: Context) -> None:
    """The current remote calls for a decision, not for a call."""
    current = draft.facts.current
    if current is None:
        open_first(draft)
        draft.event(EventKind.create_authorised, source=Source.policy)
        return
    if harvestable(draft.facts, current):
        return
    if current.state == RemoteState.unknown:
        if current.settle_until is None or context.now >= current.settle_until:
            creates.window_over(draft, current)
    elif draft.run.cancel_requested_at is not None:
        _cancel_here(draft, current, context)
    elif current.kind == RemoteKind.thread and current.settled:
        parent = current.remote_id or ""
        open_remote(draft, RemoteKind.thread_run, previous=None, parent=parent)
        draft.event(EventKind.create_authorised, source=Source.policy)
    elif draft.run.state == State.requires_action and draft.facts.open_calls(current):
        waiting.flag_waiting(draft, current, context)
        if not draft.events and FAMILIES[draft.run.provider].chained:
            calls.outputs_ready(draft, current)
    elif _past_expiry(current, context):
        _ledger_verdict(
            draft, State.expired, "expires_at", "upstream's expires_at has passed", restart=True
        )
    elif current.settled or current.state in (RemoteState.absent, RemoteState.lost):
        _ledger_verdict(draft, State.failed, "remote_over", "the remote ended without a verdict")


def _past_expiry(remote: Remote, context: Context) -> bool:
    expires = remote.expires_at
    return (
        expires is not None
        and not remote.settled
        and (context.now - expires).total_seconds() >= EXPIRY_GRACE_SECONDS
    )


def _cancel_here(draft: Draft, current: Remote, context: Context) -> None:
    """A cancel that needs no call, or one whose own time is up."""
    if current.state == RemoteState.intended:
        draft.set_remote(current.n, state=RemoteState.absent, settled=True)
        _ledger_verdict(draft, State.cancelled, None, None)
    elif current.settled:
        _ledger_verdict(draft, State.cancelled, None, None)
    elif cancel_given_up(draft.facts, current, context):
        _cancel_unconfirmed(draft)


def _cancel_unconfirmed(draft: Draft) -> None:
    _ledger_verdict(draft, State.cancelled, "cancel_unconfirmed", None)
    draft.attend(Attention.cancel_unconfirmed)


def _ledger_verdict(
    draft: Draft, target: State, code: str | None, message: str | None, *, restart: bool = False
) -> None:
    current = draft.facts.current
    end(
        draft,
        target,
        kind=EventKind.ended,
        source=Source.policy,
        remote=current.n if current else None,
        origin=ErrorOrigin.ledger if code else None,
        code=code,
        message=message,
        restartable=restart,
    )
