"""The report on one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.service.rendering.blocks import Document


def one_run(numbers: Mapping[str, Any]) -> Document:
    """Its Gantt, attempts, events, tool calls and siblings."""
    return Document(str(numbers["run"]["id"]), [])
