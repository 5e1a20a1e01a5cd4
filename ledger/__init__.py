"""runward: a durable ledger and resumable reconciler for asynchronous AI runs.

    from ledger import Ledger, tool

Names are loaded on first use, so that `runward --help` does not pay for a database library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ledger.core.anchor import Anchor
    from ledger.core.model import Run
    from ledger.core.passing_on import Notice
    from ledger.errors import (
        Conflict,
        ForkedLedger,
        InvalidInput,
        LeaseLost,
        MissingCredential,
        NotAllowed,
        NotFound,
        RunFailed,
        RunLost,
        RunwardError,
        StillPending,
        WaitTimeout,
    )
    from ledger.service.async_ledger import AsyncLedger
    from ledger.service.handlers import Handler, on
    from ledger.service.ledger import Ledger
    from ledger.service.rendering import render
    from ledger.service.tools import Tool, ToolCall, tool
    from ledger.service.transactional import TransactionalCall

_HOMES = {
    "Ledger": "ledger.service.ledger",
    "AsyncLedger": "ledger.service.async_ledger",
    "Anchor": "ledger.core.anchor",
    "Handler": "ledger.service.handlers",
    "Notice": "ledger.core.passing_on",
    "Run": "ledger.core.model",
    "on": "ledger.service.handlers",
    "render": "ledger.service.rendering",
    "Tool": "ledger.service.tools",
    "ToolCall": "ledger.service.tools",
    "TransactionalCall": "ledger.service.transactional",
    "tool": "ledger.service.tools",
}

__all__ = [
    "Anchor",
    "AsyncLedger",
    "Conflict",
    "ForkedLedger",
    "Handler",
    "InvalidInput",
    "LeaseLost",
    "Ledger",
    "MissingCredential",
    "NotAllowed",
    "NotFound",
    "Notice",
    "Run",
    "RunFailed",
    "RunLost",
    "RunwardError",
    "StillPending",
    "Tool",
    "ToolCall",
    "TransactionalCall",
    "WaitTimeout",
    "on",
    "render",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ledger' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "ledger.errors")), name)
