"""Prices: exact, from a checked file, and unknown where they are not known."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.core.prices import Prices, parse_prices, usd
from ledger.core.tokens import Tokens
from ledger.errors import ConfigurationError

TABLE = """
version = "1999-12-31"
source = "the test"
[models]
gpt-a = { input = 1.25, cached_input = 0.125, output = 10 }
gpt-a-1999-01-01 = { input = 5, output = 15 }
"gpt-a.mini" = { input = 0.1, output = 0.7 }
"""


@pytest.fixture
def prices() -> Prices:
    """A small table."""
    return parse_prices(TABLE, "test.toml")


@pytest.mark.parametrize(
    ("model", "tokens", "cost"),
    [
        ("gpt-a", (1_000_000, 0, 0), "1.25"),
        ("gpt-a", (1_000_000, 400_000, 100_000), "1.80"),
        ("gpt-a-2000-02-28", (1_000_000, 0, 0), "1.25"),
        ("gpt-a-1999-01-01", (1_000_000, 500_000, 0), "5"),
        ("gpt-a.mini", (1, 0, 0), "0.0000001"),
        ("gpt-a", (0, 0, 0), "0"),
        ("gpt-b", (1, 0, 0), None),
        ("gpt-a-99-1-1", (1, 0, 0), None),
        (None, (1, 0, 0), None),
    ],
)
def test_tokens_cost_what_the_table_says(
    prices: Prices, model: str | None, tokens: tuple[int, int, int], cost: str | None
) -> None:
    """Cached ones are a part of the input; a date falls back; unknown is not zero."""
    used = Tokens(input=tokens[0], cached=tokens[1], output=tokens[2])

    assert (None if cost is None else Decimal(cost)) == prices.cost(model, used)


def test_a_million_small_sums_are_exact(prices: Prices) -> None:
    """A tenth of a millionth, ten million times, is a dollar."""
    one = prices.cost("gpt-a.mini", Tokens(input=1))
    assert one is not None

    assert Decimal(1) == one * 10_000_000


def test_own_prices_win(prices: Prices) -> None:
    """Model by model; which tables were used is said."""
    own = parse_prices('[models]\ngpt-a = { input = 2, output = 3 }\n"x" = {input=1,output=1}', "o")
    both = prices.under(own)

    assert (Decimal(2), Decimal(2), Decimal(1), Decimal("0.1")) == (
        both.cost("gpt-a", Tokens(input=10**6)),
        both.cost("gpt-a", Tokens(input=10**6, cached=10**6)),
        both.cost("x", Tokens(output=10**6)),
        both.cost("gpt-a.mini", Tokens(input=10**6)),
    )
    assert ("unnamed over 1999-12-31", "o; the test") == (both.version, both.source)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models\n", "line 1"),
        ("[models]\ngpt-a = {input = 1, output = 2}\n\ngpt-b = {input = }\n", "line 4"),
        ("", "[models]"),
        ("models = 3", "[models]"),
        ("[models]\n[modles]", "'modles'"),
        ("currency = 'EUR'\n[models]", "currency"),
        ("version = 3\n[models]", "version"),
        ("[models]\ngpt-a = 1.25", "'gpt-a'"),
        ("[models]\ngpt-a = {input = 1}", "'output' is missing"),
        ("[models]\ngpt-a = {input = 1, output = 2, cached = 3}", "'cached'"),
        ("[models]\ngpt-a = {input = -1, output = 2}", "'gpt-a'.input"),
        ("[models]\ngpt-a = {input = 1, output = nan}", "'gpt-a'.output"),
        ("[models]\ngpt-a = {input = 1, output = inf}", "'gpt-a'.output"),
        ("[models]\ngpt-a = {input = true, output = 1}", "'gpt-a'.input"),
        ("[models]\ngpt-a = {input = '1', output = 1}", "'gpt-a'.input"),
        ("[models]\ngpt-a = {input = 1_000_001, output = 1}", "'gpt-a'.input"),
    ],
)
def test_a_bad_file_is_named_with_the_place(text: str, words: str) -> None:
    """The file, and the line or the key."""
    with pytest.raises(ConfigurationError) as raised:
        parse_prices(text, "own.toml")

    assert "own.toml" in raised.value.message
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0.000000"), ("1E+3", "1000.000000"), ("0.0000005", "0.000000"),
     ("0.0000015", "0.000002"), ("12.3456789", "12.345679"), ("-0.0000001", "0.000000"),
     ("-2", "-2.000000")],
)  # fmt: skip
def test_money_is_rounded_when_it_is_printed(amount: str, text: str) -> None:
    """Half to even, and never in powers of ten."""
    assert (text, None) == (usd(Decimal(amount)), usd(None))
