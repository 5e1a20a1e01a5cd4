"""One process of the simulation: a life with its store, writer, providers, tools and loop."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from ledger import clock
from ledger.core.intent import AccountProfile
from ledger.errors import DatabaseError, DeliveryRefused
from ledger.fuzzing.loop import Scheduler, SimLoop
from ledger.fuzzing.post import Signer
from ledger.fuzzing.seams import Mortal, SimLives, attach, mortal_clock
from ledger.fuzzing.world import KEY, World
from ledger.fuzzing.writer import LoopWriter
from ledger.providers.inprocess import open_in_process
from ledger.service.accounts import FAMILIES, Accounts, Credential
from ledger.service.heart import new_life_id
from ledger.service.options import Options
from ledger.service.receiving import Receiver
from ledger.service.reconciler import Reconciler
from ledger.service.tools import Toolbox
from ledger.store.engine import open_engine
from ledger.store.lives import Life
from ledger.store.store import Store

URL: Final = "https://upstream.test/v1"
LEASE_SECONDS: Final = 60.0
COVERED: Final = frozenset({"default"})
OPTIONS: Final = Options(
    concurrency=8, sweep_seconds=5.0, review_seconds=20.0, flush_seconds=60.0, seal_seconds=15.0
)


def credentials() -> dict[tuple[str, str, str], Credential]:
    """The one account that the simulation has with each family."""
    found = {}
    for family in FAMILIES:
        profile = AccountProfile(provider=family, base_url=URL)
        made = Credential(profile_name="default", profile=profile, key=KEY, fingerprint="sim")
        found[family, URL, ""] = made
    return found


def open_store(path: Path, mortal: Mortal) -> Store:
    """A store whose statements and locks are seams of one life."""
    engine = open_engine(f"sqlite:///{path}")
    attach(engine, mortal)
    store = Store(f"sqlite:///{path}", engine)
    lives = SimLives(engine, store.lives_folder)
    lives.mortal = mortal
    store.lives = lives
    return store


class Process:
    """A life from its start to its death or its end."""

    def __init__(
        self,
        path: Path,
        mortal: Mortal,
        *,
        scheduler: Scheduler,
        world: World,
        rng: random.Random,
        toolbox: Callable[[Mortal], Toolbox],
        committed: Callable[[Process], None],
        signer: Signer | None = None,
        options: Options = OPTIONS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.mortal, self.path = mortal, path
        self.loop = SimLoop(scheduler.clock)
        self._scheduler, self._world, self._rng = scheduler, world, rng
        self._toolbox = toolbox
        self._committed = committed
        self.writer: LoopWriter | None = None
        self.receiver: Receiver | None = None
        self._signer = signer
        self._lease_seconds = lease_seconds
        self._options = replace(options, covered=COVERED if signer else frozenset())
        self._task = self.loop.create_task(self._live())
        scheduler.add(self.loop)

    async def _live(self) -> None:
        store = open_store(self.path, self.mortal)
        now = mortal_clock(self.mortal, clock.utcnow)
        committed = functools.partial(self._committed, self)
        self.writer = LoopWriter(store.committer(), now, self._rng, committed)
        accounts = Accounts(
            credentials(),
            lambda profile, key: open_in_process(
                profile, key, functools.partial(self._world.carry, self.mortal)
            ),
        )
        life = Life(
            id=new_life_id(), role="daemon", version="sim", lease_seconds=self._lease_seconds
        )
        reconciler = Reconciler(
            store, self.writer, accounts, self._toolbox(self.mortal), life, self._options,
            clock=now, rng=random.Random(self._rng.random()),  # noqa: S311 - a seed's choice
        )  # fmt: skip
        self.mortal.life_id = lambda: reconciler.heart.life.id
        await reconciler.begin()
        if self._signer is not None:
            self.receiver = Receiver(store, self.writer, self._signer, now)
        await reconciler.run(asyncio.Event())

    def receive(
        self, headers: dict[str, str], body: bytes, answered: Callable[[int], None]
    ) -> None:
        """A delivery reaches this life; a life that dies over it never answers."""
        self.loop.create_task(self._receive(headers, body, answered))

    async def _receive(
        self, headers: dict[str, str], body: bytes, answered: Callable[[int], None]
    ) -> None:
        assert self.receiver is not None
        status = 200
        try:
            await self.receiver.receive(headers, body)
        except DeliveryRefused:
            status = 400
        except DatabaseError:
            status = 503
        self.mortal.point("answer")
        answered(status)

    @property
    def ended(self) -> BaseException | str | None:
        """How the life ended by itself, which it should not; None while it goes on."""
        if not self._task.done():
            return None
        return self._task.exception() or "without an error"

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.mortal.dead = True
        self._scheduler.remove(self.loop)
        self.mortal.bury()

    def clear(self) -> None:
        """After everything: let the tasks end, so that the interpreter finds none of them."""
        self.mortal.dead = True
        for _ in range(50):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.step()
        self.loop.close()
