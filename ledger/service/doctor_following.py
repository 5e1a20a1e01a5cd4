"""What `doctor` asks of passing on: followers that fail or lag, deliveries that were given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ledger.clock import utcnow
from ledger.errors import ConfigurationError, DatabaseError
from ledger.service.outbound import endpoints
from ledger.service.tracing import demand_exporter, wanted
from ledger.store import following, outbox

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

GIVEN_UP_DAYS: Final = 7
Answer = tuple[str, bool | None, str, str]
"""Name, whether it is well, what it is, and what to do."""


def passing_on(ledger: Ledger) -> Iterator[Answer]:
    """Findings about what is passed on; none where nothing is."""
    for name in sorted(ledger.settings.outbound):
        yield _endpoint(ledger, name)
    if wanted():
        yield _traces()
    for row in ledger.store.read(following.followers):
        yield _follower(ledger, row.name)
    since = utcnow() - timedelta(days=GIVEN_UP_DAYS)
    for name, count in ledger.store.read(lambda c: outbox.given_up(c, since)).items():
        fix = f"runward outbound list --given-up --endpoint {name}"
        yield f"given up {name}", False, f"{count} in {GIVEN_UP_DAYS} days", fix


def _endpoint(ledger: Ledger, name: str) -> Answer:
    only = {name: ledger.settings.outbound[name]}
    try:
        (to,) = endpoints(ledger.settings.model_copy(update={"outbound": only}))
    except ConfigurationError as error:
        return f"outbound {name}", False, error.message, error.hint or ""
    return f"outbound {name}", True, f"{to.url}: {', '.join(sorted(to.types))}", ""


def _traces() -> Answer:
    try:
        demand_exporter()
    except ConfigurationError as error:
        return "traces", False, error.message, error.hint or ""
    return "traces", True, "exported as OTEL_EXPORTER_OTLP_ENDPOINT says", ""


def _follower(ledger: Ledger, name: str) -> Answer:
    cursor = ledger.store.read(lambda c: following.cursor_of(c, name, ""))
    if cursor is None:
        return f"follower {name}", None, "gone", ""
    place = cursor.place
    try:
        page = ledger.store.read(lambda c: following.page_after(c, place))
    except DatabaseError as error:
        return f"follower {name}", False, error.message, error.hint or ""
    behind = "at the end of the log"
    if page.notices:
        oldest = page.notices[0][1]
        behind = f"behind since {oldest.at.isoformat(timespec='seconds')} (run {oldest.run})"
    if page.blocked:
        behind += ", which a transaction hides that still runs"
    held = "followed" if not cursor.free else "no life at work follows it"
    if cursor.last_error is None:
        return f"follower {name}", None, f"{held}, {behind}", ""
    when = f", next {cursor.next_at.isoformat(timespec='seconds')}" if cursor.next_at else ""
    what = f"{behind}; {cursor.tries} tries{when}: {cursor.last_error}"
    return f"follower {name}", False, what, "the log of the daemon has the errors"
