"""Whom connections trust: read once, because the authorities of a machine take 30 ms to read."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def trusted() -> ssl.SSLContext:
    """The trust of the SDK's stack, one for all connections of a process.

    The authorities of the system, or those of SSL_CERT_FILE and SSL_CERT_DIR (httpx2
    `create_ssl_context`). A bundle that is replaced on the disk counts from the next start.
    """
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _read(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()
