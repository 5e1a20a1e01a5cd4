"""Whole runs a second through the real reconciler and store; only the provider is ours.

It answers at once and in process, with bodies that are read as upstream's are: a create, a look
that finds the run in progress, and one that finds it completed. So a run is five durable records:
accepted, sending, confirmed, in progress, completed. The submitting side keeps so many runs in
flight in the same process.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import sqlalchemy as sa

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
from benchmarks.store import raw_rate
from ledger.clock import utcnow
from ledger.core.alphabet import RemoteKind, State
from ledger.core.intent import Address, Intent, Output
from ledger.core.outcome import Observation
from ledger.core.reading import read_object
from ledger.service.accounts import Accounts
from ledger.service.entry import Agenda
from ledger.service.heart import new_life_id
from ledger.service.ledger import Ledger
from ledger.service.options import Options
from ledger.service.reconciler import Reconciler
from ledger.store.lives import Life
from ledger.store.records import Submission, Written

IN_FLIGHT = 64
STATUSES = ("queued", "in_progress", "completed")
RECORDS_PER_RUN = 5
GOALS = {
    "sqlite": Goal("G1 whole runs, {} in flight", "runs/s", 1_000, 4_000),
    "postgresql": Goal("G2 whole runs, {} in flight", "runs/s", 800, 2_500),
}


class InstantProvider:
    """Answers at once; every object needs two looks."""

    def __init__(self) -> None:
        self._looks: dict[str, int] = defaultdict(int)
        self.created = 0

    async def create(self, intent: Intent) -> Observation:
        self.created += 1
        return self._answer(f"resp_{intent.address.marker}")

    async def observe(self, address: Address) -> Observation:
        return self._answer(address.remote_id)

    def _answer(self, remote_id: str) -> Observation:
        look = self._looks[remote_id]
        self._looks[remote_id] += 1
        body = {
            "object": "response",
            "id": remote_id,
            "status": STATUSES[look],
            "output": [{"type": "message", "content": []}] if look == 2 else [],
        }
        # The hint asks for the next look at once: waiting is not what is measured here.
        kind = RemoteKind.response
        return read_object(kind, json.dumps(body).encode(), poll_after_seconds=0.0)

    async def search(self, address: Address) -> tuple[Observation, ...]:
        raise NotImplementedError

    async def submit(self, address: Address, outputs: Sequence[Output]) -> Observation:
        raise NotImplementedError

    async def cancel(self, address: Address) -> Observation:
        raise NotImplementedError

    async def harvest(self, address: Address) -> bytes:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


class CountingAgenda(Agenda):
    """Tells when a run is let go: it has its verdict, and it is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = asyncio.Semaphore(0)

    def drop(self, run_id: int) -> None:
        super().drop(run_id)
        self.dropped.release()


@contextmanager
def open_ledger(url: str) -> Iterator[Ledger]:
    """A ledger with a credential that nobody checks."""
    os.environ["OPENAI_API_KEY"] = "sk-benchmark"
    with Ledger.open(url, openai_base_url="https://upstream.test") as ledger:
        yield ledger


def make_life(ledger: Ledger, provider: InstantProvider, options: Options) -> Reconciler:
    """An ordinary daemon but for its provider."""
    life = Life(id=new_life_id(), role="daemon", version="benchmark")
    accounts = Accounts(ledger.credentials, lambda *_: provider)
    return Reconciler(
        ledger.store, ledger.writer, accounts, ledger.toolbox, life, options, clock=utcnow
    )


async def submit_for(
    ledger: Ledger, life: Reconciler, agenda: CountingAgenda, seconds: float, in_flight: int
) -> int:
    """Keep so many runs in flight; returns how many ended within the time."""
    started = time.perf_counter()
    submitted = done = 0
    while time.perf_counter() < started + seconds:
        free = in_flight - (submitted - done)
        accepted = (accept(ledger, n) for n in range(submitted, submitted + free))
        await asyncio.gather(*accepted)
        submitted += free
        life.hint()
        await agenda.dropped.acquire()
        done += 1
        while not agenda.dropped.locked():
            await agenda.dropped.acquire()
            done += 1
    return done


async def accept(ledger: Ledger, number: int) -> None:
    """Judge and write down one request."""
    request = {"key": f"key-{number}", "model": "gpt-5", "input": "hello"}
    [(judged, profile)] = ledger.check([request])
    new = replace(judged, account_id=ledger.account_id(judged.provider, profile))
    assert isinstance(await ledger.writer.commit(Submission(new=new)), Written)


async def drive(ledger: Ledger, seconds: float, in_flight: int) -> float:
    """Runs a second, with every run checked afterwards."""
    provider = InstantProvider()
    life = make_life(ledger, provider, Options(concurrency=in_flight))
    life.holdings.agenda = agenda = CountingAgenda()
    await life.begin()
    stop = asyncio.Event()
    running = asyncio.create_task(life.run(stop))
    started = time.perf_counter()
    done = await submit_for(ledger, life, agenda, seconds, in_flight)
    rate = done / (time.perf_counter() - started)
    stop.set()
    await running
    completed = ledger.store.read(count_completed)
    assert completed >= done, f"{done} runs were let go, {completed} have a verdict"
    return rate


def count_completed(connection: sa.Connection) -> int:
    """Runs with the verdict `completed`."""
    statement = f"SELECT count(*) FROM run WHERE state = '{State.completed}'"
    return int(connection.exec_driver_sql(statement).scalar_one())


def runs_rate(databases: Databases, kind: str, seconds: float, in_flight: int) -> float:
    """One measurement on a database of its own."""
    with databases.fresh(kind) as url, open_ledger(url) as ledger:
        return asyncio.run(drive(ledger, seconds, in_flight))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--waiters", type=int, default=IN_FLIGHT, help="runs in flight")
    options = parser.parse_args()
    print_machine("lifecycle")
    rows = []
    with Databases() as databases:
        for kind in chosen(options):
            base = median(functools.partial(raw_rate, databases, kind, 1_000, 2.0))
            value = median(
                functools.partial(runs_rate, databases, kind, options.seconds, options.waiters)
            )
            print(f"{kind}: raw driver {base:,.0f} records/s with 1,000 per commit")
            goal = GOALS[kind]
            named = Goal(goal.name.format(options.waiters), goal.unit, goal.must, goal.stretch)
            rows.append(Row(named, kind, value, value * RECORDS_PER_RUN / base))
    print_table(rows)


if __name__ == "__main__":
    main()
