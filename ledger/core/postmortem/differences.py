"""What the failed runs had in common: the attributes of runs as columns, and what stood out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ledger.core.postmortem.cases import FAILED, Case
from ledger.core.postmortem.material import Before, EndRow, Material
from ledger.core.postmortem.queries import FAILED as FAILED_TERM
from ledger.core.postmortem.queries import ended, listing, term
from ledger.core.postmortem.recovery import failed_attempts
from ledger.core.query import Term
from ledger.core.standing_out import (
    FAILED_MIN,
    Columns,
    Counted,
    Standing,
    Value,
    standing_out,
)

FOLLOW: Final = ("attempts", "duration", "error_code", "fingerprint", "webhook")
"""Not compared: these follow from how a run ended, and so would always stand out."""
TAGS_MAX: Final = 50
LIFE: Final = "life:"
QUERIED: Final = frozenset({"provider", "model", "assistant", "kind", "profile"})


def differences(material: Material, done: Sequence[Case], terms: Sequence[Term]) -> dict[str, Any]:
    """Failed runs against the other finished runs of the window.

    Where restarts have left fewer failed runs than can be tested, and enough runs had a failed
    attempt, it is those that are compared.
    """
    failed = [case.failed for case in done]
    selection = "failed"
    hit = [bool(failed_attempts(case, material.span)) for case in done]
    if sum(failed) < FAILED_MIN <= sum(hit):
        failed, selection = hit, "hit"
    columns = columns_of(material, done)
    given = {term.name for term in terms if not term.negated}
    chosen = {name: column for name, column in columns.items() if name not in given}
    groups = [case.run.serial_key for case in done]
    found = standing_out(failed, chosen, groups)
    previous = next(iter(material.before), None)
    return {
        "selection": selection,
        "failed": found.failed,
        "others": found.others,
        "tested": found.tested,
        "attributes": sorted(chosen),
        "defining": sorted(given & set(columns)),
        "not_compared": list(FOLLOW),
        "left_out": [{"attribute": name, "values": n} for name, n in found.left_out],
        "found": [_finding(material, one, previous) for one in found.found],
        "counts": [_counted(one) for one in found.counts],
    }


def columns_of(material: Material, done: Sequence[Case]) -> Columns:
    """Each attribute with a value for each run."""
    lives = {life.id: life for life in material.lives}
    accounts = material.accounts
    drivers = [_driver(case) for case in done]
    found: dict[str, list[Value]] = {
        "provider": [case.run.provider for case in done],
        "model": [case.run.model for case in done],
        "assistant": [case.run.assistant for case in done],
        "kind": [case.run.kind for case in done],
        "profile": [accounts[case.run.account_id].profile for case in done],
        "base_url": [accounts[case.run.account_id].base_url for case in done],
        # Those of before the window are here because they took long: that follows from the end.
        "hour_created": [
            case.run.created_at.isoformat()[: len("2026-01-31T23")]
            if material.span.holds(case.run.created_at)
            else None
            for case in done
        ],
        "worker": [driver[:8] if driver else None for driver in drivers],
        "host": [lives[d].host if d in lives else None for d in drivers],
        "version": [lives[d].version if d in lives else None for d in drivers],
        "tool": [tuple({call.tool: 1 for call in case.calls}) or None for case in done],
        "tool_error": [
            tuple({call.tool: 1 for call in case.calls if call.is_error}) or None for case in done
        ],
    }
    names = Counter(name for case in done for name in case.run.tags)
    for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))[:TAGS_MAX]:
        found[f"tag.{name}"] = [_tag(case.run.tags, name) for case in done]
    return found


def _driver(case: Case) -> str | None:
    """The life that recorded the verdict."""
    assert case.closing is not None
    event = case.end_of(case.closing)
    if event is None or not event.actor.startswith(LIFE):
        return None
    return event.actor.removeprefix(LIFE)


def _tag(tags: Mapping[str, Any], name: str) -> str | None:
    value = tags.get(name)
    return None if value is None else str(value)


def _counted(one: Counted) -> dict[str, Any]:
    return {
        "attribute": one.attribute,
        "value": one.value,
        "failed": one.failed,
        "runs": one.runs,
        "other_failed": one.other_failed,
        "other_runs": one.other_runs,
    }


def _finding(material: Material, one: Standing, previous: Before | None) -> dict[str, Any]:
    of = one.of
    return {
        **_counted(of),
        "share": round(of.failed / of.runs, 6),
        "other_share": round(of.other_failed / of.other_runs, 6),
        "ratio": round(one.ratio.value, 3),
        "low": round(one.ratio.low, 3),
        "high": round(one.ratio.high, 3),
        "p": one.p,
        "q": one.q,
        "covers": round(one.covers, 6),
        "also": [{"attribute": name, "value": value} for name, value in one.also],
        "threads": one.groups,
        "largest_thread": round(one.largest_group, 6),
        "before": _before(material, of, previous),
        "query": _query(material, of),
    }


def _query(material: Material, of: Counted) -> str | None:
    if of.attribute not in QUERIED and not of.attribute.startswith("tag."):
        return None
    terms = (FAILED_TERM, term(of.attribute, of.value), ended(material.span))
    return listing(material.query, *terms)


def _before(material: Material, of: Counted, previous: Before | None) -> dict[str, Any] | None:
    """How runs with the value did in the window before: what changed."""
    read = _READ.get(of.attribute)
    if of.attribute.startswith("tag."):
        name = of.attribute.removeprefix("tag.")
        read = lambda _, end: _tag(end.tags, name)  # noqa: E731
    if read is None or previous is None or not previous.ends:
        return None
    theirs = [end for end in previous.ends if read(material, end) == of.value]
    failed = sum(1 for end in theirs if end.state in FAILED)
    share = round(failed / len(theirs), 6) if theirs else None
    return {"failed": failed, "runs": len(theirs), "share": share}


_READ: Final[dict[str, Callable[[Material, EndRow], str | None]]] = {
    "provider": lambda _, end: end.provider,
    "model": lambda _, end: end.model,
    "kind": lambda _, end: end.kind,
    "profile": lambda material, end: material.accounts[end.account_id].profile,
}
