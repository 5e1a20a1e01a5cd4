"""Tools that do what no tool should: the model sees an error, the daemon goes on."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import pytest

from ledger import Tool, ToolCall, tool

CALL = ToolCall(key="k", call_id="c", tool="t", run_id=1, run_key="r", attempt=1)


def answer(function: Any, arguments: bytes = b"{}", **promises: Any) -> dict[str, Any]:
    """What the model sees of a call."""
    made = tool(**promises)(function)
    assert isinstance(made, Tool)
    result = asyncio.run(made.run(arguments, CALL))
    assert result.is_error
    error: dict[str, Any] = json.loads(result.output)["error"]
    return error


def leave() -> None:
    """As argparse and click do."""
    sys.exit(3)


async def leave_later() -> None:
    """The same from a coroutine."""
    sys.exit(3)


async def cancelled_inside() -> None:
    """Awaits something that some library cancelled."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


@pytest.mark.parametrize("function", [leave, leave_later])
def test_a_tool_that_exits_ends_only_its_call(function: Any) -> None:
    """sys.exit in a tool becomes an error output."""
    assert "3" in answer(function)["message"]


def test_a_cancel_from_inside_is_an_error_output() -> None:
    """A CancelledError that nobody asked for is the tool's own failure."""
    assert "cancelled" == answer(cancelled_inside)["type"]


def test_a_real_cancel_goes_through() -> None:
    """Draining cancels the call itself, which is no output."""
    entered = threading.Event()

    async def slow() -> None:
        entered.set()
        await asyncio.Event().wait()

    async def drain() -> None:
        made = tool(slow)
        task = asyncio.ensure_future(made.run(b"{}", CALL))
        while not entered.is_set():
            await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(drain())


def test_a_hung_tool_takes_no_place_from_others() -> None:
    """Many hung calls time out; another one still runs at once."""
    release = threading.Event()

    @tool(timeout_seconds=0.2)
    def hung() -> None:
        release.wait(30)

    @tool
    def quick() -> str:
        return "done"

    async def crowd() -> list[Any]:
        calls = [*(hung.run(b"{}", CALL) for _ in range(80)), quick.run(b"{}", CALL)]
        return await asyncio.gather(*calls)

    *late, done = asyncio.run(crowd())
    release.set()

    assert {True} == {result.is_error for result in late}
    assert b"done" == done.output
