"""Tools of daemons that are killed: each leaves a trace, and can be made to wait for a file.

With RIG_HANG set to `before:STEP`, `during:STEP` or `after:STEP`, a daemon that loads this module
stops at that step for ever, and says so in a file: the moment for kill -9.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from ledger import ToolCall, tool
from ledger.clock import wait_until
from ledger.service import driver

FOLDER, HANG = "RIG_FOLDER", "RIG_HANG"
REACHED, GO = "reached", "go"


def traces(folder: Path) -> list[dict[str, str]]:
    """Every start of a tool, in order."""
    path = folder / "traces.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _trace(name: str, call: ToolCall) -> None:
    line = json.dumps({"tool": name, "key": call.key, "run": call.run_id}).encode() + b"\n"
    path = Path(os.environ[FOLDER]) / "traces.ndjson"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)
    wait_until((Path(os.environ[FOLDER]) / GO).exists, seconds=30)


@tool(idempotent=False)
def charge(query: str, call: ToolCall) -> str:
    """An effect that must not happen twice."""
    _trace("charge", call)
    return "charged"


@tool(idempotent=True)
def find(query: str, call: ToolCall) -> str:
    """An effect that may."""
    _trace("find", call)
    return "found"


async def _stop_here() -> None:
    (Path(os.environ[FOLDER]) / REACHED).touch()
    await asyncio.Event().wait()


def _hang(place: str, step_name: str) -> None:
    """Make this process stop before a step, between its commit and its call, or after its call."""
    advance, perform = driver.Driver._advance, driver.perform

    async def advancing(self: Any, entry: Any, step: Any, context: Any) -> bool:
        if place == "before" and type(step).__name__ == step_name:
            await _stop_here()
        return await advance(self, entry, step, context)

    async def performing(provider: Any, facts: Any, step: Any, read: Any) -> Any:
        here = type(step).__name__ == step_name
        if here and place == "during":
            await _stop_here()
        done = await perform(provider, facts, step, read)
        if here and place == "after":
            await _stop_here()
        return done

    driver.Driver._advance = advancing  # type: ignore[method-assign]
    driver.perform = performing


if os.environ.get(HANG):
    _hang(*os.environ[HANG].split(":"))
