"""Tools of the demo. Each leaves a trace outside the ledger, so that effects can be counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ledger.service.tools import ToolCall, tool

FOLDER = "RUNWARD_DEMO_EFFECTS"


@tool(idempotent=True)
def lookup_order(order_id: str, call: ToolCall) -> dict[str, str]:
    """Look an order up. Reading twice is harmless."""
    _trace("lookup_order", call)
    return {"order_id": order_id, "state": "shipped"}


@tool(idempotent=False)
def send_receipt(order_id: str, call: ToolCall) -> dict[str, str]:
    """Send a receipt. Sending twice is not harmless, so a crash in the middle holds the call."""
    _trace("send_receipt", call)
    return {"order_id": order_id, "receipt": f"sent as {call.key[:8]}"}


def _trace(name: str, call: ToolCall) -> None:
    line = json.dumps({"tool": name, "key": call.key, "run": call.run_id})
    path = Path(os.environ[FOLDER]) / "effects.ndjson"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def traces(folder: Path) -> list[dict[str, str]]:
    """Every effect that was left, in order."""
    path = folder / "effects.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
