"""How a profile's runs are watched, from the settings; the core has the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ledger.core.alphabet import PacePolicy
from ledger.core.pacing.profile import USUAL, ProfilePace
from ledger.core.pacing.worth import Aim
from ledger.core.record import evolve
from ledger.errors import ConfigurationError
from ledger.settings import Pacing, Settings


def pace_of(settings: Settings, profile: str) -> ProfilePace:
    """What a profile wants. Raises ConfigurationError for a profile that is not there."""
    return _pace(settings.pacing_of(profile))


def judge_pace(given: Mapping[str, Any]) -> ProfilePace:
    """A pace by the keys of a `[pacing]` table. Raises ConfigurationError, naming the key."""
    try:
        return _pace(Pacing(**{name: value for name, value in given.items() if value is not None}))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "pacing"
        raise ConfigurationError(f"{place}: {first['msg']}") from None


def _pace(given: Pacing) -> ProfilePace:
    return ProfilePace(
        policy=PacePolicy(given.policy),
        aim=_aim(given),
        backoff=_given(
            USUAL.backoff,
            start_seconds=given.start_seconds,
            factor=given.factor,
            cap_seconds=given.cap_seconds,
        ),
        fixed=_given(USUAL.fixed, seconds=given.every_seconds),
    )


def paces_of(settings: Settings) -> dict[str, ProfilePace]:
    """What every profile wants."""
    return {name: pace_of(settings, name) for name in settings.profile_names()}


def _aim(given: Pacing) -> Aim:
    aim: Aim = _given(USUAL.aim, worth=given.worth)
    return evolve(
        aim,
        notice_within_seconds=given.notice_within_seconds,
        calls_per_minute=given.calls_per_minute,
    )


def _given(usual: Any, **fields: float | None) -> Any:
    """The usual figures, with those that were given."""
    return evolve(usual, **{name: value for name, value in fields.items() if value is not None})
