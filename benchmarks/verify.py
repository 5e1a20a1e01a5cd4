"""The whole chain recomputed: events a minute of `verify`, over a ledger made by the real writer.

Three shapes of history: many short runs, one run with most of the events, and both under seals. An
event brings a payload of 165 bytes, as in the other benchmarks.
"""

from __future__ import annotations

import asyncio
import functools
import resource
import time

from benchmarks.common import (
    Databases,
    Goal,
    Row,
    arguments,
    chosen,
    median,
    print_machine,
    print_table,
)
from benchmarks.store import owned_runs, record
from ledger.clock import utcnow
from ledger.core.model import Facts
from ledger.store.records import Written
from ledger.store.seals import seal
from ledger.store.store import Store
from ledger.store.verify import verify
from ledger.store.writer import ThreadWriter

GOALS = {
    "many": Goal("verify, {} runs", "events/min", 1_000_000, 3_000_000),
    "one": Goal("verify, one run", "events/min", 1_000_000, 3_000_000),
}
RUNS = 1_000


async def append(writer: ThreadWriter, facts: Facts, events: int) -> None:
    """So many events more in one history."""
    for _ in range(events):
        result = await writer.commit(record(facts))
        assert isinstance(result, Written)
        facts = result.facts


async def fill(writer: ThreadWriter, runs: list[Facts], events: int) -> None:
    """Histories of one length."""
    await asyncio.gather(*(append(writer, facts, events // len(runs)) for facts in runs))


def events_a_minute(databases: Databases, kind: str, runs: int, events: int) -> float:
    """The median rate over one ledger, which is sealed and in order."""
    with databases.fresh(kind) as url:
        with owned_runs(url, runs) as (writer, owned):
            asyncio.run(fill(writer, owned, events))
            store = Store.open(url)
            make = functools.partial(seal, ledger=store.ledger_id, now=utcnow())
            while writer.run(make).result():
                pass
        try:
            return median(lambda: measure(store))
        finally:
            store.close()


def measure(store: Store) -> float:
    """One pass."""
    started = time.perf_counter()
    done = store.read(verify)
    seconds = time.perf_counter() - started
    assert not done.broken, done.broken[0]
    assert done.seals
    return done.events / seconds * 60


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="in each ledger")
    options = parser.parse_args()
    print_machine("verify")
    rows = []
    with Databases() as databases:
        for kind in chosen(options):
            for shape, runs in (("many", RUNS), ("one", 1)):
                events = options.events if runs > 1 else max(1, options.events // 10)
                value = events_a_minute(databases, kind, runs, events)
                goal = GOALS[shape]
                name = goal.name.format(f"{runs:,}")
                rows.append(Row(Goal(name, goal.unit, goal.must, goal.stretch), kind, value))
    print_table(rows)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nmost memory of the process: {megabytes:,.0f} MB")


if __name__ == "__main__":
    main()
