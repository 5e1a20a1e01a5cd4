"""Tools of daemons that are killed: each leaves a trace, and can be made to wait for a file.

With RIG_HANG set to `before:STEP`, `during:STEP` or `after:STEP`, a daemon that loads this module
stops at that step for ever, and says so in a file: the moment for kill -9. `before:Writes`,
`during:Writes` and `after:Writes` are about the commit that holds a transactional call's effect.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

from ledger import ToolCall, TransactionalCall, tool
from ledger.clock import wait_until
from ledger.service import driver
from ledger.store import batch, commit

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


@tool(transactional=True)
def book(query: str, call: TransactionalCall) -> str:
    """An effect that is handed over, and counted by what is there already."""
    (row,) = call.db.query("SELECT COUNT(*) AS n FROM booking WHERE key = :key", {"key": call.key})
    values = {"key": call.key, "n": row["n"] + 1}
    call.write("INSERT INTO booking (key, n) VALUES (:key, :n)", values, expect_rows=1)
    _trace("book", call)
    return "booked"


@tool(on_unknown_outcome="rerun")
def retry(query: str, call: ToolCall) -> str:
    """An effect that its author would rather see twice than not at all."""
    _trace("retry", call)
    return "retried"


@tool(requires_approval=True)
def wire(query: str, call: ToolCall) -> str:
    """An effect that a person has to allow."""
    _trace("wire", call)
    return "wired"


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


def _hang_writes(place: str) -> None:
    """Make the writer stop before the statements, between them and COMMIT, or after COMMIT."""
    carry_out, commit_all = batch.carry_out, commit.Committer.commit
    reached = threading.Event()

    def stop(here: str) -> None:
        if place == here:
            (Path(os.environ[FOLDER]) / REACHED).touch()
            threading.Event().wait()

    def carrying(*given: Any) -> Any:
        stop("before")
        done = carry_out(*given)
        stop("during")
        reached.set()
        return done

    def committing(self: Any, *given: Any) -> Any:
        done = commit_all(self, *given)
        if reached.is_set():
            stop("after")
        return done

    batch.carry_out = carrying
    commit.Committer.commit = committing  # type: ignore[method-assign]


if os.environ.get(HANG, "").endswith(":Writes"):
    _hang_writes(os.environ[HANG].split(":")[0])
elif os.environ.get(HANG):
    _hang(*os.environ[HANG].split(":"))
