"""The report on one run: reading what it is made of."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.core.postmortem.one_run import changes, run_numbers, windows
from ledger.errors import InvalidInput
from ledger.service.dates import moment
from ledger.service.timelines import whole_history
from ledger.service.workers import program_version
from ledger.store.queries import one
from ledger.store.siblings import same_failure, same_hour

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger
    from ledger.service.part import RunName


def run_report(
    ledger: Ledger, run: RunName, *, as_of: datetime | str | None, redact: bool
) -> dict[str, Any]:
    """The numbers of one run. Raises NotFound, and InvalidInput for a time that cannot be meant."""
    now = utcnow()
    at = now if as_of is None else moment(as_of, now)
    if at > now:
        raise InvalidInput("as_of lies in the future", hint="a report tells what has happened")
    run_id = ledger.run_id(run)

    def read(connection: Connection) -> dict[str, Any]:
        facts = one(connection, run_id)
        if facts.run.created_at > at:
            raise InvalidInput(f"run {run_id} was created after as_of")
        over = [a for a in facts.attempts if a.ended_at is not None and a.ended_at <= at]
        marks = [a.fingerprint for a in over if a.fingerprint]
        spans = windows(facts)
        failure: tuple[int, list[int]] = (0, [])
        if marks:
            since, until = spans["day"]
            failure = same_failure(connection, facts.run, marks[-1], since, min(until, at))
        return run_numbers(
            facts,
            list(whole_history(connection, run_id)),
            as_of=at,
            version=program_version(),
            failure=failure,
            hour=same_hour(connection, facts.run, spans["hour"][0], min(spans["hour"][1], at)),
            redact=redact,
        )

    found = ledger.store.read(read)
    # What upstream's objects hold is nobody's name, and may name anybody.
    diffs = [] if redact else ledger.events(run_id, diff=True)
    return {**found, "changes": changes(diffs, found["events"])}
