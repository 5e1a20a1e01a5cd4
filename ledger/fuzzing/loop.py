"""Virtual time: event loops that never wait, and the scheduler that passes time between them.

Each process of the simulation has a loop of its own. A process that is killed is a loop that is
never run again: its tasks are not cancelled, they just never go on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The time of the whole simulation. `wall_offset` is how far the wall clock was set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wall_offset = 0.0

    def utcnow(self) -> datetime:
        """Wall time: it can be set, forward and back."""
        return START + timedelta(seconds=round(self.now + self.wall_offset, 6))

    def monotonic(self) -> float:
        """Seconds since the simulation began."""
        return self.now

    def boottime(self) -> float:
        """The same: the simulated machine boots once."""
        return self.now

    def rest(self, seconds: float) -> None:
        """Blocking is passing time."""
        self.now += seconds


class SimLoop(asyncio.BaseEventLoop):
    """An event loop on virtual time, advanced from outside, without threads and sockets."""

    one_thread = True
    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._selector = self
        self.set_exception_handler(_ignore)

    def time(self) -> float:
        """Virtual seconds."""
        return self._clock.now

    def select(self, timeout: float | None) -> list[Any]:
        """Nothing ever arrives from outside."""
        del timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        del event_list

    def _write_to_self(self) -> None:
        """Nobody sleeps that would have to be woken."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run at once: the simulation has one thread."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def step(self) -> None:
        """One iteration: everything that is ready now, once."""
        self.call_soon(self.stop)
        self.run_forever()

    def next_at(self) -> float | None:
        """When this loop has something to do; None if nothing will happen by itself."""
        if self._ready:
            return self._clock.now
        while self._scheduled and self._scheduled[0]._cancelled:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._timer_cancelled_count -= 1
        return self._scheduled[0].when() if self._scheduled else None


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A dead life's tasks complain to nobody."""
    del loop, context


STEPS_AT_ONCE_MAX: Final = 20_000
"""More in one moment of virtual time, and somebody goes round in circles."""


class Scheduler:
    """Passes time, and decides by the seed which loop goes on next."""

    def __init__(self, clock: VirtualClock, rng: random.Random) -> None:
        self.clock, self._rng = clock, rng
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._loops: list[SimLoop] = []
        self._asleep: dict[SimLoop, float] = {}
        self._steps = 0
        self.spins = False

    def at(self, time: float, act: Callable[[], None]) -> None:
        """Do something at a time, outside all loops: the network, an operator, a fault."""
        heapq.heappush(self._events, (time, next(self._order), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self.at(self.clock.now + seconds, act)

    def add(self, loop: SimLoop) -> None:
        """Let a loop take part."""
        self._loops.append(loop)

    def remove(self, loop: SimLoop) -> None:
        """Never run a loop again."""
        if loop in self._loops:
            self._loops.remove(loop)
        self._asleep.pop(loop, None)

    def pause(self, loop: SimLoop, seconds: float) -> None:
        """Stop a process, as SIGSTOP does, and let it go on later."""
        self._asleep[loop] = self.clock.now + seconds

    def run(self, until: Callable[[], bool], *, limit: float) -> bool:
        """Go on until something holds; False once `limit` (virtual seconds) is reached, or when
        time stands still (`spins`)."""
        while not until():
            before = self.clock.now
            if not self._step(limit):
                return False
            self._steps = 0 if self.clock.now > before else self._steps + 1
            self.spins = self._steps > STEPS_AT_ONCE_MAX
            if self.spins:
                return False
        return True

    def _step(self, limit: float) -> bool:
        due = [(self._when(loop), loop) for loop in self._loops]
        ready = [loop for when, loop in due if when is not None and when <= self.clock.now]
        if self._events and self._events[0][0] <= self.clock.now:
            heapq.heappop(self._events)[2]()
        elif ready:
            self._rng.choice(ready).step()
        else:
            times = [when for when, _ in due if when is not None]
            times += [self._events[0][0]] if self._events else []
            if not times or min(times) > limit:
                return False
            self.clock.now = max(self.clock.now, min(times))
        return True

    def _when(self, loop: SimLoop) -> float | None:
        when = loop.next_at()
        if when is None or loop not in self._asleep:
            return when
        wakes = self._asleep[loop]
        if wakes <= self.clock.now:
            del self._asleep[loop]
            return when
        return max(when, wakes)
