"""Waiting for runs from any process: reading where somebody drives, driving where nobody does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ledger.clock import monotonic
from ledger.core.model import Run
from ledger.core.policy import parse_duration
from ledger.errors import InvalidInput, WaitTimeout
from ledger.service.workers import daemon_alive, make_reconciler
from ledger.store.facts import load_facts
from ledger.store.hints import subscribe
from ledger.store.queries import ahead_of

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

LOOK_SECONDS: Final = 0.2
ALIVE_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 2.0
SECONDS_MAX: Final = 10_000_000
Done = Callable[[Mapping[int, Run]], bool]
Stopped = Callable[[], bool]


def judge_wait(timeout: float | str | None, drive: str) -> float | None:
    """The timeout of a wait in seconds. Raises InvalidInput, as for a `drive` that is none."""
    if drive not in ("auto", "never"):
        raise InvalidInput(f"drive must be auto or never, not {drive!r}")
    if timeout is None:
        return None
    if not isinstance(timeout, str | int | float):
        raise InvalidInput("a timeout is a number of seconds, or a text such as 50m")
    seconds = parse_duration(timeout)
    if not 0 <= seconds <= SECONDS_MAX:
        raise InvalidInput(f"the timeout must be between 0 and {SECONDS_MAX:,} s, not {seconds:g}")
    return seconds


class Waiter:
    """One wait."""

    def __init__(
        self,
        ledger: Ledger,
        run_ids: Sequence[int],
        *,
        seconds: float | None,
        drive: str,
        done: Done | None,
        stopped: Stopped,
    ) -> None:
        self._stopped = stopped
        self._ledger, self._ids, self._drive = ledger, list(run_ids), drive
        self._end = None if seconds is None else monotonic() + seconds
        self._judge = done or (lambda runs: all(run.final for run in runs.values()))

    def wait(self) -> None:
        """Until the runs are done, or somebody stops the wait. Raises WaitTimeout."""
        changed = threading.Event()
        hints = subscribe(self._ledger.store, self._ledger.writer, changed.set)
        try:
            self._wait(changed)
        finally:
            hints.close()

    def _wait(self, changed: threading.Event) -> None:
        checked = monotonic() - ALIVE_SECONDS
        while not self._stopped() and not self._done():
            self._check_time()
            if self._drive == "auto" and monotonic() - checked >= ALIVE_SECONDS:
                checked = monotonic()
                if not daemon_alive(self._ledger.store):
                    asyncio.run(self._drive_them())
                    continue
            changed.wait(LOOK_SECONDS)
            changed.clear()

    def _done(self) -> bool:
        ids = self._ids
        facts = self._ledger.store.read(lambda c: load_facts(c, ids))
        return self._judge({run_id: found.run for run_id, found in facts.items()})

    def _over(self) -> bool:
        return self._stopped() or self._late() or self._done()

    def _late(self) -> bool:
        return self._end is not None and monotonic() >= self._end

    def _check_time(self) -> None:
        if self._late():
            runs = ", ".join(map(str, self._ids[:5]))
            raise WaitTimeout(
                f"still no verdict on {runs}; the run goes on",
                hint=f"runward wait {self._ids[0]} waits again",
            )

    async def _drive_them(self) -> None:
        """Be an ordinary life for these runs, until they are done or time is up."""
        # Those ahead on the same thread come first, or the wait would be for ever.
        ahead = self._ledger.store.read(lambda c: ahead_of(c, self._ids))
        only = tuple({*self._ids, *ahead})
        reconciler = make_reconciler(
            self._ledger, role="wait", only=only, grace_seconds=GRACE_SECONDS
        )
        await reconciler.begin()
        await reconciler.run(asyncio.Event(), until=self._over)
