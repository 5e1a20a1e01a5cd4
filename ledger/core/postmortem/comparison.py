"""The window beside earlier ones: volume, failures, how long runs took, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ledger.core.postmortem.cases import FAILED, Case
from ledger.core.postmortem.impact import durations, figures, ratio_of
from ledger.core.postmortem.material import Before, Material
from ledger.core.postmortem.queries import FAILED as FAILED_TERM
from ledger.core.postmortem.queries import ended, listing, moment
from ledger.core.postmortem.waste import spent_usd
from ledger.core.prices import Prices
from ledger.core.statistics import Ratio, rate_ratio, risk_ratio


def comparison(material: Material, done: Sequence[Case], prices: Prices) -> list[dict[str, Any]]:
    """One entry for each window that this one is compared with, also where there was nothing."""
    return [_beside(material, done, before, prices) for before in material.before]


def _beside(
    material: Material, done: Sequence[Case], before: Before, prices: Prices
) -> dict[str, Any]:
    failed = sum(1 for case in done if case.failed)
    past_failed = sum(1 for end in before.ends if end.state in FAILED)
    seconds = durations(
        (end.state, (end.finished_at - end.created_at).total_seconds()) for end in before.ends
    )
    length = material.span.length.total_seconds()
    whole = material.ledger_since <= before.span.since
    # Of a window that was pruned those may be left that failed: it is not compared.
    left = not (before.pruned or material.pruned)
    return {
        "name": before.name,
        "since": moment(before.span.since),
        "until": moment(before.span.until),
        "finished": len(before.ends),
        "by_state": dict(sorted(Counter(str(end.state) for end in before.ends).items())),
        "failure": ratio_of(past_failed, len(before.ends)),
        "duration": figures(seconds),
        **spent_usd(before.spent, prices),
        "whole": whole,
        "pruned": before.pruned,
        "volume_ratio": _view(rate_ratio(len(done), length, len(before.ends), length))
        if left and before.ends and done
        else None,
        "failure_ratio": _view(risk_ratio(failed, len(done), past_failed, len(before.ends)))
        if left
        else None,
        "query": listing(material.query, FAILED_TERM, ended(before.span)),
    }


def _view(ratio: Ratio | None) -> dict[str, float] | None:
    if ratio is None:
        return None
    return {name: round(value, 3) for name, value in ratio._asdict().items()}
