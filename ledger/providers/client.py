"""The credential, and the SDK's client that is built with it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ledger.core.intent import AccountProfile
from ledger.credentials import secret_of
from ledger.errors import ConfigurationError, MissingCredential
from ledger.providers.trust import trusted

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
SLACK_SECONDS: Final = 15.0
"""Timeouts are per read of the socket: a reply that trickles in would otherwise never end."""
_FINGERPRINT_PREFIX: Final = b"runward credential\x00"


def read_key(profile: AccountProfile) -> str:
    """The credential of a profile, from the environment as it is now.

    Raises MissingCredential when the variable is not set, is empty, or cannot be a credential,
    ConfigurationError when a file stands for it that cannot be read.
    """
    name = profile.key_variable
    key = secret_of(name)
    if not key:
        raise MissingCredential(
            f"{name} is not set, and provider {profile.provider!r} needs a credential",
            hint=f"set {name}, then open the ledger again: it is read when the client is built,"
            " so setting it in a running process has no effect there",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise MissingCredential(
            f"{name} holds characters that no credential has (a blank, a line break or non-ASCII)",
            hint=f"set {name} to the key alone, then open the ledger again",
        )
    return key


def credential_fingerprint(key: str) -> str:
    """Twelve hex digits that tell two credentials apart and give neither away."""
    return hashlib.sha256(_FINGERPRINT_PREFIX + key.encode()).hexdigest()[:12]


def build_client(
    profile: AccountProfile,
    *,
    key: str,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncOpenAI:
    """The SDK's client for a profile. Raises ConfigurationError when its base URL is none.

    Retries are off, because the SDK sends a POST again without an idempotency header and one
    timeout would then bill two runs; redirects are off, because a 307 sends a POST again too
    (openai-python 3.52.0 `_base_client.py`, `_httpx2.py`). `transport` replaces the network.
    """
    import httpx2
    from openai import AsyncOpenAI, DefaultAsyncHttpx2Client

    _judge_base_url(profile.base_url)
    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    client = AsyncOpenAI(
        api_key=key,
        base_url=profile.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=DefaultAsyncHttpx2Client(
            verify=trusted(), timeout=timeout, follow_redirects=False, transport=transport
        ),
    )
    # The SDK fills these from the environment when None is passed; an account is what its profile
    # says, or its rows would stand for another project in another shell.
    client.organization = profile.organization
    client.project = profile.project
    return client


def unproxied(client: AsyncOpenAI) -> bool:
    """Whether no proxy can stand between us and the base URL, whoever reads the environment.

    NO_PROXY counts where it is beyond doubt: `*`, or the very host. A user name in the base URL is
    for the SDK's stack to use as well.
    """
    from urllib.request import getproxies

    proxies = getproxies()
    url = client.base_url
    if url.userinfo:
        return False
    if not (proxies.get(url.scheme) or proxies.get("all")):
        return True
    excepted = {name.strip().lower() for name in proxies.get("no", "").split(",")}
    return "*" in excepted or url.host.lower() in excepted


def _judge_base_url(base_url: str) -> None:
    import httpx2

    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise ConfigurationError(f"the base URL cannot be read: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            "the base URL must start with https:// (or http://) and name a host",
            hint="for OpenAI it is https://api.openai.com/v1",
        )
    if url.query or url.fragment:
        raise ConfigurationError("the base URL must end with a path: no query, no fragment")
