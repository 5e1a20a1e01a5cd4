"""The first line of an export, as a file has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ledger.core.export_format import FORMAT, HEADER, VERSION
from ledger.errors import InvalidInput


def read_header(text: bytes, path: Path) -> dict[str, Any]:
    """The first line of an export. Raises InvalidInput for any other."""
    try:
        head = json.loads(text)
        known = head["type"] == HEADER and head["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        head, known = {}, False
    if not known:
        raise InvalidInput(f"{path} is no export: its first line is no header")
    if head.get("version") != VERSION:
        raise InvalidInput(
            f"{path} has format version {str(head.get('version'))[:20]}, and this runward reads "
            f"version {VERSION}",
            hint="use the runward version that wrote it, or a newer one",
        )
    kinds = {"ledger": str, "query": str, "as_of": str, "through": int, "archive": bool}
    if not all(isinstance(head.get(name), kind) for name, kind in kinds.items()):
        raise InvalidInput(f"{path} is no export: its header lacks what every header has")
    return dict(head)
