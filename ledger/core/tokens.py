"""Tokens by upstream's count, whatever the family calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger.core.record import record

TOKENS_MAX: Final = 10**15
INPUT: Final = ("input_tokens", "prompt_tokens")
OUTPUT: Final = ("output_tokens", "completion_tokens")
DETAILS: Final = ("input_tokens_details", "prompt_tokens_details", "prompt_token_details")


@record
class Tokens:
    """What one object used. `cached` is a part of `input`; reasoning is a part of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output

    def plus(self, more: Tokens) -> Tokens:
        """Both together."""
        return Tokens(
            input=self.input + more.input,
            cached=self.cached + more.cached,
            output=self.output + more.output,
        )


def tokens_of(usage: Any) -> Tokens | None:
    """The tokens in an upstream `usage`; None where it does not say, which is not zero."""
    if not isinstance(usage, Mapping):
        return None
    used, made = _first(usage, INPUT), _first(usage, OUTPUT)
    if used is None and made is None:
        return None
    details = next((d for name in DETAILS if isinstance(d := usage.get(name), Mapping)), {})
    cached = _first(details, ("cached_tokens",)) or 0
    return Tokens(input=used or 0, cached=min(cached, used or 0), output=made or 0)


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The first of these that is a count. Upstream's numbers are not trusted."""
    for name in names:
        value = usage.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if 0 <= value <= TOKENS_MAX:
            return int(value)
    return None
