"""The configuration as it may be seen: no value in it is a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ledger.store.engine import parse_url

if TYPE_CHECKING:
    from ledger.settings import Settings

URLS: Final = ("database_url", "direct_url")


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting by name, as plain values; passwords in addresses are hidden."""
    values: dict[str, Any] = settings.model_dump(mode="json")
    for name in URLS:
        if values[name]:
            values[name] = parse_url(values[name]).render_as_string(hide_password=True)
    return values
