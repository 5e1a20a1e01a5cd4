"""Nights of a made-up service in virtual time, with or without trouble, and the truth about them.

What a report says of a night is held against what upstream and the stage know of it.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from ledger.clock import pause
from ledger.core.alphabet import PacePolicy
from ledger.core.pacing.policies import Fixed
from ledger.core.pacing.profile import ProfilePace
from ledger.fuzzing.loop import START
from ledger.fuzzing.play import SHARED_MEMORY, Stage, seeded, template
from ledger.fuzzing.process import OPTIONS, Process
from ledger.fuzzing.schedule import Schedule, Submit
from ledger.fuzzing.seams import Mortal
from ledger.fuzzing.tooling import Effects
from ledger.fuzzing.world import refusal
from ledger.providers.inprocess import Answered, Asked
from ledger.service import heart, learning, webhook_care
from ledger.service.ledger import Ledger
from ledger.service.tools import Tool, Toolbox, ToolCall, tool
from ledger.simulator.webhook_settings import WebhookSettings

HOUR: Final = 3_600.0
UNHURRIED: Final = (
    (heart, "PING_SECONDS", 10.0),
    (webhook_care, "EVERY_SECONDS", 10.0),
    (learning, "REFRESH_SECONDS", 600.0),
)
"""What a life does every second or two, and nobody waits for here: most of a night's work else."""
ANONYMOUS: Final = (
    "UPDATE life_event SET detail = json_replace(detail, '$.pid', 1, '$.host', 'night')"
)
MODELS: Final = ("gpt-5.1", "gpt-5-mini", "o3-deep-research")
TEAMS: Final = ("search", "billing", "support", "legal")
DURATIONS: Final = {"queued": 3.0, "in_progress": 60.0, "slow": 300.0}
USUAL_SHARE: Final = 0.03
"""Of runs that fail on any night."""
REFUSED_SHARE: Final = 0.7
"""Of calls in a storm of 429s."""
TOOL_SHARE: Final = 0.3
RESTART_SHARE: Final = 1 / 3
TOOL_SECONDS: Final = 20.0

AFTER_HOURS: Final = 3.0
"""So long after its last hour everything is over."""

Stretch = tuple[float, float]
"""From and until, in hours since midnight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What happens in one night, and to how many runs. Times are hours since midnight."""

    seed: int
    hours: float = 6.0
    runs: int = 600
    usual_share: float = USUAL_SHARE
    storm: Stretch | None = None
    outage: Stretch | None = None
    """Nobody takes webhook deliveries."""
    crash: float | None = None
    ill_model: str | None = None
    ill_share: float = 0.25
    slow_tool: Stretch | None = None
    """`search` takes longer than it may."""
    webhooks: bool = True


BAD: Final = Night(
    seed=226,
    runs=600,
    storm=(2 + 10 / 60, 2 + 40 / 60),
    outage=(3.0, 3.75),
    crash=2 + 25 / 60,
    ill_model="gpt-5-mini",
    slow_tool=(4.0, 4.5),
)
"""The night that the incident report has to explain."""


@dataclass(slots=True, kw_only=True)
class Truth:
    """What upstream and the stage know of a night. Times are those of the wall clock."""

    night: Night
    began: datetime
    behaviours: dict[str, str] = field(default_factory=dict)
    """What each run's object was made to do, by key."""
    models: dict[str, str] = field(default_factory=dict)
    tried_again: set[str] = field(default_factory=set)
    """The runs whose callers let a failed attempt be tried again, once."""
    refused: list[datetime] = field(default_factory=list)
    """Each 429 that upstream answered."""
    died: list[datetime] = field(default_factory=list)
    tool_timeouts: list[datetime] = field(default_factory=list)
    """Each call of `search` that was begun and took too long."""
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    problems: tuple[str, ...] = ()

    def failing(self, *, once: bool | None = None) -> set[str]:
        """The runs whose first attempt fails; with `once` those that do, or do not, then pass."""
        ill = {key: made for key, made in self.behaviours.items() if made.startswith("fail")}
        return {key for key, made in ill.items() if once in (None, made.endswith("-once"))}

    def at(self, hours: float) -> datetime:
        """An hour of the night on the wall clock."""
        return self.began + timedelta(hours=hours)


class _Tools(Effects):
    """The tools of the night's lives: `search` is slow in a stretch of it."""

    def __init__(self, stage: _Stage) -> None:
        Effects.__init__(self, _unwatched)
        self._stage = stage

    def toolbox(self, mortal: Mortal) -> Toolbox:
        """The one tool."""
        return Toolbox([self._search(mortal)])

    def _search(self, mortal: Mortal) -> Tool:
        @tool(idempotent=True, timeout_seconds=TOOL_SECONDS)
        async def search(query: str, call: ToolCall) -> str:
            """Search for something."""
            mortal.point("tool")
            await pause(self._stage.tool_seconds())
            mortal.point("tool")
            return f"found {query} for run {call.run_id}"

        return search


class _Stage(Stage):
    """A play by the clock of one night."""

    durations = DURATIONS
    options = replace(
        OPTIONS,
        concurrency=64,
        sweep_seconds=20.0,
        review_seconds=60.0,
        seal_seconds=600.0,
        paces={"default": ProfilePace(policy=PacePolicy.fixed, fixed=Fixed(seconds=20.0))},
    )
    lease_seconds = 600.0

    def __init__(self, night: Night, schedule: Schedule, folder: Path, truth: Truth) -> None:
        super().__init__(schedule, folder)
        self.night, self.truth = night, truth
        self._dice = random.Random(f"night:{night.seed}")  # noqa: S311 - a seed's choice
        self.effects = _Tools(self)
        self._ask = self.world.ask
        self.world.ask = self._refused  # type: ignore[method-assign]
        if night.crash is not None:
            self.scheduler.at(night.crash * HOUR, self._crash)

    def _during(self, stretch: Stretch | None) -> bool:
        return stretch is not None and stretch[0] <= self.clock.now / HOUR < stretch[1]

    def _refused(self, asked: Asked) -> Answered:
        """Upstream, with its storm."""
        if self._during(self.night.storm) and self._dice.random() < REFUSED_SHARE:
            self.truth.refused.append(self.clock.utcnow())
            return refusal(429, "rate_limit_exceeded")
        return self._ask(asked)

    def receivers(self) -> list[Process]:
        """Nobody, while the receiver is down."""
        return [] if self._during(self.night.outage) else super().receivers()

    def tool_seconds(self) -> float:
        """How long a search takes that begins now."""
        if not self._during(self.night.slow_tool):
            return 0.4
        self.truth.tool_timeouts.append(self.clock.utcnow())
        return 10 * TOOL_SECONDS

    def _crash(self) -> None:
        """kill -9 to every life."""
        self.truth.died.append(self.clock.utcnow())
        for process in self.processes:
            process.mortal.dead = True

    def _committed(self, process: Process) -> None:
        self._news = True
        for other in self.processes:
            if other is not process:
                self._hint(other)


def _unwatched(*_: object) -> None:
    """Nobody checks each effect: what is at stake here is the telling."""


def play_night(night: Night, ledger: Path) -> Truth:
    """Play a night, and leave its ledger, a SQLite file, at `ledger`."""
    truth = Truth(night=night, began=START)
    schedule = Schedule(
        seed=night.seed,
        acts=tuple(_lot(night, truth)),
        webhooks=WebhookSettings(delay=0.6) if night.webhooks else None,
    )
    template()
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        stage = _Stage(night, schedule, Path(folder), truth)
        with seeded(night.seed, stage.clock), _unhurried():
            try:
                stage.play()
                _keep(stage, truth, ledger)
            finally:
                stage.close()
    return truth


@contextmanager
def _unhurried() -> Iterator[None]:
    with ExitStack() as patches:
        for module, name, seconds in UNHURRIED:
            patches.enter_context(patch.object(module, name, seconds))
        yield


def _keep(stage: _Stage, truth: Truth, ledger: Path) -> None:
    truth.jobs, truth.requests = stage.world.jobs(), stage.world.requests
    truth.problems = tuple(stage.problems)
    with stage.console.store.engine.connect() as connection:
        # What differs from machine to machine, and from one play to the next.
        for table in ("worker", "life_event"):
            connection.exec_driver_sql(f"UPDATE {table} SET host = 'night'")  # noqa: S608
        connection.exec_driver_sql("UPDATE worker SET pid = 1")
        connection.exec_driver_sql(ANONYMOUS)
        connection.commit()
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(stage.ledger_path, ledger)


def report_on(ledger: Path, truth: Truth) -> dict[str, Any]:
    """The incident report on a night, as things stood when all that began in it was over."""
    end = truth.at(truth.night.hours + AFTER_HOURS)
    with Ledger.open(f"sqlite:///{ledger}") as opened:
        return opened.postmortem(since=truth.began, until=end, as_of=end)


def _lot(night: Night, truth: Truth) -> Iterator[Submit]:
    """The night's runs: who asks for what, and what upstream will make of it."""
    dice = random.Random(f"lot:{night.seed}")  # noqa: S311 - a seed's choice
    for number in range(night.runs):
        key, model = f"job:{number:05}", dice.choice(MODELS)
        tags = {"team": dice.choice(TEAMS), "kind": dice.choice(("nightly", "request"))}
        behaviour = _behaviour(night, model, dice)
        truth.behaviours[key], truth.models[key] = behaviour, model
        if again := dice.random() < RESTART_SHARE:
            truth.tried_again.add(key)
        yield Submit(
            at=round(dice.uniform(0, night.hours * HOUR), 3),
            key=key,
            model=model,
            metadata={"sim": behaviour},
            tool="search" if behaviour == "tool" else None,
            tags=tags,
            policy=_policy(again),
        )


def _behaviour(night: Night, model: str, dice: random.Random) -> str:
    share = night.ill_share if model == night.ill_model else night.usual_share
    if dice.random() < share:
        # What fails once only is well when it is tried again.
        return dice.choice(("fail-server_error", "fail-server_error-once"))
    return "tool" if dice.random() < TOOL_SHARE else dice.choice(("ok", "ok", "ok", "slow"))


def _policy(again: bool) -> Mapping[str, Any]:
    restart = "failed:server_error=1,expired=1" if again else "expired=1"
    return {"deadline": 3 * HOUR, "restart": restart}
