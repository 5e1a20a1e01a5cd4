"""One run's history for people: as stretches of time, and as changes of what upstream said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ledger.core.run_diff import diff_runs, json_diff
from ledger.core.timeline import timeline
from ledger.service.views import event_view, json_of
from ledger.store.queries import PAGE_MAX, events_of, payloads_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.store.store import Store

BODY: Final = "body"


def whole_history(connection: Connection, run_id: int) -> Iterator[Any]:
    """All events of a run, read a page at a time."""
    after = 0
    while rows := events_of(connection, run_id, after=after):
        yield from rows
        after = rows[-1].seq
        if len(rows) < PAGE_MAX:
            return


def timeline_view(connection: Connection, run_id: int) -> dict[str, Any]:
    """A run's timeline as plain values."""
    return timeline(list(whole_history(connection, run_id))).view()


class Bodies:
    """What upstream said of each remote last, so that the next body can be told as a change."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._store, self._run_id = store, run_id
        self._last: dict[int | None, Any] = {}

    def views(self, rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The events, each with `diff`: a JSON Patch from the last body of its remote to this one;
        None for an event without a body, or with the first."""
        wanted = [n for row in rows for n in _bodies(row)]
        kept = self._store.read(lambda c: payloads_of(c, self._run_id, wanted)) if wanted else {}
        for row in rows:
            yield {**event_view(row), "diff": self._diff(row, kept)}

    def _diff(self, row: Any, kept: Any) -> list[dict[str, Any]] | None:
        found = None
        for n in _bodies(row):
            body = json_of(kept.get(n))
            if body is None:
                continue
            before = self._last.get(row.remote)
            found = json_diff(before, body) if before is not None else None
            self._last[row.remote] = body
        return found


def _bodies(row: Any) -> list[int]:
    pairs = json.loads(row.payloads) if isinstance(row.payloads, str) else row.payloads
    return [n for role, n in pairs or () if role == BODY]


def compared(
    shown: Iterable[dict[str, Any]], histories: Iterable[Iterable[dict[str, Any]]]
) -> dict[str, Any]:
    """Two runs side by side, from what `show` and `events` say of them."""
    one, other = shown
    first, second = (list(events) for events in histories)
    return diff_runs(one, other, (first, second))
