"""The failed attempts that upstream knows of, as a table for upstream's support."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Final

COLUMNS: Final = (
    "at", "upstream_id", "request_id", "client_id", "model", "base_url", "code", "message", "run",
)  # fmt: skip
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would reckon with."""


def support_csv(numbers: Mapping[str, Any]) -> str:
    """The evidence of a report on a window, as CSV with a heading: times in UTC, no prompts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in numbers["evidence"]["listed"]:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    told = "" if value is None else str(value)
    return f"'{told}" if told.startswith(FORMULA) else told
