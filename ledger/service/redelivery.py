"""The outbox as people see it: what waits, what was given up, and sending it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.core.alphabet import OutboxState
from ledger.core.delivery import TEST_EVENT
from ledger.entropy import new_id
from ledger.errors import InvalidInput, NotFound
from ledger.providers.outbound import Poster
from ledger.service.auditing import note_action
from ledger.service.dates import moment
from ledger.service.handlers import PREFIX
from ledger.service.outbound import demand_endpoint, endpoint, send
from ledger.store import outbox

if TYPE_CHECKING:
    from ledger.providers.outbound import Answer
    from ledger.service.ledger import Ledger
    from ledger.service.outbound import Endpoint

IDS_NOTED = 100


def list_outbox(
    ledger: Ledger, *, state: OutboxState | None, name: str | None, limit: int
) -> list[dict[str, Any]]:
    """What was to be passed on, the newest first."""
    rows = ledger.store.read(lambda c: outbox.listed(c, state=state, endpoint=name, limit=limit))
    return [
        {
            "id": row.id,
            "endpoint": row.endpoint,
            "type": row.type,
            "run_id": row.run_id,
            "event_id": row.event_id,
            "state": str(row.state),
            "tries": row.tries,
            "created_at": row.created_at.isoformat(),
            "next_at": row.next_at.isoformat() if row.next_at else None,
            "taken_at": row.taken_at.isoformat() if row.taken_at else None,
            "last_status": row.last_status,
            "last_error": row.last_error,
        }
        for row in rows
    ]


def choose(ledger: Ledger, ids: Sequence[int], *, name: str | None, since: str | None) -> list[int]:
    """Which deliveries are meant: by number, or those of an endpoint since some time.

    Raises InvalidInput for neither or both, and for a handler's; ConfigurationError for an endpoint
    that is configured no more; NotFound.
    """
    if bool(ids) == (name is not None) or (name is None) != (since is None):
        raise InvalidInput(
            "name deliveries by number, or by --endpoint NAME together with --since",
            hint="runward outbound list",
        )
    if name is not None and since is not None:
        _judge(ledger, name, "what is named", "runward outbound list")
        begin = moment(since, utcnow())
        return ledger.store.read(lambda c: outbox.ids_since(c, name, begin))
    rows = ledger.store.read(lambda c: outbox.of_ids(c, ids))
    unknown = sorted(set(ids) - {row.id for row in rows})
    if unknown:
        raise NotFound(f"there is no delivery {unknown[0]}", hint="runward outbound list")
    for row in rows:
        hint = f"call it yourself: runward show {row.run_id} has what it was told"
        _judge(ledger, row.endpoint, f"delivery {row.id}", hint)
    return [row.id for row in rows]


def _judge(ledger: Ledger, name: str, what: str, hint: str) -> None:
    """Refuse what no daemon would ever send: it would wait for good."""
    if name.startswith(PREFIX):
        raise InvalidInput(f"{what} was for the function {name.removeprefix(PREFIX)}", hint=hint)
    demand_endpoint(ledger.settings, name)


def redeliver(ledger: Ledger, ids: Sequence[int]) -> int:
    """Have these sent again, from their first try and under their old ids; returns how many."""
    done = ledger.writer.run(lambda c: outbox.redeliver(c, ids, utcnow())).result()
    ledger.writer.poke()
    note_action(ledger, "outbound.redeliver", f"{done} deliveries", ids=list(ids)[:IDS_NOTED])
    return done


def try_endpoint(ledger: Ledger, name: str) -> dict[str, Any]:
    """Sign and send one message to an endpoint now. Raises ConfigurationError."""
    to, message = endpoint(ledger.settings, name), f"evt_test_{new_id()}"
    now = utcnow()
    body = json.dumps(
        {
            "type": TEST_EVENT,
            "id": message,
            "created_at": now.isoformat(),
            "data": {"ledger": ledger.store.ledger_id},
        },
        separators=(",", ":"),
    ).encode()
    answer = asyncio.run(_send(to, message, body))
    note_action(ledger, "outbound.test", name, status=answer.status)
    return {
        "endpoint": name,
        "url": to.url,
        "id": message,
        "taken": answer.taken,
        "status": answer.status,
        "error": answer.error,
    }


async def _send(to: Endpoint, message: str, body: bytes) -> Answer:
    poster = Poster()
    try:
        return await send(poster, to, message=message, body=body, now=utcnow())
    finally:
        await poster.close()
