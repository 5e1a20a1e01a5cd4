"""Incident reports: judging what is asked for, reading it, and the numbers."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.postmortem.hiding import hidden
from ledger.core.postmortem.material import Material, Span
from ledger.core.postmortem.numbers import numbers
from ledger.core.query import parse_query
from ledger.errors import InvalidInput
from ledger.service.dates import Moment, moment, read_words
from ledger.service.price_list import load_prices
from ledger.service.workers import program_version
from ledger.store.report import read_window
from ledger.store.schema import HEAD

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger

BASELINES: Final = {"previous": None, "week": timedelta(days=7)}
SPAN_MAX: Final = timedelta(days=92)


def postmortem(
    ledger: Ledger,
    *,
    since: Moment,
    until: Moment | None = None,
    query: str = "",
    as_of: Moment | None = None,
    baseline: str = "previous",
    redact: bool = False,
) -> dict[str, Any]:
    """The numbers of a window. Raises InvalidInput for what cannot be meant."""
    now = utcnow()
    at = now if as_of is None else moment(as_of, now)
    if at > now:
        raise InvalidInput("as_of lies in the future", hint="a report tells what has happened")
    span = judge_span(moment(since, at), at if until is None else moment(until, at), at)
    terms = parse_query(query, now=at, otherwise=read_words)
    prices = load_prices(ledger.settings.prices)
    before = _before(span, baseline)

    def read(connection: Connection) -> Material:
        return read_window(connection, span, at, terms, query=query, schema=HEAD, before=before)

    with uncollected():
        material = ledger.store.read(read)
        if redact:
            material, terms = hidden(material, terms)
        found = numbers(material, prices, terms, version=program_version())
    found["header"]["redacted"] = redact
    return found


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing of the hundreds of thousands of rows is garbage before the end: looking for it again
    and again would take a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def judge_span(since: datetime, until: datetime, as_of: datetime) -> Span:
    """The window. Raises InvalidInput for one that is empty, too long or not begun."""
    if until <= since:
        raise InvalidInput("the window ends before it begins", hint="since must be before until")
    if until - since > SPAN_MAX:
        hint = "--until says where it ends; without, it ends now"
        raise InvalidInput(f"the window is longer than {SPAN_MAX.days} days", hint=hint)
    if since >= as_of:
        hint = f"as_of is {as_of.isoformat()}: --since must be before"
        raise InvalidInput("the window begins after as_of: there is nothing in it yet", hint=hint)
    return Span(since=since, until=until)


def _before(span: Span, baseline: str) -> list[tuple[str, Span]]:
    """The windows to compare with, the chosen one first."""
    if baseline not in BASELINES:
        raise InvalidInput(f"baseline: {baseline!r} is none of {', '.join(BASELINES)}")
    names = sorted(BASELINES, key=lambda name: name != baseline)
    return [(name, span.moved(-(BASELINES[name] or span.length))) for name in names]
