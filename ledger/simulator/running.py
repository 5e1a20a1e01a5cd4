"""Starting a simulator: for a command, and in a thread beside a test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from .endpoints import NewEndpoint
from .engine import Engine
from .scenario import Scenario, load_scenario, rules_from
from .server import Server
from .world import Item

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
#: The provider's clock, not the ledger's: the simulator leans on nothing of the ledger.
_wall_clock: Callable[[], float] = time.time  # noqa: TID251
_PATIENCE = 10.0


async def serve(
    host: str,
    port: int,
    scenario: Scenario,
    ready: Callable[[str], None],
    endpoints: Sequence[NewEndpoint] = (),
) -> None:
    """Serve until cancelled; ``ready`` gets the base URL once requests are taken.

    ``endpoints`` get webhooks from the beginning.
    """
    await _serve(Engine(scenario, endpoints), host, port, _wall_clock, ready)


async def _serve(
    engine: Engine,
    host: str,
    port: int,
    clock: Callable[[], float],
    ready: Callable[[str], None],
) -> None:
    app = Server(engine, clock).app()
    # A slow reply must not hold up the end: whoever stops a simulator is done with it.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound_host, bound_port = runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        ready(f"http://{shown}:{bound_port}/v1")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class Simulator:
    """A simulator that runs in a thread of its own; made by ``Simulator.running``."""

    def __init__(self, engine: Engine, clock: Callable[[], float], port: int) -> None:
        self._engine = engine
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._ready: Future[str] = Future()
        self._task = self._loop.create_task(
            _serve(engine, LOOPBACK, port, clock, self._ready.set_result)
        )
        self._thread = threading.Thread(target=self._work, name="simulator", daemon=True)
        self._thread.start()
        self.url = self._ready.result(_PATIENCE)

    @classmethod
    @contextmanager
    def running(
        cls,
        *,
        seed: int | None = None,
        scenario: Scenario | Mapping[str, Any] | str | Path | None = None,
        speed: float | None = None,
        port: int = 0,
        clock: Callable[[], float] = _wall_clock,
        endpoints: Sequence[NewEndpoint] = (),
    ) -> Iterator[Simulator]:
        """Run one on the loopback interface; seed and speed override the scenario's."""
        simulator = cls(Engine(_scenario(scenario, seed, speed), endpoints), clock, port)
        try:
            yield simulator
        finally:
            simulator._stop()

    def log(self) -> list[Item]:
        """Every request that changed something or tried to, oldest first."""
        return self._ask(self._engine.journal.entries)

    def reads(self) -> dict[str, int]:
        """How often each reading operation was asked for."""
        return self._ask(lambda: dict(self._engine.journal.reads))

    def objects(self) -> list[Item]:
        """Every run and response with its true state."""
        return self._ask(lambda: self._engine.objects(self._clock()))

    def webhooks(self) -> dict[str, list[Item]]:
        """Webhook ``events`` with their deliveries, and every one of the ``tries``."""
        return self._ask(self._engine.webhooks.log.account)

    def replace_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Put other fault rules in force, written as in a scenario file."""
        parsed = rules_from(list(rules))
        self._ask(lambda: self._engine.replace_faults(parsed))

    def reset(self) -> None:
        """Forget everything, as if just started."""
        self._ask(self._engine.reset)

    def _ask(self, question: Callable[[], T]) -> T:
        """Run something in the server's thread, so that it sees no half-done request."""

        if not self._thread.is_alive():
            return question()

        async def asked() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(_PATIENCE)

    def _work(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._loop.close()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_PATIENCE)


def _scenario(
    given: Scenario | Mapping[str, Any] | str | Path | None,
    seed: int | None,
    speed: float | None,
) -> Scenario:
    if isinstance(given, str | Path):
        given = load_scenario(given)
    scenario = given if isinstance(given, Scenario) else Scenario.from_mapping(given or {})
    wished = {"seed": seed, "speed": speed}
    checked = {key: value for key, value in wished.items() if value is not None}
    overrides = Scenario.from_mapping(checked)
    return replace(scenario, **{key: getattr(overrides, key) for key in checked})
