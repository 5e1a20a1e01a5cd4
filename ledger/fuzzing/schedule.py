"""What happens in one play: who asks for what, what breaks, who dies. From a seed, or by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ledger.fuzzing.world import Fault
from ledger.simulator.webhook_settings import WebhookSettings

MODELS: Final = (
    "sim-ok", "sim-ok", "sim-instant", "sim-tool", "sim-tools", "sim-tool-chain", "sim-slow",
    "sim-stale-action", "sim-repeat-action", "sim-fail-server_error", "sim-null-error",
    "sim-expire", "sim-incomplete-max_output_tokens", "sim-cancelled", "sim-stuck-in_progress",
    "sim-cancel-race", "sim-unknown-status", "sim-goes-back", "sim-empty", "sim-null-fields",
    "sim-vanish", "sim-contradict", "sim-http-500-after-once", "sim-drop-after-once",
    "sim-drop-before-once", "sim-truncated-once",
)  # fmt: skip
COMMANDS: Final = (
    "cancel", "cancel", "restart", "recheck", "note", "answer", "adopt", "approve", "deny", "rerun",
    "accept", "resolve", "release",
)  # fmt: skip
POINTS_MAX: Final = 3_000
REQUESTS_MAX: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """A caller hands a run over. `thread` numbers the threads that runs share."""

    at: float
    key: str
    provider: str = "responses"
    model: str = "sim-ok"
    tool: str | None = None
    thread: int | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An operator does something to a run."""

    at: float
    key: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The life that touches the world for the so many-th time, counted over all, dies there."""

    point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The life at this point is stopped, believes on, and goes on later."""

    point: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The so many-th request over the network meets a fault."""

    request: int
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Somebody sets the wall clock."""

    at: float
    seconds: float


Act = Submit | Command | Crash | Pause | Break | Jump


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Everything that one play is made of besides the seed of its small choices."""

    seed: int
    lives: int = 1
    acts: tuple[Act, ...] = ()
    webhooks: WebhookSettings | None = None
    """How deliveries fare; None where upstream sends none."""

    def without(self, index: int) -> Schedule:
        """The same with one act less."""
        return replace(self, acts=self.acts[:index] + self.acts[index + 1 :])

    def lines(self) -> list[str]:
        """The acts, a line each."""
        return [f"lives={self.lives} webhooks={self.webhooks}", *(str(act) for act in self.acts)]


def schedule_of(seed: int) -> Schedule:
    """The schedule of a seed: a few runs, and a world that does its worst."""
    rng = random.Random(seed)  # noqa: S311 - a seed's choice, no secret
    keys = [f"run:{number}" for number in range(1, rng.randint(5, 9) + 1)]
    acts: list[Act] = [_submit(rng, key) for key in keys]
    acts += [_command(rng, rng.choice(keys)) for _ in range(rng.randint(0, 4))]
    acts += [Crash(point=_point(rng)) for _ in range(rng.randint(0, 4))]
    acts += [
        Pause(point=_point(rng), seconds=rng.choice((1.0, 3.0, 20.0, 75.0, 130.0)))
        for _ in range(rng.randint(0, 2))
    ]
    faults = tuple(Fault)
    acts += [
        Break(request=rng.randint(1, REQUESTS_MAX), fault=rng.choice(faults))
        for _ in range(rng.randint(0, 12))
    ]
    if rng.random() < 0.2:
        acts.append(Jump(at=rng.uniform(0, 60), seconds=rng.choice((-120.0, -10.0, 120.0))))
    lives = rng.choice((1, 1, 2, 3))
    return Schedule(seed=seed, lives=lives, acts=tuple(acts), webhooks=_webhooks(rng))


def _webhooks(rng: random.Random) -> WebhookSettings | None:
    """Half of the plays have webhooks, and those have all that can be wrong with them."""
    if rng.random() < 0.5:
        return None
    return WebhookSettings(
        loss=rng.choice((0.0, 0.3, 1.0)),
        delay=rng.choice((0.1, 0.6, 5.0)),
        duplicate=rng.choice((0.0, 0.5)),
        reorder=rng.choice((0.0, 0.5)),
        forged=rng.choice((0.0, 1.0)),
    )


def _point(rng: random.Random) -> int:
    return rng.randint(1, POINTS_MAX)


def _submit(rng: random.Random, key: str) -> Submit:
    provider = rng.choice(("responses", "assistants"))
    policy: dict[str, Any] = {"deadline": rng.choice((60, 150)), "settle_seconds": 20}
    if rng.random() < 0.4:
        policy["restart"] = rng.choice(("expired=1", "failed:server_error=2,expired=1", "none"))
        policy["restart_delay"] = rng.choice((0, 5, 40))
    if rng.random() < 0.3:
        policy["on_unknown"] = "recreate=1"
    if rng.random() < 0.3:
        policy["effects"] = rng.choice(("hold", "reuse"))
    if rng.random() < 0.3:
        policy["on_unknown_outcome"] = rng.choice(("hold", "error_output", "rerun"))
    shared = provider == "assistants" and rng.random() < 0.6
    return Submit(
        at=round(rng.uniform(0, 8), 3),
        key=key,
        provider=provider,
        model=rng.choice(MODELS),
        tool=rng.choice((None, "charge", "charge", "look_up", "book", "pay")),
        thread=rng.randint(0, 1) if shared else None,
        policy=policy,
    )


def _command(rng: random.Random, key: str) -> Command:
    return Command(at=round(rng.uniform(0, 40), 3), key=key, what=rng.choice(COMMANDS))
