"""Upstream calls, counted for each run by operation and outcome.

A call that leads to a change of its run is counted in that change. The others stand in the life's
memory and are written with the run's next change, every 60 s, and when the life lets go: each of
them once. A life that is killed, or that loses a run, takes with it what it had not written: the
calls of a minute at most. The hourly counts of the account are kept apart from these.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from ledger.core.model import Change, Run
from ledger.core.record import evolve

Spent = tuple[tuple[str, int], ...]
"""Calls that are not written yet, by name; the last one made stands first."""

OK: Final = "ok"
UNCHANGED: Final = "unchanged"
LOOKS: Final = frozenset({"observe", "search"})
"""The operations that only ask: without news they count as `unchanged`."""


@functools.cache
def name_of(operation: str, outcome: str) -> str:
    """How a call is counted: `observe.unchanged`. One object for each name: lives hold many."""
    return f"{operation}.{outcome}"


def outcome_of(operation: str, outcome: str, *, news: bool) -> str:
    """The outcome that a call counts under: the error's class, `ok`, or `unchanged`."""
    return UNCHANGED if not news and outcome == OK and operation in LOOKS else outcome


def spend(spent: Spent, name: str) -> Spent:
    """One more call. A run makes the same one over and over, so that is what costs least."""
    if not spent:
        return ((name, 1),)
    first, count = spent[0]
    if first == name:
        return ((name, count + 1), *spent[1:])
    before = dict(spent).get(name, 0)
    return ((name, before + 1), *(item for item in spent if item[0] != name))


def with_calls(run: Run, spent: Spent) -> Run:
    """The run with these calls counted."""
    counts = dict(run.call_counts)
    for name, count in spent:
        counts[name] = counts.get(name, 0) + count
    return evolve(run, calls=sum(counts.values()), call_counts=shared_counts(tuple(counts.items())))


@functools.lru_cache(maxsize=4_096)
def shared_counts(counts: tuple[tuple[str, int], ...]) -> Mapping[str, int]:
    """Counts by name, one object for all runs that have the same: most of those in flight do."""
    return dict(counts)


def counted(
    change: Change, spent: Spent, call: str | None = None, *, always: bool = False
) -> Change:
    """The change with the calls made so far, and the one that led to it. A change that is empty
    stays so, unless `always`."""
    if not (spent or call) or (change.empty and not always):
        return change
    spent = spend(spent, call) if call else spent
    after = evolve(change.after, run=with_calls(change.after.run, spent))
    return evolve(change, after=after)
