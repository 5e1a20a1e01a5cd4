"""What the history says of the statements of a transactional call."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from ledger.core.hashing import canonical_json
from ledger.core.model import Scalar, Write
from ledger.core.outcome import ToolDone


def writes_detail(done: ToolDone) -> dict[str, object]:
    """The statements and what each of them touched, or why the database took none of them."""
    rows: Sequence[int | None] = done.rows or [None] * len(done.writes)
    pairs = zip(done.writes, rows, strict=True)
    statements = [{"sql": write.sql, "rows": count} for write, count in pairs]
    refused = {} if done.refused is None else {"refused": done.refused}
    return {"transactional": True, "statements": statements, **refused}


def parameters(writes: Sequence[Write]) -> bytes:
    """The values that the statements were bound to, as JSON; bytes in base64."""
    return canonical_json([{name: _plain(value) for name, value in w.params} for w in writes])


def _plain(value: Scalar) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value
