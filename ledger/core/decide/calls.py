"""Tool calls: requested, started, finished, submitted, confirmed. Each step is written first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ledger.core.alphabet import (
    Attention,
    CallState,
    Effects,
    EventKind,
    RemoteKind,
    Source,
)
from ledger.core.decide import approvals
from ledger.core.decide.call_record import call_event, hold
from ledger.core.decide.draft import Draft
from ledger.core.decide.effects import parameters, writes_detail
from ledger.core.decide.endings import open_remote
from ledger.core.families import FAMILIES
from ledger.core.hashing import call_key, canonical_json
from ledger.core.model import Remote, ToolCall
from ledger.core.outcome import (
    CallRequest,
    Failed,
    Observation,
    ToolDone,
    ToolNotStarted,
    performed,
)
from ledger.core.plan.calls import may_have_acted, repeatable
from ledger.core.steps import RESEND_SECONDS, Context
from ledger.errors import Sent


def identity(call: CallRequest) -> tuple[str, bytes]:
    """What tells one request for a call from another: its id and its arguments."""
    return call.call_id, arguments_hash(call.arguments)


def arguments_hash(arguments: bytes) -> bytes:
    """A digest of the arguments in one canonical spelling; of the bytes where they are not JSON."""
    import json

    try:
        spelling = canonical_json(json.loads(arguments))
    except (ValueError, RecursionError):
        spelling = arguments
    return hashlib.sha256(spelling).digest()


def submission_seen(draft: Draft, remote: Remote, seen: Observation) -> None:
    """A reading that no longer asks for these calls proves that their outputs were taken."""
    calls = draft.facts.open_calls(remote)
    sent = [call for call in calls if call.sent_at is not None and call.confirmed_at is None]
    # The submit's own reply proves nothing of what the next read will say.
    if not sent or draft.source == Source.submit:
        return
    asked = {identity(call) for call in seen.calls}
    if asked == {(call.call_id, call.arguments_hash) for call in calls}:
        return
    for call in sent:
        draft.set_call(
            call.n,
            state=CallState.confirmed,
            submitted_at=call.submitted_at or draft.now,
            confirmed_at=draft.now,
        )
    draft.event(
        EventKind.outputs_confirmed, remote=remote.n, detail={"calls": [c.call_id for c in sent]}
    )


def asked_anew(known: Sequence[ToolCall], now: datetime) -> bool:
    """Whether a request for the very calls that were answered is a new one.

    A read may come from a replica that is behind: until the answers were seen to be taken, and for
    a moment after, the same ids and arguments are an echo, to be neither run nor submitted again.
    """
    return all(
        call.confirmed_at is not None
        and (now - call.confirmed_at).total_seconds() >= RESEND_SECONDS
        for call in known
    )


def open_round(draft: Draft, n: int, seen: Observation, context: Context) -> None:
    """Take in the calls that upstream asks for, unless they are the ones already known."""
    remote = draft.remotes[n - 1]
    known = draft.facts.open_calls(remote)
    same = {identity(call) for call in seen.calls} == {
        (call.call_id, call.arguments_hash) for call in known
    }
    if same and known and not asked_anew(known, draft.now):
        return
    draft.set_remote(n, round=remote.round + 1)
    for request in seen.calls:
        _request(draft, draft.remotes[n - 1], request)
    for call in draft.facts.open_calls(draft.remotes[n - 1]):
        _answer_from_record(draft, call, context)
    approvals.require(draft, draft.remotes[n - 1], context)
    outputs_ready(draft, draft.remotes[n - 1])


def _request(draft: Draft, remote: Remote, request: CallRequest) -> None:
    digest = arguments_hash(request.arguments)
    occurrence = 1 + sum(
        1
        for call in draft.calls
        if (call.attempt, call.tool, call.arguments_hash) == (remote.attempt, request.tool, digest)
    )
    arguments = draft.keep(request.arguments)
    call = ToolCall(
        n=len(draft.calls) + 1,
        attempt=remote.attempt,
        remote=remote.n,
        round=remote.round,
        call_id=request.call_id,
        tool=request.tool,
        arguments=arguments,
        arguments_hash=digest,
        key=call_key(
            draft.run.origin_ledger, draft.run.origin_run, request.tool, digest, occurrence
        ),
        occurrence=occurrence,
        requested_at=draft.now,
    )
    draft.calls.append(call)
    call_event(draft, EventKind.tool_requested, call, payloads=(("arguments", arguments),))


def _answer_from_record(draft: Draft, call: ToolCall, context: Context) -> None:
    """After a restart, a call with an effect that was already made is not made again."""
    spec = context.tools.get(call.tool)
    earlier = [
        other
        for other in draft.calls
        if other.key == call.key and other.n < call.n and may_have_acted(other)
    ]
    if not earlier or (spec and spec.idempotent) or draft.run.policy.effects == Effects.rerun:
        return
    done = [other for other in earlier if other.output is not None]
    if draft.run.policy.effects == Effects.reuse and done:
        recorded = done[-1]
        draft.set_call(
            call.n,
            state=CallState.finished,
            output=recorded.output,
            is_error=recorded.is_error,
            finished_at=draft.now,
        )
        call_event(
            draft,
            EventKind.tool_finished,
            call,
            source=Source.policy,
            detail={"reused": recorded.n},
        )
    else:
        hold(draft, call)


def arm_tools(draft: Draft, numbers: tuple[int, ...], context: Context) -> None:
    """The start of each call, committed before the function runs."""
    for n in numbers:
        call = draft.calls[n - 1]
        spec = context.tools[call.tool]
        # One whose first start may have left something behind does not become harmless later.
        fresh = call.started_at is None or call.transactional is True
        draft.set_call(
            n,
            state=CallState.started,
            started_at=call.started_at or draft.now,
            started_by=context.life,
            idempotent=spec.idempotent,
            transactional=spec.transactional and fresh,
            on_unknown_outcome=spec.on_unknown_outcome,
        )
        promise = {"transactional": True} if spec.transactional else {}
        call_event(
            draft,
            EventKind.tool_started,
            call,
            source=Source.recovery if call.state == CallState.started else Source.policy,
            detail={
                "idempotent": spec.idempotent,
                "again": call.started_at is not None,
                **promise,
            },
        )
    draft.calm(Attention.tool_unhandled)


def not_started(draft: Draft, outcome: ToolNotStarted) -> None:
    """Its life was stopped between the record and the call: free to be started, by anyone.

    One that may be repeated is started again anyway, and an earlier start of it may have run.
    """
    call = draft.calls[outcome.n - 1]
    if call.state != CallState.started or repeatable(call) or call.started_by != outcome.life:
        return
    free = draft.set_call(call.n, state=CallState.requested, held=False)
    if not call.reruns:
        free = draft.set_call(call.n, idempotent=None, started_at=None, started_by=None)
    call_event(draft, EventKind.tool_not_started, free, source=Source.policy)
    draft.calm(Attention.unknown_outcome)


def tool_done(
    draft: Draft, outcome: ToolDone, *, detail: Mapping[str, object] | None = None, **event: Any
) -> None:
    """Record an output; the last one of a round makes the next submission due."""
    call = draft.calls[outcome.n - 1]
    if call.output is not None:
        return
    if outcome.writes and outcome.rows is None:
        if draft.run.final or call.attempt != draft.attempt.number:
            outcome = performed(outcome, "its attempt had ended")
        draft.writes = outcome.writes if outcome.rows is None else ()
    output = draft.keep(outcome.output, "text/plain")
    said = {"is_error": outcome.is_error, **(detail or {})}
    payloads: tuple[tuple[str, int], ...] = (("output", output),)
    if outcome.writes:
        said |= {"idempotent": call.idempotent is True, **writes_detail(outcome)}
        payloads += (("parameters", draft.keep(parameters(outcome.writes))),)
    done = draft.set_call(
        call.n,
        state=CallState.finished,
        output=output,
        is_error=outcome.is_error,
        held=False,
        finished_at=draft.now,
    )
    event.setdefault("source", Source.policy)
    call_event(
        draft,
        EventKind.tool_finished,
        done,
        payloads=payloads,
        detail=said,
        **event,
    )
    outputs_ready(draft, draft.remotes[call.remote - 1])


def outputs_ready(draft: Draft, remote: Remote) -> None:
    """Once all calls of the round have an output: nothing waits for a person any more, and a
    chained protocol intends its next remote."""
    calls = draft.facts.open_calls(remote)
    if not calls or any(call.output is None for call in calls):
        return
    draft.calm(Attention.tool_unhandled, Attention.unknown_outcome, *approvals.WORDS)
    current = draft.facts.current
    live = not draft.run.final and current is not None and current.n == remote.n
    if live and FAMILIES[draft.run.provider].chained:
        open_remote(draft, RemoteKind.response, previous=remote.n, parent="")


def arm_submit(draft: Draft, n: int, numbers: tuple[int, ...]) -> None:
    """Freeze the set of outputs, committed before they are sent."""
    again = any(draft.calls[number - 1].sent_at is not None for number in numbers)
    for number in numbers:
        draft.set_call(number, sent_at=draft.now)
    draft.event(
        EventKind.outputs_sending,
        source=Source.submit,
        remote=n,
        detail={"calls": list(numbers), "again": again},
    )


def submitted(draft: Draft, remote: Remote) -> None:
    """Upstream took the outputs."""
    calls = [call for call in draft.facts.open_calls(remote) if call.state == CallState.finished]
    for call in calls:
        draft.set_call(call.n, state=CallState.submitted, submitted_at=draft.now)
    if calls:
        draft.event(
            EventKind.outputs_submitted,
            source=Source.submit,
            remote=remote.n,
            detail={"calls": [call.n for call in calls]},
        )


def submit_failed(draft: Draft, remote: Remote, outcome: Failed, fields: dict[str, Any]) -> None:
    """Not sent: free to be sent again. Anything else: only a read can tell."""
    paused = outcome.kind.sent == Sent.refused and outcome.kind.pause != outcome.kind.pause.none
    if outcome.kind.sent == Sent.not_sent or paused:
        for call in draft.facts.open_calls(remote):
            if call.state == CallState.finished:
                draft.set_call(call.n, sent_at=None)
    draft.event(EventKind.outputs_unclear, source=Source.submit, remote=remote.n, **fields)


def link_confirmed(draft: Draft, remote: Remote) -> None:
    """A chained create that upstream took has carried the outputs of the link before it."""
    if remote.previous is None:
        return
    for call in draft.calls:
        if call.remote == remote.previous and call.confirmed_at is None and call.output is not None:
            draft.set_call(
                call.n,
                state=CallState.confirmed,
                sent_at=call.sent_at or remote.sent_at,
                submitted_at=draft.now,
                confirmed_at=draft.now,
            )
