"""Another policy over the same runs: its calls, its delays, and how many calls meet in a minute."""

from __future__ import annotations

import pytest

from ledger.core.alphabet import PacePolicy
from ledger.core.comparing import Experienced, Lasted, experienced
from ledger.core.pacing.experience import class_of
from ledger.core.pacing.policies import Backoff, Fixed
from ledger.core.pacing.profile import ProfilePace
from ledger.core.pacing.worth import Aim
from ledger.core.simulating import play

OF = class_of("responses", "gpt-5", None, None)
TENS = ProfilePace(policy=PacePolicy.fixed, fixed=Fixed(seconds=10.0))


def runs(*durations: float) -> Experienced:
    return experienced(
        [Lasted(of=OF, place=(n, 1), seconds=seconds) for n, seconds in enumerate(durations)]
    )


def test_calls_delays_and_the_busiest_minute_are_counted() -> None:
    """Two runs begun at once and one an hour later, each looked at every ten seconds."""
    played = play(runs(25.0, 95.0, 5.0), [0.0, 0.0, 3_600.0], TENS, limit=8.0)

    assert pytest.approx((3 + 10 + 1) / 3) == played.figures.calls
    assert pytest.approx(5.0) == played.figures.mean
    # Two creates, three looks and five more; then five in the second minute, and a create and one.
    assert (10, pytest.approx(1 / 3)) == (played.busiest, played.over)
    assert play(runs(25.0), [0.0], TENS, limit=None).over is None


def test_each_policy_is_its_own() -> None:
    """The backoff with its figures, and the learned one at the price of its target."""
    durations = [100.0 + n % 7 for n in range(300)]
    begun = [60.0 * n for n in range(300)]
    backoff = ProfilePace(policy=PacePolicy.backoff, backoff=Backoff(cap_seconds=50.0))
    slow = play(runs(*durations), begun, backoff, limit=None)
    soon, late = (
        play(
            runs(*durations),
            begun,
            ProfilePace(aim=Aim(notice_within_seconds=seconds)),
            limit=None,
        )
        for seconds in (1.0, 5.0)
    )

    assert slow.worth is None
    assert soon.worth is not None
    assert late.worth is not None
    assert soon.worth > late.worth
    assert soon.figures.calls > late.figures.calls
    assert soon.figures.p50 < slow.figures.p50
