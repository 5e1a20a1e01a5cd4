"""Hosts as they stand in URLs, and which of them can only be this machine. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound
"""What is bound to all addresses of a machine is asked at its loopback."""


def is_loopback(host: str) -> bool:
    """Whether a name or an address can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(host: str, port: int) -> str:
    """Where a service that is bound so is asked from this machine, as http://127.0.0.1:8787."""
    return f"http://{bracketed(ANYWHERE.get(host, host))}:{port}"


def bracketed(host: str) -> str:
    """A host as a URL has it: an IPv6 address stands in brackets."""
    return f"[{host}]" if ":" in host else host
