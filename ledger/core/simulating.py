"""Runs as they came, watched by another policy: its calls, how late it is, and how it crowds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ledger.core.alphabet import PacePolicy
from ledger.core.comparing import Experienced, Figures, Lasted, figures, paced
from ledger.core.pacing.experience import RunClass
from ledger.core.pacing.policies import Pace
from ledger.core.pacing.profile import ProfilePace
from ledger.core.pacing.rehearsal import looks
from ledger.core.pacing.worth import Share, worth_of
from ledger.core.record import record


@record
class Played:
    """What a policy would have cost. `busiest` is the number of calls in its busiest minute, and
    `over` the share of minutes, of those with any call, that had more than the limit."""

    worth: float | None
    figures: Figures
    busiest: int
    over: float | None


def play(
    objects: Experienced, begun: Sequence[float], pace: ProfilePace, *, limit: float | None
) -> Played:
    """Each object looked at from when it was `begun`, in seconds of any one clock; each create is a
    call of its minute too. `limit` is in calls a minute. Raises ValueError without objects."""
    worth = None
    if pace.policy == PacePolicy.learned:
        worth = worth_of(pace.aim, mix_of(objects, (max(begun) - min(begun)) / 60.0))
    minutes: Counter[int] = Counter()
    delays, calls = [], 0
    for (one, watched), start in zip(_watched(objects, pace, worth), begun, strict=True):
        ages = looks(watched, one.seconds)
        calls += len(ages)
        delays.append((ages[-1] - one.seconds, 1.0))
        minutes.update(int((start + age) // 60.0) for age in (0.0, *ages))
    above = sum(count > limit for count in minutes.values()) if limit else 0
    return Played(
        worth=worth,
        figures=figures(delays, runs=len(objects), calls=calls),
        busiest=max(minutes.values(), default=0),
        over=above / len(minutes) if limit and minutes else None,
    )


def _watched(
    objects: Experienced, pace: ProfilePace, worth: float | None
) -> Iterable[tuple[Lasted, Pace]]:
    """Each object with its pace: by what was known of its class when it began."""
    if worth is not None:
        return paced(objects, worth, pace.backoff)
    chosen: Pace = pace.fixed if pace.policy == PacePolicy.fixed else pace.backoff
    return [(one, chosen) for one, _ in objects]


def mix_of(objects: Experienced, minutes: float) -> list[Share]:
    """The classes by how often their runs came; each as it was known at its last run."""
    counts: Counter[RunClass] = Counter(one.of for one, _ in objects)
    last = {one.of: density for one, density in objects if density is not None}
    return [
        Share(density=last[of], runs_per_minute=count / max(minutes, 1.0))
        for of, count in counts.most_common()
        if of in last
    ]
