"""The way of webhook deliveries in the simulation: upstream signs them, a life's receiver takes
them, and what is not answered in time comes again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ledger.core.alphabet import Receipt
from ledger.errors import DeliveryRefused
from ledger.fuzzing.loop import Scheduler
from ledger.fuzzing.world import World
from ledger.providers.signing import SigningSecret, signed_by, signing_secret
from ledger.simulator.deliveries import Try
from ledger.simulator.endpoints import NewEndpoint, make_secret

if TYPE_CHECKING:
    from ledger.fuzzing.process import Process

SECRET: Final = make_secret("simulation", 1)
ENDPOINT: Final = NewEndpoint("http://127.0.0.1/webhooks/openai", SECRET)
PATIENCE_SECONDS: Final = 15.0


class Signer:
    """The secrets that all lives hold."""

    def __init__(self) -> None:
        self._secrets: list[SigningSecret] = []
        self.add(SECRET)

    def add(self, secret: str) -> None:
        """Hold one more: the secret is being rotated."""
        self._secrets.append(signing_secret(secret, "simulation"))

    def signer(self, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
        """Whose it is. Raises DeliveryRefused for a forgery."""
        secret = signed_by(headers, body, self._secrets)
        if secret is None:
            raise DeliveryRefused("forged", result=Receipt.forged)
        return "default", secret.fingerprint


class Post:
    """Carries deliveries to some life, whenever upstream has one to send."""

    def __init__(
        self,
        world: World,
        scheduler: Scheduler,
        rng: random.Random,
        receivers: Callable[[], list[Process]],
    ) -> None:
        self._world, self._scheduler, self._rng = world, scheduler, rng
        self._receivers = receivers
        self._planned: float | None = None

    def look(self) -> None:
        """Upstream may have something to send now, or later."""
        now = self._world.now()
        ahead = self._world.engine.webhooks.next_delivery_at(now)
        if ahead is None or (self._planned is not None and self._planned <= ahead):
            return
        self._planned = ahead
        self._scheduler.after(max(ahead - now, 0.0), lambda: self._send(ahead))

    def _send(self, planned: float) -> None:
        if self._planned != planned:
            return
        self._planned = None
        for sent in self._world.engine.webhooks.deliveries_due(self._world.now()):
            self._carry(sent)
        self.look()

    def _carry(self, sent: Try) -> None:
        open_ = [True]

        def answered(status: int | None) -> None:
            if open_:
                open_.clear()
                self._world.engine.webhooks.answered(sent, status, self._world.now())
                self.look()

        living = self._receivers()
        if living:
            self._rng.choice(living).receive(dict(sent.headers), sent.body, answered)
        self._scheduler.after(PATIENCE_SECONDS, lambda: answered(None))
