"""How a run begins: from a request, or from an upstream object made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ledger.core.alphabet import EventKind, RemoteKind, RemoteState, Source
from ledger.core.decide.draft import Draft
from ledger.core.decide.endings import open_first, open_remote
from ledger.core.decide.past import past
from ledger.core.model import (
    ADOPTED,
    CHECK_PAYLOAD,
    REQUEST_CHECK,
    Attempt,
    Change,
    Facts,
    Run,
)
from ledger.core.outcome import Observation
from ledger.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """The address of an upstream object made elsewhere."""

    kind: RemoteKind
    remote_id: str
    parent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A judged request, ready to be written down."""

    key: str
    provider: str
    account_id: int
    request: bytes
    model: str | None = None
    assistant: str | None = None
    kind: str | None = None
    serial_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    actor: str = "caller"
    adopt: Adoption | None = None
    past: Observation | None = None
    """An object that was over before this ledger knew of it."""
    check: bytes = b""


def accept(new: NewRun, *, run_id: int, ledger: str, now: datetime) -> Change:
    """The first change of a run: its row, attempt 1, the intent of its first remote, one event."""
    began = new.past.created_at or now if new.past else now
    run = Run(
        id=run_id,
        key=new.key,
        origin_ledger=ledger,
        origin_run=run_id,
        provider=new.provider,
        account_id=new.account_id,
        model=new.model,
        assistant=new.assistant,
        kind=new.kind,
        serial_key=new.serial_key,
        tags=new.tags,
        policy=new.policy,
        deadline_at=now + timedelta(seconds=new.policy.deadline_seconds),
        created_at=began,
        imported_at=now if new.past else None,
    )
    cause = "submit" if new.adopt is None and new.past is None else ADOPTED
    first = Attempt(number=1, cause=cause, opened_at=began)
    nothing = Facts(run=run, attempts=(first,))
    draft = Draft(nothing, now=now, actor=new.actor, source=Source.operator)
    request = draft.keep(new.request)
    if new.past is not None:
        draft.event(EventKind.imported, payloads=(("request", request),))
        past(draft, new.past)
        return draft.change(due_at=now, why="imported")
    draft.event(EventKind.accepted, **_kept(draft, new, request))
    if new.adopt is None:
        open_first(draft)
    else:
        _adopt(draft, new.adopt)
    return draft.change(due_at=now, why="create" if new.adopt is None else "observe")


def _kept(draft: Draft, new: NewRun, request: int) -> dict[str, Any]:
    payloads: tuple[tuple[str, int], ...] = (("request", request),)
    if not new.policy.forget_request:
        return {"payloads": payloads}
    check = draft.keep(new.check, "application/octet-stream")
    assert check == CHECK_PAYLOAD
    return {"payloads": (*payloads, (REQUEST_CHECK, check)), "detail": {"forget_request": True}}


def _adopt(draft: Draft, address: Adoption) -> None:
    remote = open_remote(draft, address.kind, previous=None, parent=address.parent_id)
    draft.set_remote(
        remote.n, state=RemoteState.confirmed, remote_id=address.remote_id, changed_at=draft.now
    )
    draft.event(
        EventKind.adopted,
        remote=remote.n,
        detail={"remote_id": address.remote_id, "parent_id": address.parent_id},
    )
