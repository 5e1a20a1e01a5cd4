"""Do one step with a provider. The only place with network I/O, and it decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ledger.core.alphabet import RemoteKind, RemoteState, Source
from ledger.core.intent import Address, Intent, Output
from ledger.core.model import REQUEST_PAYLOAD, Facts, Remote
from ledger.core.outcome import Failed, Found, Harvested, Observed, Outcome
from ledger.core.pacing import Look
from ledger.core.steps import Cancel, Create, Harvest, Observe, Search, Step, Submit
from ledger.errors import ObjectHidden, UpstreamError
from ledger.providers.seam import Provider

ReadPayloads = Callable[[int, Sequence[int]], Mapping[int, bytes]]
"""(run, payload numbers) to bytes."""

SOURCES: Mapping[type, Source] = {Create: Source.create, Submit: Source.submit}


def source_of(step: Step, look: Look) -> Source:
    """How the fact that a step brings back reached the ledger."""
    return SOURCES.get(type(step), Source.webhook if look.prompted else Source.poll)


async def perform(
    provider: Provider, facts: Facts, step: Step, read: ReadPayloads
) -> tuple[Outcome, UpstreamError | None]:
    """Make the call of a step; a failure comes back as an outcome, and as the error itself."""
    n = getattr(step, "n", 0)
    try:
        return await _call(provider, facts, step, read), None
    except UpstreamError as error:
        return Failed.of(n, type(step).__name__.lower(), error), error


def hidden(n: int, operation: str, error: UpstreamError | None) -> tuple[Outcome, UpstreamError]:
    """A 404 that proves nothing: it may be the credential that upstream does not show it to."""
    told = ObjectHidden(
        f"{error.message if error else operation}; this credential may not see the object",
        reply=error.reply if error else None,
    )
    return Failed.of(n, operation, told), told


async def _call(provider: Provider, facts: Facts, step: Step, read: ReadPayloads) -> Outcome:
    match step:
        case Create(n):
            return Observed(n=n, observation=await provider.create(intent(facts, n, read)))
        case Observe(n):
            return Observed(n=n, observation=await provider.observe(_address(facts.remote(n))))
        case Cancel(n):
            return Observed(n=n, observation=await provider.cancel(_address(facts.remote(n))))
        case Search(n):
            return await _search(provider, facts, n)
        case Harvest(n):
            return Harvested(n=n, body=await provider.harvest(_address(facts.remote(n))))
        case Submit(n, numbers):
            outputs = _outputs(facts, numbers, read)
            seen = await provider.submit(_address(facts.remote(n)), outputs)
            return Observed(n=n, observation=seen)
        case _:
            raise TypeError(f"{type(step).__name__} makes no call")


async def _search(provider: Provider, facts: Facts, n: int) -> Found:
    """Objects that another remote of this run already is do not count."""
    found = await provider.search(_address(facts.remote(n)))
    known = {remote.remote_id for remote in facts.remotes if remote.remote_id}
    return Found(n=n, observations=tuple(seen for seen in found if seen.remote_id not in known))


def intent(facts: Facts, n: int, read: ReadPayloads) -> Intent:
    """What the create of remote `n` sends: the same for the same facts, however often asked."""
    remote = facts.remote(n)
    request: dict[str, Any] = json.loads(read(facts.run.id, [REQUEST_PAYLOAD])[REQUEST_PAYLOAD])
    previous = facts.remote(remote.previous) if remote.previous else None
    calls = [call.n for call in facts.calls if previous is not None and call.remote == previous.n]
    said = any(
        other.kind == RemoteKind.thread_run
        and other.n < n
        and other.state in (RemoteState.confirmed, RemoteState.lost)
        for other in facts.remotes
    )
    return Intent(
        address=_address(remote),
        request=request,
        previous_id=previous.remote_id if previous else None,
        outputs=_outputs(facts, calls, read),
        with_messages=not said,
    )


def _outputs(facts: Facts, numbers: Sequence[int], read: ReadPayloads) -> tuple[Output, ...]:
    calls = [facts.calls[number - 1] for number in numbers]
    kept = [call.output for call in calls if call.output is not None]
    bodies = read(facts.run.id, kept) if kept else {}
    return tuple(
        Output(call_id=call.call_id, body=bodies[call.output])
        for call in calls
        if call.output is not None
    )


def _address(remote: Remote) -> Address:
    return Address(
        n=remote.n,
        kind=remote.kind,
        marker=remote.marker,
        parent_id=remote.parent_id,
        remote_id=remote.remote_id or "",
    )
