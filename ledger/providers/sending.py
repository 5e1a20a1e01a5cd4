"""What is put into a request at the last moment: secrets, the marker, recorded outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ledger.core.plain_json import SEALED, secret_variable
from ledger.core.reading import MARKER_KEY
from ledger.errors import MissingCredential


def resolve(value: Any, seen: set[str]) -> Any:
    """A copy of a request in which each {"$secret": "env:NAME"} is the value of that variable.

    The values are added to `seen`, for redaction. Raises MissingCredential when one is not set.
    """
    if isinstance(value, list | tuple):
        return [resolve(item, seen) for item in value]
    if not isinstance(value, Mapping):
        return value
    if SEALED not in value:
        return {name: resolve(item, seen) for name, item in value.items()}
    name = secret_variable(value)
    secret = os.environ.get(name)
    if not secret:
        raise MissingCredential(
            f"the request names the secret {name}, and that variable is not set",
            hint=f"set {name} where the daemon runs, and restart it; nothing was sent",
        )
    seen.add(secret)
    return secret


def marked(metadata: Mapping[str, str] | None, marker: str) -> dict[str, str]:
    """The caller's metadata with the ledger's own pair."""
    return {**(metadata or {}), MARKER_KEY: marker}


def output_text(body: bytes) -> str:
    """A recorded output as it can travel in JSON; bytes that are no UTF-8 are replaced."""
    return body.decode("utf-8", "replace")
