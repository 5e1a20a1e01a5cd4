"""The prices in use: those that come with the program, and the user's own over them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from ledger.core.prices import Prices, parse_prices
from ledger.errors import ConfigurationError

SHIPPED: Final = "prices.toml"
BYTES_MAX: Final = 4_000_000


def load_prices(own: Path | None) -> Prices:
    """The shipped table, under the user's own file if one is named.

    Raises ConfigurationError, naming the file and what is wrong in it.
    """
    text = resources.files("ledger").joinpath(SHIPPED).read_text(encoding="utf-8")
    shipped = parse_prices(text, SHIPPED)
    return shipped if own is None else shipped.under(parse_prices(_read(own), str(own)))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise ConfigurationError(f"prices: {path} is larger than {BYTES_MAX} bytes")
        return content.decode()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"prices: {path} cannot be read: {error}") from None
