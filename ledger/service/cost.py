"""What runs have cost: calls, looks for nothing, tokens and money, and what was not used of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ledger.core.counting import LOOKS, UNCHANGED
from ledger.core.prices import Prices, usd
from ledger.core.query import TAG as TAG_NAME
from ledger.core.tokens import Tokens
from ledger.errors import InvalidInput
from ledger.store.costs import (
    GROUPS,
    OPEN,
    TAG,
    USED,
    CallCount,
    RunCount,
    TokenCount,
    Window,
    count_calls,
    count_runs,
    count_tokens,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

GROUPS_MAX: Final = 1_000
SINCE: Final = "7d"


@dataclass(slots=True)
class _Money:
    """Tokens of several models: what is known of their price, and which are not known."""

    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal | None = None
    objects: int = 0
    untold: int = 0
    unpriced: dict[str | None, tuple[int, Tokens]] = field(default_factory=dict)

    def add(self, count: TokenCount, prices: Prices) -> None:
        """Count these too."""
        self.tokens = self.tokens.plus(count.tokens)
        self.objects += count.objects
        self.untold += count.untold
        if not count.objects:
            return
        cost = prices.cost(count.model, count.tokens)
        if cost is None:
            objects, tokens = self.unpriced.get(count.model, (0, Tokens()))
            self.unpriced[count.model] = (objects + count.objects, tokens.plus(count.tokens))
        else:
            self.cost = (self.cost or Decimal(0)) + cost

    def view(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "tokens_in": self.tokens.input,
            "tokens_cached": self.tokens.cached,
            "tokens_out": self.tokens.output,
            "cost_usd": usd(self.cost),
        }


def judge_by(by: str | None) -> str | None:
    """What to group by. Raises InvalidInput, naming what is known."""
    named = by is not None and by.startswith(TAG) and TAG_NAME.fullmatch(f"tag.{by[len(TAG) :]}")
    if by is None or by in GROUPS or named:
        return by
    known = ", ".join((*GROUPS, "tag:NAME"))
    raise InvalidInput(f"runs cannot be grouped by {by!r}", hint=f"known: {known}")


def cost_report(
    connection: Connection, window: Window, by: str | None, prices: Prices, call_price: Decimal
) -> dict[str, Any]:
    """The report, as plain values: a row for each group, the dearest in calls first, and a total.

    Raises InvalidInput for more than GROUPS_MAX groups.
    """
    runs = count_runs(connection, window, by, limit=GROUPS_MAX + 1)
    if len(runs) > GROUPS_MAX:
        raise InvalidInput(
            f"there are more than {GROUPS_MAX} values of {by!r}", hint="take a shorter window"
        )
    calls, tokens = count_calls(connection, window, by), count_tokens(connection, window, by)
    made, used = _by_group(calls), _by_group(tokens)
    rows = [
        _row(one.group, [one], made[one.group], used[one.group], prices, call_price)
        for one in sorted(runs, key=lambda run: (-run.calls, run.group or ""))
    ]
    return {
        "since": window.since.isoformat(),
        "until": window.until.isoformat() if window.until else None,
        "by": by,
        "prices": {"version": prices.version, "source": prices.source, "currency": "USD"},
        "call_price_usd": usd(call_price),
        "groups": rows if by is not None else [],
        "total": _row(None, runs, calls, tokens, prices, call_price),
    }


def _by_group(counts: Iterable[Any]) -> dict[str | None, list[Any]]:
    found: dict[str | None, list[Any]] = defaultdict(list)
    for count in counts:
        found[count.group].append(count)
    return found


def _row(
    group: str | None,
    runs: Sequence[RunCount],
    calls: Sequence[CallCount],
    tokens: Sequence[TokenCount],
    prices: Prices,
    call_price: Decimal,
) -> dict[str, Any]:
    number, made = sum(one.runs for one in runs), sum(one.calls for one in runs)
    operations = _operations(calls)
    looks, wasted = _looks(calls)
    money, unused, waiting = _Money(), _Money(), _Money()
    causes: dict[str, _Money] = defaultdict(_Money)
    for count in tokens:
        money.add(count, prices)
        if count.end == OPEN:
            waiting.add(count, prices)
        elif count.end != USED:
            unused.add(count, prices)
            causes[count.end].add(count, prices)
    return {
        "group": group,
        "runs": number,
        "attempts": sum(one.attempts for one in runs),
        "calls": made,
        "calls_per_run": _ratio(made, number),
        "calls_usd": usd(call_price * made),
        "operations": operations,
        "looks": looks,
        "wasted_looks": wasted,
        "wasted_share": _ratio(wasted, looks),
        **money.view(),
        "unknown": _unknown(money),
        "unused_tokens": unused.tokens.total,
        "unused_usd": usd(unused.cost),
        "unused": [{"cause": why, **causes[why].view(), "unknown": _unknown(causes[why])}
                   for why in sorted(causes)],
        "undecided_tokens": waiting.tokens.total,
    }  # fmt: skip


def _operations(calls: Sequence[CallCount]) -> Mapping[str, int]:
    found: dict[str, int] = defaultdict(int)
    for count in calls:
        found[count.name.partition(".")[0]] += count.calls
    return dict(sorted(found.items()))


def _looks(calls: Sequence[CallCount]) -> tuple[int, int]:
    """Looks, and those of them that brought nothing new."""
    looks = [count for count in calls if count.name.partition(".")[0] in LOOKS]
    wasted = [count for count in looks if count.name.partition(".")[2] == UNCHANGED]
    return sum(count.calls for count in looks), sum(count.calls for count in wasted)


def _unknown(money: _Money) -> dict[str, Any]:
    """What no money can be named for: models without a price, objects without a count."""
    priceless = [
        {"model": model, "objects": objects, "tokens_in": tokens.input, "tokens_out": tokens.output}
        for model, (objects, tokens) in sorted(money.unpriced.items(), key=lambda i: i[0] or "")
    ]
    return {"price": priceless, "usage_objects": money.untold}


def _ratio(part: int, whole: int) -> float | None:
    return None if not whole else round(part / whole, 4)


def judge_window(since: datetime, until: datetime | None) -> Window:
    """The window. Raises InvalidInput if it ends before it begins."""
    if until is not None and until <= since:
        raise InvalidInput("the window ends before it begins", hint="since must be before until")
    return Window(since=since, until=until)
