"""What runs used, by upstream's count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger.core.model import Facts

USAGE_MAX: Final = 10**15
USAGE_DEPTH: Final = 4


def add_usage(known: Any, more: Any, depth: int = USAGE_DEPTH) -> Any:
    """What a run used over all its links and attempts: numbers are summed, field by field.

    Upstream's numbers are not trusted: one beyond USAGE_MAX counts nothing, and cannot be stored.
    """
    if not isinstance(more, dict) or depth == 0:
        return known
    total: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
    for name, value in more.items():
        if isinstance(value, dict):
            total[name] = add_usage(total.get(name), value, depth - 1)
        elif _counts(value):
            before = total.get(name)
            total[name] = value + (before if isinstance(before, int | float) else 0)
    return total


def _counts(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= USAGE_MAX


def usage_of(facts: Facts, attempt: int) -> Mapping[str, object] | None:
    """What an attempt used: the sum over its objects, with those that reported after its end."""
    total = None
    for remote in facts.remotes:
        if remote.attempt == attempt:
            total = add_usage(total, remote.usage)
    return total
