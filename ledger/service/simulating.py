"""`runward simulate-policy`: the ledger's own runs, watched by another policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ledger.core.comparing import Lasted, experienced
from ledger.core.pacing.profile import ProfilePace
from ledger.core.simulating import Played, play
from ledger.errors import NotFound
from ledger.service.limits import limits
from ledger.service.paces import judge_pace, pace_of
from ledger.store.costs import Ended, Window, ended_objects
from ledger.store.queries import accounts

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

OBJECTS_MAX: Final = 5_000
"""So many of the newest objects are played."""
TODAY: Final = "today"


def simulate_policy(
    ledger: Ledger, window: Window, profile: str, given: dict[str, Any]
) -> dict[str, Any]:
    """The profile's policy and the `given` one over the same runs. Raises NotFound without any,
    ConfigurationError for a policy or a profile that is none."""
    today, other = pace_of(ledger.settings, profile), judge_pace(given)
    found = _found(ledger, window, profile)
    if not found:
        raise NotFound(
            f"no run of profile {profile!r} has ended upstream since {window.since.isoformat()}",
            hint="a longer --since, or another --profile",
        )
    limit = _limit(ledger, profile)
    objects = experienced(
        [Lasted(of=one.of, place=(one.run_id, one.n), seconds=one.seconds) for one in found]
    )
    begun = [one.begun_at.timestamp() for one in found]
    rows = [
        _row(name, pace, play(objects, begun, pace, limit=limit))
        for name, pace in ((TODAY, today), ("simulated", other))
    ]
    return {
        "profile": profile,
        "since": window.since.isoformat(),
        "objects": len(found),
        "objects_max": OBJECTS_MAX,
        "limit": limit,
        "policies": rows,
    }


def _found(ledger: Ledger, window: Window, profile: str) -> Sequence[Ended]:
    """The profile's objects, in the order of their runs."""
    mine = {row.id for row in ledger.store.read(accounts) if row.profile == profile}
    found = ledger.store.read(lambda c: ended_objects(c, window, limit=OBJECTS_MAX))
    return [one for one in found if one.account_id in mine]


def _limit(ledger: Ledger, profile: str) -> float | None:
    """Calls a minute that the profile may make: the lowest that is configured or seen."""
    rows = [row for row in limits(ledger) if row["profile"] == profile]
    return min((row["limit"] for row in rows if row["limit"] is not None), default=None)


def _row(name: str, pace: ProfilePace, played: Played) -> dict[str, Any]:
    return {
        "which": name,
        "policy": str(pace.policy),
        "worth": None if played.worth is None else round(played.worth, 3),
        "calls": round(played.figures.calls * played.figures.runs),
        "calls_per_run": round(played.figures.calls, 3),
        "mean_delay": round(played.figures.mean, 3),
        "p50_delay": round(played.figures.p50, 3),
        "p95_delay": round(played.figures.p95, 3),
        "p99_delay": round(played.figures.p99, 3),
        "busiest_minute": played.busiest,
        "minutes_over_limit": None if played.over is None else round(played.over, 4),
    }
