"""All numbers of a report: one nested dict of plain values, from which every form is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.core.postmortem import story
from ledger.core.postmortem.cases import Case, cases_of, finished
from ledger.core.postmortem.comparison import comparison
from ledger.core.postmortem.completeness import completeness, unknown
from ledger.core.postmortem.differences import differences
from ledger.core.postmortem.failures import ends_of, evidence, failures_of, fingerprints
from ledger.core.postmortem.impact import impact, over_time
from ledger.core.postmortem.lag import detection
from ledger.core.postmortem.material import Material
from ledger.core.postmortem.recovery import recovery
from ledger.core.postmortem.surroundings import environment, headroom
from ledger.core.postmortem.timeline import timeline
from ledger.core.postmortem.tools import tools
from ledger.core.postmortem.waste import waste
from ledger.core.prices import Prices
from ledger.core.query import Term

SCHEMA: Final = "runward-postmortem/1"
NARROW_MINUTES: Final = 10


def numbers(
    material: Material, prices: Prices, terms: Sequence[Term], *, version: str
) -> dict[str, Any]:
    """The numbers of one window. The same material and prices give the same numbers."""
    cases = cases_of(material)
    done = finished(cases, material.span)
    failures = failures_of(material, cases)
    previous = next(iter(material.before), None)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "header": _header(material, version),
        "impact": impact(material, cases, done, previous),
        "over_time": over_time(material, cases, done, previous),
        "detection": detection(cases, material.span, material.query),
        "first_and_last": ends_of(failures, done),
        "fingerprints": fingerprints(material, failures),
        "differences": differences(material, done, terms),
        "recovery": recovery(cases, material.span),
        "tools": tools(material, cases),
        "waste": waste(material, cases, prices),
        "headroom": headroom(material),
        "environment": environment(material, done),
        "comparison": comparison(material, done, prices),
        "evidence": evidence(material, failures),
        "narrow": _narrow(done),
    }
    down = found["environment"]["unobserved_minutes"]
    found["completeness"] = completeness(material, done, found["detection"], down)
    found["timeline"] = timeline(material, cases, failures, found)
    return found | _sentences(found, terms)


def _sentences(found: Mapping[str, Any], terms: Sequence[Term]) -> dict[str, Any]:
    return {
        "summary": story.summary(found),
        "quiet": story.quiet(found),
        "unknown": unknown(found, terms),
        "factors": story.factors(found),
        "went_well": story.went_well(found),
        "luck": story.luck(found),
        "actions": story.actions(found),
    }


def _header(material: Material, version: str) -> dict[str, Any]:
    span = material.span
    return {
        "title": f"Incident report {story.clock(span.since.isoformat())} "
        f"to {story.clock(span.until.isoformat())}",
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "as_of": material.as_of.isoformat(),
        "query": material.query,
        "ledger": material.ledger_id,
        "version": version,
        "database_schema": material.schema,
        "status": "draft",
        "redacted": False,
    }


def _narrow(done: Sequence[Case]) -> dict[str, Any]:
    """Verdicts whose result was read shortly before upstream was to drop it."""
    left = []
    for case in done:
        assert case.closing is not None
        remote = case.remote_of(case.closing)
        if remote is None or remote.readable_until is None or case.ended_at is None:
            continue
        ended = remote.remote_ended_at or remote.live_at
        kept = (remote.readable_until - case.ended_at).total_seconds()
        # What is kept for no longer anyway is no luck.
        late = ended is not None and (case.ended_at - ended).total_seconds() > NARROW_MINUTES * 60
        if late and 0.0 <= kept < NARROW_MINUTES * 60:
            left.append(kept)
    return {
        "minutes": NARROW_MINUTES,
        "runs": len(left),
        "closest_seconds": round(min(left), 3) if left else None,
    }
