"""Polling or webhooks: what the ledger's own runs would have cost under each way to watch them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from ledger.core.alphabet import Receipt
from ledger.core.comparing import (
    FOLK_RUNS,
    SDK_SECONDS,
    SLOW_SECONDS,
    TIGHT_SECONDS,
    WEBHOOK_SECONDS,
    Experienced,
    Figures,
    Lasted,
    break_even,
    experienced,
    figures,
    learned,
    monthly_usd,
    steady,
    webhooks,
)
from ledger.core.delivery import missed_share
from ledger.core.pacing.policies import BACKOFF
from ledger.core.pacing.rehearsal import Rehearsed, rehearse
from ledger.core.pacing.worth import Aim, worth_of
from ledger.core.prices import usd
from ledger.core.simulating import mix_of
from ledger.store.costs import Ended, Window, ended_objects, look_seconds
from ledger.store.webhook_stats import delays, receipts

if TYPE_CHECKING:
    from sqlalchemy import Connection

OBJECTS_MAX: Final = 2_000
"""So many of the newest objects are played through the policies."""
NEVER: Final = "never on price alone"
CLAIM_USD: Final = Decimal("0.00015")
CLAIM_CALLS: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is compared by: what the learned policy aims at, and prices in USD."""

    aim: Aim
    call_price: Decimal
    endpoint_monthly: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What the ledger has measured of looks and of webhooks."""

    round_trip: float | None
    missed: float
    ends: int
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the ledger holds of a window's runs."""

    window: Window
    found: Sequence[Ended]
    measured: _Measured


def traffic(connection: Connection, window: Window) -> Traffic:
    """Read what the report is made of. Making it takes seconds: no transaction lasts so long."""
    found = ended_objects(connection, window, limit=OBJECTS_MAX)
    return Traffic(window=window, found=found, measured=_measured(connection, window.since))


def policies_report(of: Traffic, terms: Terms) -> dict[str, Any]:
    """The report, as plain values: a row for each policy, and one for what was really spent."""
    window, found, measured = of.window, of.found, of.measured
    objects = experienced(
        [Lasted(of=one.of, place=(one.run_id, one.n), seconds=one.seconds) for one in found]
    )
    worth = worth_of(terms.aim, mix_of(objects, _minutes(found)))
    rows = _rows(found, objects, measured, worth) if found else []
    seconds = sum(one.seconds for one in found)
    return {
        "since": window.since.isoformat(),
        "until": window.until.isoformat() if window.until else None,
        "objects": len(found),
        "objects_max": OBJECTS_MAX,
        "run_seconds": round(seconds, 3),
        "round_trip_seconds": _rounded(measured.round_trip),
        "webhooks_missed_share": round(measured.missed, 6),
        "webhooks_measured_ends": measured.ends,
        "webhook_delay_seconds": _rounded(measured.after),
        "worth": round(worth, 6),
        "call_price_usd": usd(terms.call_price),
        "endpoint_monthly_usd": usd(terms.endpoint_monthly),
        "folk_runs": FOLK_RUNS,
        "policies": [_priced(row, rows, terms) for row in rows],
        "claims": claims(),
    }


def claims() -> list[dict[str, str]]:
    """What is often said of the price of a call, beside what can be found, and the arithmetic."""
    total = CLAIM_USD * CLAIM_CALLS
    return [
        {
            "claim": f"a status call costs ${CLAIM_USD}",
            "finding": "unsupported: no price for a status call is published",
            "arithmetic": f"{CLAIM_CALLS:,} calls at that price are ${total:,.2f}, not $1.50",
        }
    ]


def _measured(connection: Connection, since: datetime) -> _Measured:
    calls, seconds = look_seconds(connection, since.replace(minute=0, second=0, microsecond=0))
    counted: Counter[str] = Counter()
    for of in receipts(connection, since).values():
        counted.update(of)
    late = [late for of in delays(connection, since).values() for late in of]
    return _Measured(
        round_trip=seconds / calls if calls else None,
        missed=missed_share(counted),
        ends=counted[Receipt.told] + counted[Receipt.missed],
        after=max(median(late), 0.0) if late else None,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    figures: Figures
    per_second: float
    """Calls for each second that a run lasts."""
    note: str = ""


def _minutes(found: Sequence[Ended]) -> float:
    """How long it took to begin them all."""
    begun = [one.begun_at for one in found]
    return (max(begun) - min(begun)).total_seconds() / 60.0 if begun else 0.0


def _rows(
    found: Sequence[Ended], objects: Experienced, measured: _Measured, worth: float
) -> list[_Row]:
    durations = [one.seconds for one in found]
    tight = TIGHT_SECONDS + (measured.round_trip or 0.0)
    after = WEBHOOK_SECONDS if measured.after is None else measured.after
    assumed = "" if measured.ends else "; misses assumed"
    made: Mapping[str, tuple[Callable[[], Figures], str]] = {
        "tight loop": (lambda: steady(durations, tight), f"every {tight:.2f} s"),
        "1 s": (lambda: steady(durations, SDK_SECONDS), "the SDK's helpers"),
        "2.5 s": (lambda: steady(durations, SLOW_SECONDS), ""),
        "backoff": (lambda: _of(rehearse(durations, BACKOFF)), "0.5 s x1.5, cap 5 s"),
        "learned": (lambda: learned(objects, worth), "each run by those before it"),
        "webhooks": (
            lambda: webhooks(objects, worth, missed=measured.missed, after_seconds=after),
            f"{after:.1f} s late, {measured.missed:.1%} missed{assumed}",
        ),
    }
    whole = max(sum(durations), 1e-9)
    rows = [_row(name, make(), whole, note) for name, (make, note) in made.items()]
    spent = _spent(found)
    return rows if spent is None else [*rows, _row("spent", spent, whole, "as it was")]


def _row(name: str, found: Figures, whole: float, note: str) -> _Row:
    return _Row(name, found, found.calls * found.runs / whole, note)


def _spent(found: Sequence[Ended]) -> Figures | None:
    """What was really spent, and how late the ends were really noticed."""
    late = [(one.delay, 1.0) for one in found if one.delay is not None]
    if not late:
        return None
    return figures(late, runs=len(found), calls=sum(one.looks for one in found))


def _of(played: Rehearsed) -> Figures:
    return Figures(
        runs=played.runs,
        calls=played.calls,
        mean=played.mean,
        p50=played.p50,
        p95=played.p95,
        p99=played.p99,
    )


def _priced(row: _Row, rows: Sequence[_Row], terms: Terms) -> dict[str, Any]:
    calls = row.figures.calls * row.figures.runs
    beside = next(one for one in rows if one.name == "webhooks")
    saved = row.per_second - beside.per_second
    return {
        "policy": row.name,
        "calls": round(calls, 1),
        "calls_per_run": round(row.figures.calls, 3),
        "calls_usd": usd(Decimal(repr(calls)) * terms.call_price),
        "mean_delay": round(row.figures.mean, 3),
        "p50_delay": round(row.figures.p50, 3),
        "p95_delay": round(row.figures.p95, 3),
        "p99_delay": round(row.figures.p99, 3),
        "folk_runs_usd": usd(monthly_usd(saved, terms.call_price, FOLK_RUNS)),
        "pays_from_runs": None if row is beside else _pays(saved, terms),
        "note": row.note,
    }


def _pays(saved: float, terms: Terms) -> int | str | None:
    """From how many runs at once a webhook endpoint is cheaper than this policy."""
    if terms.call_price <= 0 or saved <= 0:
        return NEVER
    if terms.endpoint_monthly is None:
        return None
    return break_even(saved, terms.call_price, terms.endpoint_monthly)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
