"""Threads beside the loop: functions of users, and hints that come from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in a thread of its own: no queue eats its time, and one that hangs keeps
    neither a place from others nor the process from ending.

    A loop that is simulated says so by `one_thread`, and everything happens in its own.
    """
    loop = asyncio.get_running_loop()
    if getattr(loop, "one_thread", False):
        return function()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def work() -> None:
        value: Any = None
        error: Exception | None = None
        try:
            value = function()
        except SystemExit as left:
            error = RuntimeError(f"the tool called sys.exit({left.code!r})")
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else RuntimeError(repr(raised))
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="runward-tool", daemon=True).start()
    return await done


async def to_its_end(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a thread, and end with it even if cancelled: a reading that is left alone
    still holds its connection when the database is closed."""
    reading = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await reading
        raise


def hint_loop(loop: asyncio.AbstractEventLoop, hint: Callable[[], None]) -> None:
    """Pass a hint on from another thread; a loop that has ended needs none."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(hint)
