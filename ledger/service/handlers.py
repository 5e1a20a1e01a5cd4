"""Functions of users that are told what happened to a run: after the commit, at least once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from ledger.clock import monotonic
from ledger.core.passing_on import Notice, NoticeType, judge_types
from ledger.core.redaction import redact_text
from ledger.core.retrying import HANDLING
from ledger.errors import ConfigurationError
from ledger.service.followers import Consumer, Taken
from ledger.service.threads import in_thread

TIMEOUT_SECONDS: Final = 60.0
TIMEOUT_SECONDS_MAX: Final = 3_600.0
SLICE_SECONDS: Final = 0.25
"""After so long the place is written before the next one is told: a crash repeats no more."""
PREFIX: Final = "on:"
"""Before a handler's name in the table of followers."""


class Handled(Exception):
    """What went wrong in a handler, as it is kept: no traceback, no credential."""


class Handler:
    """A function and the events that it is told of. Its name is durable: module:qualname."""

    def __init__(
        self, function: Callable[[Notice], Any], types: frozenset[NoticeType], seconds: float
    ) -> None:
        self.function, self.types, self.timeout_seconds = function, types, seconds
        self.name = f"{function.__module__}:{function.__qualname__}"
        self._is_async = inspect.iscoroutinefunction(function)

    def __call__(self, notice: Notice) -> Any:
        """Call the function itself, as if it were not decorated."""
        return self.function(notice)

    async def run(self, notice: Notice) -> None:
        """Call the function, on the loop if it is async, else in a thread. Raises Handled."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                if self._is_async:
                    await self.function(notice)
                else:
                    await in_thread(lambda: self.function(notice))
        except TimeoutError:
            raise Handled(f"it did not end within {self.timeout_seconds:g} s") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Handled("something inside it was cancelled") from None
        except (Exception, SystemExit) as error:
            # A handler that calls sys.exit must not end the daemon.
            said = redact_text(f"{type(error).__name__}: {error}")
            raise Handled(said[:500]) from error


def on(
    *events: str, timeout_seconds: float = TIMEOUT_SECONDS
) -> Callable[[Callable[[Notice], Any] | Handler], Handler]:
    """Have a function called with a Notice for each of these events ("run.failed", …).

    It fires after the commit, in the process that drives, at least once, and in order for each
    run. One that raises is tried again with growing pauses, eight times in all. A sync function
    runs in a thread, an async one on the loop that drives runs: it must not block. Its name,
    module:qualname, is what its place in the log is kept under. Raises ConfigurationError for an
    event that there is not, and for a timeout (seconds) that cannot work.
    """
    types = judge_types(events, "on")
    if not 0 < timeout_seconds <= TIMEOUT_SECONDS_MAX:
        raise ConfigurationError("on: timeout_seconds must be within (0, 3600]")

    def make(wrapped: Callable[[Notice], Any] | Handler) -> Handler:
        if isinstance(wrapped, Handler):
            return Handler(wrapped.function, wrapped.types | types, wrapped.timeout_seconds)
        if not inspect.isroutine(wrapped):
            raise ConfigurationError(f"on: {wrapped!r} is no function")
        return Handler(wrapped, types, timeout_seconds)

    return make


class Handling(Consumer):
    """One handler as a consumer of the log."""

    schedule = HANDLING

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.name, self.types = PREFIX + handler.name, handler.types

    async def take(self, notices: Sequence[Notice]) -> Taken:
        """Call the handler with one after the other."""
        started = monotonic()
        for done, notice in enumerate(notices):
            if done and monotonic() - started > SLICE_SECONDS:
                return Taken(done)
            try:
                await self._handler.run(notice)
            except Handled as error:
                return Taken(done, error)
        return Taken(len(notices))
