"""The store alone: records a second in large batches, CPU per record, one commit at a time.

A record is a Decision under guard that appends one event with a 165-byte payload: the fence is
read, the change is decided, hashed, chained, written and durable before its caller goes on.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks import raw
from benchmarks.common import (
    ROUNDS,
    Databases,
    Goal,
    Row,
    arguments,
    chosen,
    median,
    print_machine,
    print_table,
)
from ledger.clock import utcnow
from ledger.core.accept import NewRun
from ledger.core.alphabet import EventKind, Source
from ledger.core.decide import Draft
from ledger.core.intent import AccountProfile
from ledger.core.model import Change, Facts
from ledger.store.claims import claim
from ledger.store.records import Decision, Guard, Submission, Written
from ledger.store.store import Store, ensure_account
from ledger.store.writer import ThreadWriter

LIFE = "bench"
BATCH = {
    "sqlite": Goal("G3 store, {} waiters", "records/s", 20_000, 45_000),
    "postgresql": Goal("G3 store, {} waiters", "records/s", 15_000, 35_000),
}
ALONE = Goal("G4 one caller", "% of raw", 50, 80)
CPU = Goal("G5 CPU, 64 waiters", "us/record", 60, 25, more_is_better=False)


def record(facts: Facts) -> Decision:
    """One event with a payload of 165 bytes."""
    return Decision(
        run_id=facts.run.id,
        decide=_change,
        change=_change(facts),
        guard=Guard(LIFE, facts.fence),
    )


def _change(facts: Facts) -> Change:
    now = utcnow()
    draft = Draft(facts, now=now, actor=f"life:{LIFE}", source=Source.poll)
    body = draft.keep(raw.PAYLOAD)
    draft.event(EventKind.observed, payloads=(("body", body),), remote_status="in_progress")
    return draft.change(due_at=now, why="next look")


@contextmanager
def owned_runs(url: str, count: int) -> Iterator[tuple[ThreadWriter, list[Facts]]]:
    """So many runs, accepted and claimed, and the writer."""
    store = Store.open(url)
    writer = store.thread_writer()
    profile = AccountProfile(provider="responses", base_url="https://upstream.test")
    account = writer.run(lambda c: ensure_account(c, "default", profile, "fp", utcnow())).result()
    new = partial(NewRun, provider="responses", account_id=account, request=b'{"model":"m"}')
    for ticket in [writer.put(Submission(new=new(key=f"key-{n}"))) for n in range(count)]:
        ticket.result()
    facts = writer.run(lambda c: claim(c, LIFE, dead=[], limit=count)).result()
    yield writer, facts
    writer.close()
    store.close()


async def wait_in_turn(writer: ThreadWriter, facts: Facts, end: float) -> int:
    """One waiter: a record is made when the one before it is durable."""
    done = 0
    while time.perf_counter() < end:
        result = await writer.commit(record(facts))
        assert isinstance(result, Written)
        facts, done = result.facts, done + 1
    return done


def together(databases: Databases, kind: str, waiters: int, seconds: float) -> tuple[float, float]:
    """(records a second, CPU microseconds a record) of so many waiters at once."""

    async def run(writer: ThreadWriter, runs: list[Facts]) -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        end = started + seconds
        done = sum(await asyncio.gather(*(wait_in_turn(writer, f, end) for f in runs)))
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        return done / elapsed, cpu / done * 1e6

    with databases.fresh(kind) as url, owned_runs(url, waiters) as (writer, runs):
        return asyncio.run(run(writer, runs))


def alone(databases: Databases, kind: str, seconds: float) -> float:
    """Records a second of one thread that waits for each."""
    with databases.fresh(kind) as url, owned_runs(url, 1) as (writer, runs):
        facts = runs[0]
        done, started = 0, time.perf_counter()
        while time.perf_counter() < started + seconds:
            result = writer.put(record(facts)).result()
            assert isinstance(result, Written)
            facts, done = result.facts, done + 1
        return done / (time.perf_counter() - started)


def raw_rate(databases: Databases, kind: str, per_commit: int, seconds: float) -> float:
    """The baseline on a database of its own."""
    with databases.fresh(kind, migrated=False) as url:
        return raw.rate(url, per_commit=per_commit, seconds=seconds)


def measure(databases: Databases, kind: str, waiters: int, seconds: float) -> list[Row]:
    """G3, G4 and G5 on one database. What is compared is measured in turns: machines drift."""
    pairs = [
        (raw_rate(databases, kind, 1, seconds), alone(databases, kind, seconds))
        for _ in range(ROUNDS)
    ]
    share = statistics.median(ours / base for base, ours in pairs)
    base_one = statistics.median(base for base, _ in pairs)
    base_many = median(lambda: raw_rate(databases, kind, raw.RUNS, seconds))
    many = median(lambda: together(databases, kind, waiters, seconds)[0])
    cpu = median(lambda: together(databases, kind, 64, seconds)[1])
    print(
        f"{kind}: raw driver {base_one:,.0f} records/s one per commit, "
        f"{base_many:,.0f} with {raw.RUNS:,} per commit"
    )
    goal = BATCH[kind]
    named = Goal(goal.name.format(waiters), goal.unit, goal.must, goal.stretch)
    return [
        Row(named, kind, many, many / base_many),
        Row(ALONE, kind, share * 100, share),
        Row(CPU, kind, cpu),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--waiters", type=int, default=1_000)
    options = parser.parse_args()
    print_machine("store")
    rows = []
    with Databases() as databases:
        for kind in chosen(options):
            rows += measure(databases, kind, options.waiters, options.seconds)
    print_table(rows)


if __name__ == "__main__":
    main()
