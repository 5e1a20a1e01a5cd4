"""The only floor that knows openai; the library is imported when a provider is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ledger.core.intent import AccountProfile
from ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ledger.providers.seam import Provider


def _responses(client: AsyncOpenAI, key: str, *, thin: bool = False) -> Provider:
    from ledger.providers.responses import ResponsesProvider

    return ResponsesProvider(client, key, thin=thin)


def _assistants(client: AsyncOpenAI, key: str, *, thin: bool = False) -> Provider:
    from ledger.providers.assistants import AssistantsProvider

    return AssistantsProvider(client, key, thin=thin)


PROVIDERS: Final[dict[str, Callable[..., Provider]]] = {
    "responses": _responses,
    "assistants": _assistants,
}
"""What makes each provider; its module is imported then."""


def open_provider(profile: AccountProfile, key: str) -> Provider:
    """The provider of a profile, with its own connections. It belongs to one event loop.

    Raises ConfigurationError for an unknown provider or a base URL that is none.
    """
    if profile.provider not in PROVIDERS:
        raise ConfigurationError(
            f"there is no provider {profile.provider!r}; known: {', '.join(PROVIDERS)}"
        )
    from ledger.providers.client import build_client, unproxied

    client = build_client(profile, key=key)
    return PROVIDERS[profile.provider](client, key, thin=unproxied(client))
