"""The look that found nothing new, which nearly all looks do: told without making a decision."""

from __future__ import annotations

from datetime import datetime

from ledger.core.alphabet import RemoteKind, RemoteState, Source
from ledger.core.decide.observations import BLOCKED, is_news
from ledger.core.model import Facts
from ledger.core.outcome import Observed, Outcome


def is_quiet(facts: Facts, outcome: Outcome, now: datetime, source: Source) -> bool:
    """Whether `decide` would write nothing. False also where that is not plain to see."""
    if not isinstance(outcome, Observed) or source == Source.submit:
        return False
    remote = facts.remotes[outcome.n - 1]
    if remote.state != RemoteState.confirmed or remote.kind == RemoteKind.thread:
        return False
    # What was only named so far is judged when it is seen first.
    if remote.observed is None or facts.run.needs_attention in BLOCKED:
        return False
    return not is_news(facts, remote, outcome.observation, now, source)
