"""Which pace a run is watched at: what this life knows of its class, and what its profile wants.

All that is known stands in the ledger and is read again every minute, so a restart forgets nothing
and several lives learn from each other; what this life sees itself it knows at once.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.clock import pause
from ledger.core.alphabet import PacePolicy
from ledger.core.delivery import missed_share
from ledger.core.model import Facts
from ledger.core.outcome import Observed, Outcome
from ledger.core.pacing.experience import Experience, Known, RunClass, class_of
from ledger.core.pacing.lasting import taught
from ledger.core.pacing.next_look import LEARNED, Choice
from ledger.core.pacing.policies import COVERED
from ledger.core.pacing.profile import USUAL, ProfilePace
from ledger.core.pacing.schedule import Schedule, schedule_of
from ledger.core.pacing.worth import Share, worth_of
from ledger.service.heart import unexpected
from ledger.service.threads import to_its_end
from ledger.store.durations import Spent, of_class, recent
from ledger.store.store import Store
from ledger.store.webhook_stats import receipts

if TYPE_CHECKING:
    from ledger.service.accounts import AccountRecord
    from ledger.service.coverage import Coverage

log = logging.getLogger("runward")
REFRESH_SECONDS: Final = 60.0
CLASS_RUNS: Final = 300
"""So many runs of a class that is seldom are looked up beside the newest of all."""
MET_MAX: Final = 200
"""So many of the classes met last: a caller may name another `kind` for each run."""
RATE_SECONDS: Final = 3_600.0
RATE_SECONDS_MIN: Final = 60.0
MISSES_OVER: Final = timedelta(days=7)


class Seen(NamedTuple):
    """What one reading of the ledger brought."""

    experience: Experience
    worth: Mapping[str, float]
    misses: Mapping[str, float]


class Learning:
    """What one life knows of the classes of its runs."""

    def __init__(
        self,
        store: Store,
        paces: Mapping[str, ProfilePace],
        accounts: Mapping[int, AccountRecord],
        coverage: Coverage,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._paces, self._accounts = store, paces, accounts
        self._coverage, self._clock = coverage, clock
        self.experience = Experience()
        self._worth: Mapping[str, float] = {}
        self._misses: Mapping[str, float] = {}
        self._met: dict[RunClass, None] = {}
        self._schedules: dict[tuple[RunClass, float], tuple[Known, Schedule]] = {}

    def pace(self, profile: str) -> ProfilePace:
        """What a profile wants."""
        return self._paces.get(profile, USUAL)

    def worth(self, profile: str) -> float:
        """Calls that a second of delay is worth to a profile."""
        return self._worth.get(profile, self.pace(profile).aim.worth)

    def misses(self, profile: str) -> float:
        """The share of a profile's webhooks that do not come."""
        return self._misses.get(profile, missed_share({}))

    def known(self, facts: Facts, now: datetime) -> Known | None:
        """What is known of how long such a run takes."""
        return self.experience.known(class_of_run(facts), now)

    def profile(self, facts: Facts) -> str:
        """The profile that a run's account belongs to."""
        account = self._accounts.get(facts.run.account_id)
        return account.profile if account else ""

    def choice(self, facts: Facts, now: datetime) -> Choice:
        """Who paces the looks at this run."""
        profile = self.profile(facts)
        pace = self.pace(profile)
        if pace.policy == PacePolicy.fixed:
            return Choice(pace=pace.fixed, name=pace.policy)
        covered = self._coverage.covers(facts.run.account_id, facts.run.provider)
        known = self._known(facts, now) if pace.policy == PacePolicy.learned else None
        if known is None:
            return Choice(
                pace=pace.backoff, name=PacePolicy.backoff, covered=COVERED if covered else None
            )
        worth = self.worth(profile)
        beside = self._schedule(known, worth * self.misses(profile)) if covered else None
        return Choice(pace=self._schedule(known, worth), name=LEARNED, covered=beside)

    def saw(self, facts: Facts, outcome: Outcome) -> None:
        """An object was read: has it ended, its class is known better. `facts` are those after."""
        if not isinstance(outcome, Observed):
            return
        seconds = taught(facts.remote(outcome.n))
        if seconds is not None:
            self.experience.ended(class_of_run(facts), (facts.run.id, outcome.n), max(seconds, 0.0))

    async def watch(self) -> None:
        """Read the ledger again and again, until cancelled."""
        while True:
            try:
                await self.refresh(self._clock())
            except Exception as error:
                log.error("pacing: %s", error, exc_info=unexpected(error))
            await pause(REFRESH_SECONDS)

    async def refresh(self, now: datetime) -> None:
        """Take in what the ledger knows. Raises DatabaseError."""
        self.take(await to_its_end(partial(self.read, now, frozenset(self._met))))

    def take(self, seen: Seen) -> None:
        """What was read replaces what was known."""
        self.experience, self._worth, self._misses = seen
        self._schedules.clear()

    def read(self, now: datetime, met: frozenset[RunClass] = frozenset()) -> Seen:
        """What the ledger knows of durations, rates and lost webhooks. Raises DatabaseError."""
        newest = self._store.read(recent)
        rare = _rare(newest, met)
        older = [
            item
            for of in sorted(rare)
            for item in self._store.read(partial(of_class, of=of, runs=CLASS_RUNS))
        ]
        experience = _experience([*older, *newest])
        for of in met:
            # Made here, beside the loop: each takes ten milliseconds or more.
            experience.known(of, now)
        mixes = self._mixes(experience, newest, now)
        worth = {name: worth_of(self.pace(name).aim, mix) for name, mix in mixes.items()}
        counted = self._store.read(lambda c: receipts(c, now - MISSES_OVER))
        return Seen(experience, worth, {name: missed_share(of) for name, of in counted.items()})

    def _known(self, facts: Facts, now: datetime) -> Known | None:
        of = class_of_run(facts)
        self._met.pop(of, None)
        self._met[of] = None
        if len(self._met) > MET_MAX:
            del self._met[next(iter(self._met))]
        return self.experience.known(of, now)

    def _schedule(self, known: Known, worth: float) -> Schedule:
        place = (known.of, worth)
        made = self._schedules.get(place)
        if made is None or made[0].density is not known.density:
            made = self._schedules[place] = (known, schedule_of(known.density, worth))
        return made[1]

    def _mixes(
        self, experience: Experience, newest: Sequence[Spent], now: datetime
    ) -> dict[str, list[Share]]:
        """Each profile's classes by how often they come, where it has a target to be met."""
        counts: dict[str, dict[RunClass, int]] = defaultdict(lambda: defaultdict(int))
        # Of a busy ledger the newest runs do not reach back an hour.
        ages = [(now - item.created_at).total_seconds() for item in newest]
        seconds = min(max(ages, default=0.0), RATE_SECONDS)
        for item, age in zip(newest, ages, strict=True):
            account = self._accounts.get(item.account_id)
            recently = age <= RATE_SECONDS
            if account is not None and recently and self.pace(account.profile).aim.targeted:
                counts[account.profile][item.of] += 1
        minutes = max(seconds, RATE_SECONDS_MIN) / 60.0
        return {
            profile: _mix(experience, of_profile, minutes, now)
            for profile, of_profile in counts.items()
        }


MIX_MAX: Final = 20
"""So many classes of a profile, the most frequent, find its price, and stand for the others."""


def _mix(
    experience: Experience, counts: Mapping[RunClass, int], minutes: float, now: datetime
) -> list[Share]:
    most = sorted(counts.items(), key=lambda one: -one[1])[:MIX_MAX]
    whole = sum(counts.values()) / max(sum(count for _, count in most), 1)
    return [
        Share(density=experience.density(of, now), runs_per_minute=count * whole / minutes)
        for of, count in most
    ]


def class_of_run(facts: Facts) -> RunClass:
    """The class of a run."""
    run = facts.run
    return class_of(run.provider, run.model, run.assistant, run.kind)


def _rare(newest: Sequence[Spent], met: frozenset[RunClass]) -> set[RunClass]:
    """Classes that were met and of which the newest runs say little."""
    counts: dict[RunClass, int] = defaultdict(int)
    for item in newest:
        counts[item.of] += item.seconds is not None
    return {of for of in met if counts[of] < CLASS_RUNS // 3}


def _experience(found: Sequence[Spent]) -> Experience:
    made = Experience()
    for item in found:
        if item.seconds is not None:
            made.ended(item.of, (item.run_id, item.n), max(item.seconds, 0.0))
        elif item.since is not None:
            made.going(item.of, (item.run_id, item.n), item.since)
    return made
