"""When the next looks at a run come, and why then: for `runward limits --explain`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.alphabet import RemoteState
from ledger.core.model import Facts, Remote
from ledger.core.pacing import Look
from ledger.core.pacing.experience import Known
from ledger.core.pacing.next_look import Choice, Sight, born_at, next_look
from ledger.providers import open_provider
from ledger.service.accounts import Accounts
from ledger.service.coverage import Coverage
from ledger.service.learning import Learning, class_of_run
from ledger.service.paces import paces_of

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

LOOKS: Final = 10


def next_looks(ledger: Ledger, facts: Facts, now: datetime) -> dict[str, Any]:
    """What a life that took this run up now, and saw nothing new from then on, would do.

    A hint in a reply still goes before it, and so does what waits for a call of its budget.
    """
    remote = facts.current
    if facts.run.final or remote is None or remote.state != RemoteState.confirmed:
        return {"run": facts.run.id, "status": str(facts.run.state), "looks": []}
    learning = _learning(ledger, facts, now)
    choice, known = learning.choice(facts, now), learning.known(facts, now)
    profile = learning.profile(facts)
    born = born_at(remote)
    return {
        "run": facts.run.id,
        "status": str(facts.run.state),
        "object": remote.remote_id,
        "age_seconds": round((now - born).total_seconds(), 3) if born else None,
        "profile": profile,
        "policy": choice.name,
        "class": _class(known) if known else None,
        "worth": round(learning.worth(profile), 4),
        "webhooks_missed_share": round(learning.misses(profile), 4) if choice.covered else None,
        "deadline_at": facts.run.deadline_at.isoformat(),
        "looks": _looks(facts, remote, choice, known, now),
    }


def _learning(ledger: Ledger, facts: Facts, now: datetime) -> Learning:
    """What a life knows that has just begun."""
    accounts = Accounts(ledger.credentials, open_provider)
    accounts.learn(ledger.store)
    covered = ledger.settings.covered()
    coverage = Coverage(ledger.store, ledger.writer, covered, accounts.records)
    coverage.read_gaps()
    made = Learning(ledger.store, paces_of(ledger.settings), accounts.records, coverage, utcnow)
    made.take(made.read(now, frozenset([class_of_run(facts)])))
    return made


def _class(known: Known) -> dict[str, Any]:
    """What is known of the class, in words: the narrowest that has runs enough."""
    return {
        "of": [word for word in known.of if word],
        "runs": known.runs,
        "p50_seconds": round(known.density.quantile(0.5), 1),
        "p90_seconds": round(known.density.quantile(0.9), 1),
    }


def _looks(
    facts: Facts, remote: Remote, choice: Choice, known: Known | None, now: datetime
) -> list[dict[str, Any]]:
    """The next looks, each with the chance that the run is over by then."""
    look, at, found = Look(next_at=now, seen=remote.observed_at), now, []
    born = born_at(remote) or now
    curve = known.density.curve if known else None
    alive = 1.0 - curve((now - born).total_seconds())[0] if curve else 1.0
    for _ in range(LOOKS):
        planned = next_look(facts, at, Sight(n=remote.n, look=look, choice=choice))
        at = planned.at
        age = max((at - born).total_seconds(), 0.0)
        over = 1.0 - (1.0 - curve(age)[0]) / alive if curve and alive > 0.0 else None
        found.append(
            {
                "at": at.isoformat(),
                "in_seconds": round((at - now).total_seconds(), 3),
                "over_by_then": None if over is None else round(over, 4),
                "why": planned.why,
            }
        )
        if at >= facts.run.deadline_at:
            break
    return found
