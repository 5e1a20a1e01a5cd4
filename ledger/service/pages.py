"""A run's history in pages, for who asks again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.service.views import event_view
from ledger.store.queries import events_of, one

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in order. `more` says whether there are others by now; `settled`, whether the
    run has its verdict and nothing of it is watched any more."""

    events: list[dict[str, Any]]
    more: bool
    settled: bool
    status: str


def read_page(ledger: Ledger, run_id: int, *, after: int, limit: int) -> Page:
    """Events of a run above number `after`, at most `limit`. Raises NotFound."""

    def ask(connection: Connection) -> Page:
        facts = one(connection, run_id)
        rows = events_of(connection, run_id, after=after, limit=limit)
        last = rows[-1].seq if rows else after
        return Page(
            events=[event_view(row) for row in rows],
            more=last < facts.run.event_seq,
            settled=facts.run.final and not facts.watched,
            status=str(facts.run.state),
        )

    return ledger.store.read(ask)
