"""The configuration as it may be seen: no value in it is a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ledger.settings import Settings

HIDDEN: Final = "***"
PLAIN: Final = frozenset({"host", "port", "dbname", "sslmode", "target_session_attrs", "mode"})
"""What the query of a database's address may say to everybody."""


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting by name, as plain values; what addresses hold of credentials is hidden."""
    values: dict[str, Any] = _open(settings.model_dump(mode="json"))
    return values


def _open(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _open(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_open(item) for item in value]
    return _address(value) if isinstance(value, str) and "://" in value else value


def _address(text: str) -> str:
    """An address without passwords, and without the values of its query: tokens travel there."""
    place, mark, query = _PASSWORD.sub(rf"\1{HIDDEN}@", text).partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    told = (
        f"{name}{sign}{value if name in PLAIN else sign and HIDDEN}" for name, sign, value in pairs
    )
    return f"{place}{mark}{'&'.join(told)}"


_PASSWORD: Final = re.compile(r"(://[^:/@]*:)[^@]*@")
