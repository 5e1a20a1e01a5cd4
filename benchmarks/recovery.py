"""kill -9 with thousands of runs in flight: how long until a new process has every one scheduled.

The first child accepts the runs, creates all of them upstream and watches them; it is killed. The
clock starts when the second child is started and stops when that child says that its agenda holds
every run, facts loaded. Afterwards: none may be lost, and none created twice.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from benchmarks.lifecycle import InstantProvider, make_life, open_ledger
from ledger.core.alphabet import RemoteKind, RemoteState
from ledger.core.intent import Address, Intent
from ledger.core.outcome import Observation
from ledger.core.reading import read_object
from ledger.service.options import Options
from ledger.service.reconciler import Reconciler
from ledger.store.store import Store

RUNS = 5_000
MANY = 100_000
SUBMIT = 5_000
AGAIN_SECONDS = 1.0
READY = "ready"
LOOK_SECONDS = 300.0


class JournalProvider(InstantProvider):
    """Writes down every create; what it makes stays in progress."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal.open("a", buffering=1)

    async def create(self, intent: Intent) -> Observation:
        print(intent.address.marker, file=self._journal)
        return in_progress(f"resp_{intent.address.marker}")

    async def observe(self, address: Address) -> Observation:
        return in_progress(address.remote_id)


def in_progress(remote_id: str) -> Observation:
    """An object to look at again much later."""
    body = b'{"object":"response","id":"%b","status":"in_progress"}' % remote_id.encode()
    return read_object(RemoteKind.response, body, poll_after_seconds=LOOK_SECONDS)


def child(url: str, journal: Path, runs: int, *, first: bool) -> None:
    """One life: says when it has every run, then goes on until it is killed."""
    with open_ledger(url) as ledger:
        if first:
            for start in range(0, runs, SUBMIT):
                end = min(start + SUBMIT, runs)
                ledger.submit_many(
                    [{"key": f"key-{n}", "model": "m", "input": "x"} for n in range(start, end)]
                )
        # Only the life under test is as daemons are; the first one just has to get there.
        options = Options(concurrency=1_000) if first else Options()
        life = make_life(ledger, JournalProvider(journal), options)
        asyncio.run(live(life, runs, first=first))


async def live(life: Reconciler, runs: int, *, first: bool) -> None:
    """Run a life and report."""
    await life.begin()
    running = asyncio.create_task(life.run(asyncio.Event()))
    while not has_all(life, runs, confirmed=first):
        await asyncio.sleep(0.2 if first else 0.005)
    print(READY, flush=True)
    await running


def has_all(life: Reconciler, runs: int, *, confirmed: bool) -> bool:
    """Whether the agenda holds every run; for the first life, also that all were created."""
    entries = life.holdings.agenda.entries
    if len(entries) < runs or not confirmed:
        return len(entries) >= runs
    return all(
        entry.facts.current is not None and entry.facts.current.state == RemoteState.confirmed
        for entry in entries.values()
    )


@contextmanager
def started(url: str, journal: Path, runs: int, role: str) -> Iterator[subprocess.Popen[str]]:
    """A child process, killed at the end; its error output is ours."""
    command = [sys.executable, "-m", "benchmarks.recovery", "--runs", str(runs)]
    process = subprocess.Popen(
        [*command, "--child", role, "--url", url, "--journal", str(journal)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def wait_ready(process: subprocess.Popen[str]) -> None:
    """Raises when the child ends without the word."""
    assert process.stdout is not None
    if process.stdout.readline().strip() != READY:
        raise RuntimeError("the child ended before it had every run")


def recover(databases: Databases, kind: str, runs: int) -> float:
    """Seconds from the start of the second process; checks that nothing is lost or made twice."""
    with databases.fresh(kind) as url, tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "creates"
        with started(url, journal, runs, "first") as process:
            wait_ready(process)
        begun = time.perf_counter()
        with started(url, journal, runs, "second") as process:
            wait_ready(process)
            seconds = time.perf_counter() - begun
            # Anything that would be created again is created soon.
            time.sleep(AGAIN_SECONDS)
            check(url, journal, runs)
        return seconds


def check(url: str, journal: Path, runs: int) -> None:
    """0 lost, 0 created twice, and all owned by one life."""
    creates = collections.Counter(journal.read_text().split())
    twice = sum(count - 1 for count in creates.values())
    store = Store.open(url)
    watched = store.read(functools.partial(column, statement="SELECT owner FROM watch"))
    store.close()
    lives = {owner for owner in watched if owner is not None}
    lost = runs - len(watched)
    if lost or twice or len(creates) != runs or len(lives) != 1 or None in watched:
        raise RuntimeError(
            f"{lost} lost, {twice} created twice, {len(creates)} created, {len(lives)} owners"
        )


def column(connection: sa.Connection, *, statement: str) -> Sequence[str | None]:
    """One column of a query."""
    return [row[0] for row in connection.exec_driver_sql(statement)]


def goal(runs: int) -> Goal:
    """G6, or G7 for many."""
    name, must, stretch = ("G7", 3.0, 1.0) if runs >= MANY else ("G6", 1.0, 0.5)
    return Goal(f"{name} kill -9, {runs:,} in flight", "s", must, stretch, more_is_better=False)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--child", choices=["first", "second"], help="used by the benchmark itself")
    parser.add_argument("--url", help="used with --child")
    parser.add_argument("--journal", type=Path, help="used with --child")
    options = parser.parse_args()
    if options.child:
        child(options.url, options.journal, options.runs, first=options.child == "first")
        return
    print_machine("recovery")
    rows = []
    with Databases() as databases:
        for kind in chosen(options):
            value = median(functools.partial(recover, databases, kind, options.runs))
            rows.append(Row(goal(options.runs), kind, value))
    print_table(rows)
    print("0 lost, 0 created twice in every run")


if __name__ == "__main__":
    main()
