"""A completed object with nothing to show is read again for a while before it counts.

Seen in the open: a response whose output, and a thread whose messages, came a moment after the
status (openai-php#321, litellm#36275).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ledger.core.alphabet import State
from ledger.core.model import Facts, Remote
from ledger.core.plan.timing import later, when_due
from ledger.core.steps import Context, Step, Wait

DOUBT_SECONDS_MAX: Final = 15.0
FIRST_SECONDS: Final = 1.0


def doubted(remote: Remote) -> bool:
    """Whether the object says that it completed, and has not shown anything yet."""
    return remote.doubted_at is not None and remote.observed_status == State.completed


def doubt_until(facts: Facts, since: datetime) -> datetime:
    """Until when an empty result may still fill."""
    return later(since, min(facts.run.policy.settle_seconds, DOUBT_SECONDS_MAX))


def doubt_over(facts: Facts, remote: Remote, now: datetime) -> bool:
    """Whether an empty reading now is the last word."""
    return remote.doubted_at is not None and now >= doubt_until(facts, remote.doubted_at)


def read_again(step: Step, facts: Facts, remote: Remote, context: Context) -> Step:
    """Looks after 1, 2, 4, 8 s and at the end; a life that has not looked yet looks at once."""
    since, last = remote.doubted_at, context.look.last
    if context.look.failures:
        return when_due(step, "an empty result is read again", context)
    if since is None or last is None:
        return step
    passed = max((last - since).total_seconds(), 0.0)
    until = doubt_until(facts, since)
    due = later(since, max(FIRST_SECONDS, 2 * passed))
    due = min(due, until) if last < until else due
    return step if context.now >= due else Wait(due, "an empty result is read again")
