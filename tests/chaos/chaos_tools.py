"""Tools that leave a trace for every time they are run, and take a moment to be killed in."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ledger import ToolCall, tool

TRACES = "RUNWARD_TEST_CHAOS_TRACES"


def _trace(name: str, call: ToolCall) -> None:
    line = json.dumps({"tool": name, "key": call.key, "run": call.run_id}).encode() + b"\n"
    descriptor = os.open(os.environ[TRACES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


@tool(idempotent=False)
def charge(order_id: str, call: ToolCall) -> str:
    """An effect that must not happen twice."""
    _trace("charge", call)
    time.sleep(0.02)
    return f"charged {order_id}"


@tool(idempotent=True)
def lookup(order_id: str, call: ToolCall) -> str:
    """An effect that may."""
    _trace("lookup", call)
    time.sleep(0.02)
    return f"found {order_id}"


def read_traces(path: Path) -> list[dict[str, str]]:
    """Every trace, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
