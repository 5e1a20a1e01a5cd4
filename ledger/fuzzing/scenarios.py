"""Small stories in which a life is killed, or stopped, at every single touch of the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ledger.fuzzing.play import Played, play
from ledger.fuzzing.schedule import Act, Break, Command, Crash, Pause, Schedule, Submit
from ledger.fuzzing.world import Fault
from ledger.simulator.webhook_settings import WebhookSettings

POLICY: Final = {"deadline": 60, "settle_seconds": 10}


def _story(*acts: Submit | Command | Break, webhooks: WebhookSettings | None = None) -> Schedule:
    return Schedule(seed=1, acts=acts, webhooks=webhooks)


def _submit(
    key: str = "run:1", *, at: float = 0.1, model: str = "sim-ok", **more: object
) -> Submit:
    policy = {**POLICY, **dict(more.pop("policy", {}))}  # type: ignore[call-overload]
    return Submit(at=at, key=key, model=model, policy=policy, **more)  # type: ignore[arg-type]


SCENARIOS: Final = {
    "one-run": _story(_submit()),
    "two-on-a-thread": _story(
        _submit(provider="assistants", thread=0),
        _submit("run:2", at=0.2, provider="assistants", thread=0),
    ),
    "two-parallel-tools": _story(
        _submit(provider="assistants", model="sim-tools", tool="charge", thread=0)
    ),
    "tool-chain": _story(_submit(model="sim-tool-chain", tool="charge")),
    "expiry-with-restart": _story(
        _submit(
            provider="assistants", model="sim-expire", thread=0, policy={"restart": "expired=1"}
        )
    ),
    "cancel-race": _story(
        _submit(model="sim-cancel-race"), Command(at=1.5, key="run:1", what="cancel")
    ),
    "ambiguous-create": _story(
        _submit(provider="assistants", thread=0), Break(request=1, fault=Fault.lost_reply)
    ),
    "ambiguous-response": _story(
        _submit(policy={"on_unknown": "recreate=1"}), Break(request=1, fault=Fault.error_after)
    ),
    "told-by-webhook": _story(
        _submit(model="sim-slow"), webhooks=WebhookSettings(duplicate=1.0, forged=1.0)
    ),
    "adopted-by-webhook": _story(
        _submit(policy={"settle_seconds": 50}),
        Break(request=1, fault=Fault.lost_reply),
        webhooks=WebhookSettings(),
    ),
}
"""By name; each is played without a crash first, which tells how many points it has."""


STOPPED_SECONDS: Final = 75.0
"""Longer than the lease: the life goes on in the belief that its runs are still its own."""
STOPPED_DEADLINE: Final = 300
"""A stopped life must find its runs alive when it goes on."""


def killed_everywhere(name: str, *, every: int = 1, first: int = 1) -> Iterator[Played]:
    """Play a story once for each point (or every so many-th), with a death there."""
    schedule = SCENARIOS[name]
    whole = play(schedule)
    yield whole
    for point in range(first, whole.points + 1, every):
        yield play(replace(schedule, acts=(*schedule.acts, Crash(point=point))))


def stopped_everywhere(name: str, *, every: int = 1, first: int = 1) -> Iterator[Played]:
    """Play a story with two lives once for each point (or every so many-th): the life that is
    there stands still for longer than its lease, and goes on."""
    acts = tuple(_patient(act) for act in SCENARIOS[name].acts)
    schedule = replace(SCENARIOS[name], lives=2, acts=acts)
    whole = play(schedule)
    yield whole
    for point in range(first, whole.points + 1, every):
        pause = Pause(point=point, seconds=STOPPED_SECONDS)
        yield play(replace(schedule, acts=(*acts, pause)))


def _patient(act: Act) -> Act:
    if not isinstance(act, Submit):
        return act
    return replace(act, policy={**act.policy, "deadline": STOPPED_DEADLINE})
