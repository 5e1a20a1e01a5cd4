"""When to look at a run again: the one function behind which all policies stand."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ledger.core.model import Facts, Remote
from ledger.core.pacing.looks import HINT_SECONDS_MAX, Look, jittered
from ledger.core.pacing.policies import BACKOFF, TAIL, Fixed, Pace
from ledger.core.plan.urgency import fetch_by, in_time
from ledger.core.record import record

LEARNED: Final = "learned"
TOLD_SECONDS: Final = 30.0
"""So long after a delivery that showed nothing new yet, looks are as close as without webhooks."""
HINT_SECONDS_MIN: Final = 0.05
"""A hint of nothing must not become a loop without a pause."""
EXPIRED_SECONDS: Final = 1.0
"""So long after its `expires_at` an object is looked at, which should then have expired."""
DEADLINE_SECONDS: Final = 2.0
"""So long before the run's deadline it is looked at once more, or an answer would go to waste."""


@record
class Choice:
    """What the profile's policy says of a run's class, and how it is called; `covered`, if webhooks
    tell of the end, paces what is left to do beside them."""

    pace: Pace = BACKOFF
    name: str = "backoff"
    covered: Pace | None = None


DEFAULT: Final = Choice()


@record
class Sight:
    """A look at remote `n` that was just made. `spread` in [0, 1) is the jitter's random number."""

    n: int
    look: Look
    choice: Choice = DEFAULT
    hint_seconds: float | None = None
    spread: float = 0.5


class Planned(NamedTuple):
    """When the next look is, and why then."""

    at: datetime
    why: str


def next_look(facts: Facts, now: datetime, sight: Sight) -> Planned:
    """When to look again, and why. What ends has the last word over what saves calls."""
    paced = _paced(facts, now, sight)
    by = in_time(paced.at, now, fetch_by(facts, sight.look))
    if by < paced.at:
        paced = Planned(by, "before the result is dropped")
    return _before_the_end(facts, now, sight, paced)


def born_at(remote: Remote) -> datetime | None:
    """Since when the object has been at what it does now; None for one that was never sent."""
    if remote.round:
        return remote.changed_at
    return remote.sent_at or remote.remote_created_at or remote.changed_at


def _paced(facts: Facts, now: datetime, sight: Sight) -> Planned:
    """What the reply, the caller, or the policy wants."""
    hint = sight.hint_seconds
    if hint is not None and not math.isnan(hint):
        seconds = min(max(hint, HINT_SECONDS_MIN), HINT_SECONDS_MAX)
        return Planned(now + timedelta(seconds=seconds), "upstream's hint")
    pace, since, why = _policy(facts, now, sight)
    age = (now - since).total_seconds() if since else 0.0
    seconds = pace.wait_seconds(max(age, 0.0)) * jittered(sight.spread)
    return Planned(now + timedelta(seconds=seconds), why)


def _policy(facts: Facts, now: datetime, sight: Sight) -> tuple[Pace, datetime | None, str]:
    """Who paces, and since when its time counts."""
    run, look, remote = facts.run, sight.look, facts.remote(sight.n)
    if run.policy.poll_seconds is not None:
        return Fixed(seconds=run.policy.poll_seconds), None, "poll_seconds of the run"
    if run.final:
        return TAIL, remote.changed_at, "the tail of a run with a verdict"
    if run.cancel_requested_at is not None:
        return BACKOFF, remote.changed_at, "a cancel under way"
    if look.told is not None and (now - look.told).total_seconds() < TOLD_SECONDS:
        return BACKOFF, max(remote.changed_at or look.told, look.told), "a webhook that came early"
    choice = sight.choice
    if choice.covered is not None:
        return choice.covered, born_at(remote), "beside webhooks"
    since = born_at(remote) if choice.name == LEARNED else remote.changed_at
    return choice.pace, since, choice.name


def _before_the_end(facts: Facts, now: datetime, sight: Sight, paced: Planned) -> Planned:
    """Not behind what ends the wait: the object's expiry, the run's deadline."""
    if facts.run.final:
        return paced
    expires = facts.remote(sight.n).expires_at
    if expires is not None and now < expires:
        end = expires + timedelta(seconds=EXPIRED_SECONDS)
        paced = min(paced, Planned(end, "its expiry upstream"))
    last = facts.run.deadline_at - timedelta(seconds=DEADLINE_SECONDS)
    return min(paced, Planned(last, "the deadline")) if now < last else paced
