"""Tokens and calls of attempts whose result was not used; what has no count or price is apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from ledger.core.alphabet import RemoteKind, State
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.material import AttemptRow, Material, RemoteRow, Span, SpentRow
from ledger.core.postmortem.queries import FAILED, ended, listing, shown
from ledger.core.prices import Prices, usd
from ledger.core.tokens import Tokens

COUNTED: Final = frozenset({RemoteKind.response, RemoteKind.thread_run})
USED: Final = "used"
OPEN: Final = "open"
DUPLICATE: Final = "duplicate"
RESTARTED: Final = "restarted"


@dataclass(slots=True)
class _Sum:
    """Objects of one model with one end: how many, their tokens, and how many have no count."""

    objects: int = 0
    untold: int = 0
    used: int = 0
    cached: int = 0
    made: int = 0

    def add(self, remote: RemoteRow) -> None:
        self.objects += 1
        if remote.tokens_in is None and remote.tokens_out is None:
            self.untold += 1
            return
        self.used += remote.tokens_in or 0
        self.cached += remote.tokens_cached or 0
        self.made += remote.tokens_out or 0


def waste(material: Material, cases: Sequence[Case], prices: Prices) -> dict[str, Any]:
    """What the attempts that ended in the window have used, by what became of it."""
    sums: dict[tuple[str, str | None], _Sum] = defaultdict(_Sum)
    runs: dict[str, set[int]] = defaultdict(set)
    for case in cases:
        for remote, attempt in _objects(case, material.span):
            end = end_of(case, remote, attempt)
            sums[end, case.run.model].add(remote)
            runs[end].add(case.run.id)
    causes = sorted({end for end, _ in sums} - {USED, OPEN})

    def of(ends: Collection[str]) -> dict[str, Any]:
        return _view({key: one for key, one in sums.items() if key[0] in ends}, prices)

    failed = [case for case in cases if case.failed and material.span.holds(case.ended_at)]
    return {
        "prices": prices.version,
        "total": of({end for end, _ in sums}),
        "unused": of(causes),
        "by_cause": {
            cause: {**of((cause,)), "runs": len(runs[cause]), "query": shown(runs[cause])}
            for cause in causes
        },
        "calls_of_failed_runs": sum(case.run.calls for case in failed),
        "failed_query": listing(material.query, FAILED, ended(material.span)),
    }


def _view(sums: Mapping[tuple[str, str | None], _Sum], prices: Prices) -> dict[str, Any]:
    """Money is None where nothing of it has a price: that is not nothing."""
    cost: Decimal | None = None
    unpriced = 0
    for (_, model), one in sums.items():
        tokens = Tokens(input=one.used, cached=one.cached, output=one.made)
        price = prices.cost(model, tokens)
        if price is None:
            unpriced += one.objects - one.untold
        else:
            cost = (cost or Decimal(0)) + price
    return {
        "objects": sum(one.objects for one in sums.values()),
        "tokens_in": sum(one.used for one in sums.values()),
        "tokens_cached": sum(one.cached for one in sums.values()),
        "tokens_out": sum(one.made for one in sums.values()),
        "cost_usd": usd(cost),
        "without_usage": sum(one.untold for one in sums.values()),
        "without_price": unpriced,
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
    here = remote.attempt == last.number
    reached = here or (last.base is not None and remote.n <= last.base)
    if last.outcome is None:
        return OPEN if reached else str(attempt.outcome)
    if last.outcome == State.completed:
        mine = (one.n for one in case.remotes if one.attempt == last.number)
        if remote.n == max(mine, default=last.base):
            return USED
        if reached and any(one.previous == remote.n for one in case.remotes):
            return USED
        if here:
            return DUPLICATE
    if here:
        return str(last.outcome)
    return RESTARTED if attempt.outcome == State.completed else str(attempt.outcome)


def spent_usd(rows: Sequence[SpentRow], prices: Prices) -> dict[str, Any]:
    """What a window to compare with has cost, and how many tokens have no price."""
    cost: Decimal | None = None
    unpriced = 0
    for row in rows:
        tokens = Tokens(input=row.tokens_in, cached=row.tokens_cached, output=row.tokens_out)
        price = prices.cost(row.model, tokens)
        if price is None:
            unpriced += tokens.total
        else:
            cost = (cost or Decimal(0)) + price
    return {"cost_usd": usd(cost), "tokens_without_price": unpriced}
