"""The part of a Ledger that searches its history: facets, times past, statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.folding import as_it_stood, judge_past
from ledger.core.measures import Tally, bucket_of
from ledger.core.policy import bounded, parse_duration
from ledger.core.query import TAG as TAG_NAME
from ledger.core.query import Term, parse_query
from ledger.core.request import judge_number
from ledger.errors import InvalidInput, NotFound
from ledger.service.dates import Moment, moment, read_words
from ledger.service.part import Part, RunName
from ledger.service.views import past_summary, run_summary
from ledger.store.facets import count_facets
from ledger.store.finding import PAGE_MAX, runs_of
from ledger.store.measuring import COLUMNS, PROFILE, TAG, measured, tool_seconds
from ledger.store.past import fleet_at, folded, page_at
from ledger.store.queries import one

if TYPE_CHECKING:
    from sqlalchemy import Connection


SINCE: Final = "7d"
GROUPS_MAX: Final = 1_000
BUCKETS_MAX: Final = 2_000
ROWS_MAX: Final = 10_000
FACETS: Final = ("status", "provider", "model", "error_code", "profile", "kind")
FACETS_MAX: Final = 12


class History(Part):
    """Questions about many runs, or about some time."""

    def facets(self, query: str = "", *, by: Sequence[str] = FACETS) -> dict[str, Any]:
        """How many of the runs that match have which value, the 20 most frequent of each field.

        `by` names status, provider, model, error_code, profile, kind and tag:NAME. At most 5,000
        runs are counted, of 20,000 looked at: with `capped`, each count is "at least". Raises
        InvalidInput.
        """
        fields = [judge_field(name, FACETS) for name in by]
        if not 1 <= len(fields) <= FACETS_MAX:
            raise InvalidInput(f"name 1 to {FACETS_MAX} fields to count by, not {len(fields)}")
        terms = parse_query(query, now=utcnow(), otherwise=read_words)
        found = self.store.read(lambda c: count_facets(c, terms, list(dict.fromkeys(fields))))
        return {
            "runs": found.runs,
            "capped": found.capped,
            "facets": {
                name: {
                    "values": [{"value": value, "runs": count} for value, count in values],
                    "others": found.others[name],
                }
                for name, values in found.counts.items()
            },
        }

    def runs_at(
        self, as_of: Moment, query: str = "", *, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        """Runs that matched a query at some time, as they stood then, the newest first.

        What the events do not say (calls, usage, flags) is None for runs that were under way; what
        never changes, and tags, are as they are now. Ages in the query count from `as_of`. Raises
        InvalidInput, also for the future.
        """
        now = utcnow()
        at = judge_past_moment(as_of, now)
        terms = parse_query(query, now=at, otherwise=read_words)
        judge_past(terms)
        limit = min(judge_number("limit", limit), PAGE_MAX)
        after = None if before is None else judge_number("before", before)

        def read(connection: Connection) -> list[dict[str, Any]]:
            page = page_at(connection, terms, at, limit=limit, before=after)
            runs = {run.id: run for run in runs_of(connection, [run_id for run_id, _ in page])}
            return [
                run_summary(runs[run_id])
                if past is None
                else past_summary(as_it_stood(runs[run_id], past))
                for run_id, past in page
            ]

        return self.store.read(read)

    def show_at(self, run: RunName, as_of: Moment) -> dict[str, Any]:
        """One run as it stood at some time, from its events. Raises NotFound, InvalidInput."""
        at, run_id = judge_past_moment(as_of, utcnow()), self.run_id(run)

        def read(connection: Connection) -> dict[str, Any]:
            facts = one(connection, run_id)
            if facts.run.created_at > at:
                raise NotFound(
                    f"there was no run {run_id} at {at.isoformat()}",
                    hint=f"it was created at {facts.run.created_at.isoformat()}",
                )
            [past] = folded(connection, [(run_id, facts.run.created_at)], at)
            return {**past_summary(as_it_stood(facts.run, past)), "as_of": at.isoformat()}

        return self.store.read(read)

    def stats(
        self,
        query: str = "",
        *,
        since: Moment = SINCE,
        until: Moment | None = None,
        by: str | None = None,
        bucket: str | float | None = None,
        as_of: Moment | None = None,
    ) -> dict[str, Any]:
        """Counts, outcomes and percentiles (seconds, nearest rank) of the runs created in a window.

        Times are queue (created to started), run (started to finished), tool (all calls of a run)
        and detection (upstream's end to the verdict). `by` is status, model, provider, profile,
        kind, error_code or tag:NAME; `bucket` a duration such as "5m". With `as_of`, things as they
        stood then, and the whole fleet by state. Raises InvalidInput.
        """
        now = utcnow()
        at = None if as_of is None else judge_past_moment(as_of, now)
        begin = moment(since, at or now)
        end = None if until is None else moment(until, at or now)
        terms = parse_query(query, now=at or now, otherwise=read_words)
        if at is not None:
            judge_past(terms)
        group = None if by is None else judge_field(by, (*COLUMNS, PROFILE))
        size = None if bucket is None else _bucket(bucket, begin, end or at or now)
        window = [*terms, *_window(begin, end)]
        return {
            "query": query,
            "since": begin.isoformat(),
            "until": end.isoformat() if end else None,
            "as_of": at.isoformat() if at else None,
            "by": by,
            "bucket_seconds": size,
            **self.store.read(lambda c: _report(c, window, group, size, at)),
        }


def _report(
    connection: Connection, terms: Sequence[Term], by: str | None, size: float | None,
    at: datetime | None,
) -> dict[str, Any]:  # fmt: skip
    tools = tool_seconds(connection, terms, at)
    total, rows = Tally(), dict[tuple[str | None, datetime | None], Tally]()
    groups: set[str | None] = set()
    for run in measured(connection, terms, by, at):
        seconds = run.seconds(tools.get(run.run_id))
        total.add(run, seconds)
        if by is None and size is None:
            continue
        key = (run.group, bucket_of(run.created_at, size) if size else None)
        if key not in rows:
            groups.add(run.group)
            _judge_size(by, len(groups), len(rows))
            rows[key] = Tally()
        rows[key].add(run, seconds)
    order = sorted(rows, key=_order)
    found: dict[str, Any] = {
        "groups": [
            {"group": group, "bucket": begin.isoformat() if begin else None, **rows[key].view()}
            for key in order
            for group, begin in [key]
        ],
        "total": total.view(),
    }
    if at is not None:
        found["fleet"] = fleet_at(connection, at)
    return found


def _order(key: tuple[str | None, datetime | None]) -> tuple[float, str]:
    group, begin = key
    return (begin.timestamp() if begin else 0.0, group or "")


def _judge_size(by: str | None, groups: int, rows: int) -> None:
    if groups > GROUPS_MAX:
        raise InvalidInput(
            f"there are more than {GROUPS_MAX} values of {by!r}", hint="ask for fewer runs"
        )
    if rows >= ROWS_MAX:
        raise InvalidInput(
            f"there are more than {ROWS_MAX} rows", hint="take larger buckets or fewer runs"
        )


def _bucket(given: str | float, begin: datetime, end: datetime) -> float:
    seconds = bounded("bucket", parse_duration(given), low=1.0, high=366 * 86_400.0)
    if not math.isfinite(seconds) or (end - begin).total_seconds() / seconds > BUCKETS_MAX:
        raise InvalidInput(
            f"there would be more than {BUCKETS_MAX} buckets of {given}",
            hint="take larger buckets, or a shorter window",
        )
    return seconds


def _window(begin: datetime, end: datetime | None) -> list[Term]:
    if end is not None and end <= begin:
        raise InvalidInput("the window ends before it begins", hint="since must be before until")
    window = [Term(name="since", moment=begin)]
    return window if end is None else [*window, Term(name="until", moment=end)]


def judge_field(name: str, known: Sequence[str]) -> str:
    """A field to count by. Raises InvalidInput, naming what is known."""
    tag = name.startswith(TAG) and TAG_NAME.fullmatch(f"tag.{name[len(TAG) :]}")
    if name in known or tag:
        return name
    fields = ", ".join((*known, "tag:NAME"))
    raise InvalidInput(f"runs cannot be counted by {name!r}", hint=f"known: {fields}")


def judge_past_moment(given: Moment, now: datetime) -> datetime:
    """A time that is over. Raises InvalidInput."""
    at = moment(given, now)
    if at > now:
        raise InvalidInput(f"{at.isoformat()} is still to come", hint="--as-of asks about the past")
    return at
