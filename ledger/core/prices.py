"""What tokens cost. Money is Decimal, and is rounded only where it is printed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from ledger.core.tokens import Tokens
from ledger.errors import ConfigurationError
from ledger.errors.ours import unknown_name

CURRENCY: Final = "USD"
MILLION: Final = -6
PRICE_MAX: Final = Decimal(1_000_000)
MODELS_MAX: Final = 10_000
MODEL_LENGTH_MAX: Final = 256
DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)
KEYS: Final = ("version", "source", "currency", "models")
PRICE_KEYS: Final = ("input", "cached_input", "output")
PLACES: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One model's prices, in USD for a million tokens."""

    input: Decimal
    cached: Decimal
    output: Decimal

    def of(self, tokens: Tokens) -> Decimal:
        """What these tokens cost, in USD, unrounded."""
        fresh = tokens.input - tokens.cached
        sums = fresh * self.input + tokens.cached * self.cached + tokens.output * self.output
        return sums.scaleb(MILLION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price table: its version and source, and prices by model."""

    version: str
    source: str
    models: Mapping[str, Price]

    def price(self, model: str | None) -> Price | None:
        """A model's price: under its own name, else under that without a date. None is unknown."""
        if model is None:
            return None
        found = self.models.get(model)
        return found if found is not None else self.models.get(DATED.sub("", model))

    def cost(self, model: str | None, tokens: Tokens) -> Decimal | None:
        """What a model's tokens cost, in USD; None where the price is not known."""
        price = self.price(model)
        return None if price is None else price.of(tokens)

    def under(self, own: Prices) -> Prices:
        """These, where the other table does not have a price of its own."""
        return Prices(
            version=f"{own.version} over {self.version}",
            source=f"{own.source}; {self.source}",
            models={**self.models, **own.models},
        )


def parse_prices(text: str, place: str) -> Prices:
    """A price table from TOML. Raises ConfigurationError, naming `place` and the line or key."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{place} is no TOML: {error}") from None
    _known(content, KEYS, place)
    if content.get("currency", CURRENCY) != CURRENCY:
        raise ConfigurationError(f"{place}: currency: only {CURRENCY} is counted")
    models = content.get("models")
    if not isinstance(models, dict):
        hint = 'write [models] and then "gpt-5" = { input = 1.25, output = 10.00 }'
        raise ConfigurationError(f"{place}: there is no table [models]", hint=hint)
    if len(models) > MODELS_MAX:
        raise ConfigurationError(f"{place}: more than {MODELS_MAX} models")
    return Prices(
        version=_text(content, "version", place, default="unnamed"),
        source=_text(content, "source", place, default=place),
        models={name: _price(given, f"{place}: {name!r}") for name, given in models.items()},
    )


def usd(amount: Decimal | None) -> str | None:
    """An amount as it is printed: to a millionth of a dollar, never as a power of ten."""
    if amount is None:
        return None
    rounded = amount.quantize(PLACES, ROUND_HALF_EVEN)
    # Nothing has no sign.
    return f"{rounded if rounded else abs(rounded):f}"


def _text(content: Mapping[str, Any], key: str, place: str, *, default: str) -> str:
    value = content.get(key, default)
    if not isinstance(value, str) or not 0 < len(value) <= MODEL_LENGTH_MAX:
        raise ConfigurationError(f"{place}: {key}: a text of at most {MODEL_LENGTH_MAX} characters")
    return value


def _price(given: Any, place: str) -> Price:
    if not isinstance(given, dict):
        hint = "write { input = 1.25, cached_input = 0.125, output = 10.00 }"
        raise ConfigurationError(f"{place}: prices are a table", hint=hint)
    _known(given, PRICE_KEYS, place)
    for key in ("input", "output"):
        if key not in given:
            raise ConfigurationError(f"{place}: the price {key!r} is missing")
    amounts = {key: _amount(value, f"{place}.{key}") for key, value in given.items()}
    return Price(
        input=amounts["input"],
        cached=amounts.get("cached_input", amounts["input"]),
        output=amounts["output"],
    )


def _amount(value: Any, place: str) -> Decimal:
    number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not number or not Decimal(value).is_finite() or not 0 <= value <= PRICE_MAX:
        raise ConfigurationError(
            f"{place}: {value!s:.40} is no price: USD for a million tokens, 0 to {PRICE_MAX}"
        )
    return Decimal(value)


def _known(content: Mapping[str, Any], known: Collection[str], place: str) -> None:
    for key in content:
        if key not in known:
            raise unknown_name(key, known, place)
