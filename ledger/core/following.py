"""The words in which the next step of a run is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class WaitingFor(StrEnum):
    """Whose turn it is."""

    upstream = "upstream"
    account = "account"
    lane = "lane"
    life = "life"
    person = "person"
    settle_window = "settle_window"
    tail = "tail"
    time = "time"
    tool = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The life that holds a run."""

    life: str
    role: str
    host: str
    pid: int
    fence: int
    alive: bool
    heartbeat_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What decides about a run besides its own facts."""

    now: datetime
    owner: Owner | None = None
    driven: bool = False
    """Whether some life would take the run by itself."""
    ahead: int | None = None
    """The run that holds this one's serial key, or waits for it longer."""
    stopped: str | None = None
    """Why the account is stopped."""
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What happens next. `at` is the latest time of it, `until` ends the waiting by itself."""

    step: str
    why: str
    at: datetime | None = None
    waiting_for: WaitingFor | None = None
    since: datetime | None = None
    until: datetime | None = None
