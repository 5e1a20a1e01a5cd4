"""Tokens and calls of attempts whose result was not used; what has no count or price is apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from ledger.core.alphabet import RemoteKind, State
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.material import AttemptRow, Material, RemoteRow, Span, SpentRow
from ledger.core.prices import Prices, usd
from ledger.core.tokens import Tokens

COUNTED: Final = frozenset({RemoteKind.response, RemoteKind.thread_run})
USED: Final = "used"
OPEN: Final = "open"
DUPLICATE: Final = "duplicate"
RESTARTED: Final = "restarted"


@dataclass(slots=True)
class _Sum:
    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal = Decimal(0)
    objects: int = 0
    without_usage: int = 0
    without_price: int = 0

    def view(self) -> dict[str, Any]:
        return {
            "objects": self.objects,
            "tokens_in": self.tokens.input,
            "tokens_cached": self.tokens.cached,
            "tokens_out": self.tokens.output,
            "cost_usd": usd(self.cost),
            "without_usage": self.without_usage,
            "without_price": self.without_price,
        }


def waste(material: Material, cases: Sequence[Case], prices: Prices) -> dict[str, Any]:
    """What the attempts that ended in the window have used, by what became of it."""
    sums: dict[str, _Sum] = defaultdict(_Sum)
    whole, wasted = _Sum(), _Sum()
    for case in cases:
        for remote, attempt in _objects(case, material.span):
            end = end_of(case, remote, attempt)
            _add(sums[end], case.run.model, remote, prices)
            _add(whole, case.run.model, remote, prices)
            if end not in (USED, OPEN):
                _add(wasted, case.run.model, remote, prices)
    causes = {cause: sums[cause].view() for cause in sorted(sums) if cause not in (USED, OPEN)}
    failed = [case for case in cases if case.failed and material.span.holds(case.ended_at)]
    return {
        "prices": prices.version,
        "total": whole.view(),
        "unused": wasted.view(),
        "by_cause": causes,
        "calls_of_failed_runs": sum(case.run.calls for case in failed),
    }


def _objects(case: Case, span: Span) -> Iterable[tuple[RemoteRow, AttemptRow]]:
    """The objects that use tokens, of attempts that ended in the window."""
    ended = {one.number: one for one in case.attempts if span.holds(one.ended_at)}
    for remote in case.remotes:
        told = remote.tokens_in is not None or remote.tokens_out is not None
        over = remote.settled and remote.remote_id is not None
        if remote.attempt in ended and remote.kind in COUNTED and (told or over):
            yield remote, ended[remote.attempt]


def end_of(case: Case, remote: RemoteRow, attempt: AttemptRow) -> str:
    """What became of an object's work: in the result, not decided yet, or why it was for nothing.

    In the result are a run's last object and the links before it, also those of an earlier attempt
    that the last one went on from. As `store.costs` has it.
    """
    last = case.attempts[-1]
    newest = max((one.n for one in case.remotes if one.attempt == last.number), default=last.base)
    linked = any(one.previous == remote.n for one in case.remotes)
    here = remote.attempt == last.number
    reached = here or (last.base is not None and remote.n <= last.base)
    if last.outcome is None:
        return OPEN if reached else str(attempt.outcome)
    if last.outcome == State.completed:
        if remote.n == newest or (reached and linked):
            return USED
        if here:
            return DUPLICATE
    if here:
        return str(last.outcome)
    return RESTARTED if attempt.outcome == State.completed else str(attempt.outcome)


def _add(to: _Sum, model: str | None, remote: RemoteRow, prices: Prices) -> None:
    to.objects += 1
    if remote.tokens_in is None and remote.tokens_out is None:
        to.without_usage += 1
        return
    tokens = Tokens(
        input=remote.tokens_in or 0, cached=remote.tokens_cached or 0, output=remote.tokens_out or 0
    )
    to.tokens = to.tokens.plus(tokens)
    cost = prices.cost(model, tokens)
    if cost is None:
        to.without_price += 1
    else:
        to.cost += cost


def spent_usd(rows: Sequence[SpentRow], prices: Prices) -> dict[str, Any]:
    """What a window to compare with has cost, and how many tokens have no price."""
    cost, unpriced = Decimal(0), 0
    for row in rows:
        tokens = Tokens(input=row.tokens_in, cached=row.tokens_cached, output=row.tokens_out)
        price = prices.cost(row.model, tokens)
        if price is None:
            unpriced += tokens.total
        else:
            cost += price
    return {"cost_usd": usd(cost), "tokens_without_price": unpriced}
