"""Looks at runs that are still going: what one costs, how close they come, and what a run weighs.

A server in a process of its own says "in progress" for ever. Each client is a process of its own
too, measured for a few seconds after all its runs have been seen once:

- `reconciler`: the product, a daemon over SQLite with 10,000 background responses in flight, each
  to be looked at once a second. The runs are made beforehand, by another process.
- `create_and_poll`: 1,000 tasks in the SDK's own loop, once a second. The baseline.
- `thin read` and `SDK read`: 64 workers that read one response after the other, and nothing else:
  what there is to gain.

Polls a second of one core are polls by CPU seconds of the client; what the machine did meanwhile
does not count. Memory is the growth of the process' resident set from the beginning of the life
(all imported, one read made, nothing claimed) until every run was looked at, by run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.common import Databases, Goal, Row, print_machine, print_table
from benchmarks.lifecycle import make_life
from benchmarks.recovery import JournalProvider, has_all, in_progress
from ledger.clock import utcnow
from ledger.core.alphabet import RemoteKind
from ledger.core.intent import AccountProfile, Address, Intent
from ledger.core.outcome import Observation
from ledger.providers import open_provider
from ledger.providers.client import build_client
from ledger.providers.responses import ResponsesProvider
from ledger.providers.seam import Provider
from ledger.service import collector
from ledger.service.accounts import Accounts
from ledger.service.heart import new_life_id
from ledger.service.ledger import Ledger
from ledger.service.options import Options
from ledger.service.reconciler import Reconciler
from ledger.store.lives import Life

RUNS = 10_000
TASKS = 1_000
WORKERS = 64
INTERVAL_SECONDS = 1.0
SUBMIT = 5_000
KEY = "sk-benchmark"
PATIENCE_SECONDS = 120.0
G8 = Goal("G8 polls a second of one core, {:,} in flight", "polls/s", 4_000, 8_000)
G9 = Goal("G9 memory of a run in flight", "bytes", 4_000, 1_000, more_is_better=False)
CLIENTS = ("reconciler", "create_and_poll", "thin read", "SDK read")


@contextlib.contextmanager
def opened(url: str, upstream: str) -> Iterator[Ledger]:
    """A ledger whose runs are looked at once a second."""
    os.environ["OPENAI_API_KEY"] = KEY
    base = f"{upstream}/v1"
    with Ledger.open(url, openai_base_url=base, poll_seconds=INTERVAL_SECONDS) as ledger:
        yield ledger


def spent(upstream: str) -> dict[str, float]:
    """What the server has served, and its CPU seconds."""
    with urllib.request.urlopen(f"{upstream}/spent", timeout=30) as reply:
        said: dict[str, float] = json.load(reply)
    return said


def resident() -> int:
    """Bytes of this process in memory, after what is garbage is gone."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def window(upstream: str, seconds: float, count: int) -> dict[str, float]:
    """Let the client work for a while, and say what it did and what that cost."""
    before, cpu, at = (
        await asyncio.to_thread(spent, upstream),
        time.process_time(),
        time.monotonic(),
    )
    await asyncio.sleep(seconds)
    cpu, at = time.process_time() - cpu, time.monotonic() - at
    after = await asyncio.to_thread(spent, upstream)
    polls = after["reads"] - before["reads"]
    return {
        "polls": polls,
        "per_core": polls / cpu,
        "cpu_us": cpu / polls * 1e6,
        "interval": count * at / polls,
        "busy": cpu / at,
        "server_busy": (after["cpu"] - before["cpu"]) / at,
    }


async def until(ready: Callable[[], bool]) -> None:
    """Wait for something that does not take for ever."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not ready():
            await asyncio.sleep(0.1)


class Maker(JournalProvider):
    """Creates in process, under ids as upstream makes them."""

    async def create(self, intent: Intent) -> Observation:
        digest = hashlib.sha256(intent.address.marker.encode()).hexdigest()
        return in_progress(f"resp_{digest[:48]}")


def prepare(url: str, upstream: str, runs: int) -> None:
    """Have the runs created, in process, and leave them in flight without an owner."""
    with opened(url, upstream) as ledger:
        for start in range(0, runs, SUBMIT):
            numbers = range(start, min(start + SUBMIT, runs))
            ledger.submit_many(
                [{"key": f"key-{n}", "model": "gpt-5.1", "input": "x"} for n in numbers]
            )
        life = make_life(ledger, Maker(Path(os.devnull)), Options(concurrency=1_000))
        asyncio.run(created(life, runs))


async def created(life: Reconciler, runs: int) -> None:
    """One life, until all is created."""
    stop = asyncio.Event()
    await life.begin()
    running = asyncio.create_task(life.run(stop))
    await until(lambda: has_all(life, runs, confirmed=True))
    stop.set()
    await running


def reconcile(url: str, upstream: str, runs: int, seconds: float) -> dict[str, float]:
    """The product's own daemon."""
    with opened(url, upstream) as ledger:
        life = Life(id=new_life_id(), role="daemon", version="benchmark")
        accounts = Accounts(ledger.credentials, open_provider)
        daemon = Reconciler(
            ledger.store, ledger.writer, accounts, ledger.toolbox, life, Options(), clock=utcnow
        )
        return asyncio.run(watched(daemon, upstream, runs, seconds))


async def watched(life: Reconciler, upstream: str, runs: int, seconds: float) -> dict[str, float]:
    """One life that claims all runs and looks at them."""
    await read_once(open_provider(_profile(upstream), KEY))
    await life.begin()
    collector.settle()
    before = resident()
    stop = asyncio.Event()
    running = asyncio.create_task(life.run(stop))
    entries = life.holdings.agenda.entries
    await until(lambda: len(entries) == runs and all(e.look.count for e in entries.values()))
    grown = resident() - before
    measured = await window(upstream, seconds, runs)
    stop.set()
    await running
    return {**measured, "bytes": grown / runs}


async def polled(upstream: str, tasks: int, seconds: float) -> dict[str, float]:
    """The SDK's loop, one task a run."""
    # Its helpers for threads are deprecated; there is no other loop of its own for what we do.
    warnings.simplefilter("ignore", DeprecationWarning)
    client = build_client(_profile(upstream), key=KEY)
    runs = client.beta.threads.runs
    await runs.retrieve("run_1", thread_id="thread_1")
    before = resident()
    begun = (await asyncio.to_thread(spent, upstream))["reads"]
    loops = [
        asyncio.create_task(
            runs.create_and_poll(
                thread_id=f"thread_{n}", assistant_id="asst_1", poll_interval_ms=1_000
            )
        )
        for n in range(tasks)
    ]
    seen = begun
    while seen - begun < 2 * tasks:
        await asyncio.sleep(0.5)
        seen = (await asyncio.to_thread(spent, upstream))["reads"]
    grown = resident() - before
    measured = await window(upstream, seconds, tasks)
    errors = sum(task.done() for task in loops)
    for task in loops:
        task.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await client.close()
    return {**measured, "bytes": grown / tasks, "errors": errors}


async def read(provider: Provider, upstream: str, seconds: float) -> dict[str, float]:
    """Workers that read as fast as they can."""

    async def work(number: int) -> None:
        while True:
            await provider.observe(_address(f"resp_{number}"))

    workers = [asyncio.create_task(work(number)) for number in range(WORKERS)]
    await asyncio.sleep(0.5)
    measured = await window(upstream, seconds, WORKERS)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await provider.close()
    return measured


async def read_once(provider: Provider) -> None:
    """Import and open whatever the first read does."""
    await provider.observe(_address("resp_1"))
    await provider.close()


def _address(remote_id: str) -> Address:
    return Address(n=1, kind=RemoteKind.response, marker="m", remote_id=remote_id)


def _profile(upstream: str) -> AccountProfile:
    return AccountProfile(provider="responses", base_url=f"{upstream}/v1")


def child(options: argparse.Namespace) -> None:
    """One client, in this process."""
    upstream, seconds = options.upstream, options.seconds
    waiting: Awaitable[dict[str, float]]
    if options.client == "prepare":
        prepare(options.url, upstream, options.runs)
        return
    if options.client == "reconciler":
        print(json.dumps(reconcile(options.url, upstream, options.runs, seconds)))
        return
    if options.client == "create_and_poll":
        waiting = polled(upstream, options.tasks, seconds)
    elif options.client == "thin read":
        waiting = read(open_provider(_profile(upstream), KEY), upstream, seconds)
    else:
        client = build_client(_profile(upstream), key=KEY)
        waiting = read(ResponsesProvider(client, KEY), upstream, seconds)
    print(json.dumps(asyncio.run(_result(waiting))))


async def _result(waiting: Awaitable[dict[str, float]]) -> dict[str, float]:
    return await waiting


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The upstream, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.polls_upstream"], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def measured(client: str, upstream: str, url: str, options: argparse.Namespace) -> dict[str, float]:
    """What one client did, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.polls", "--client", client, "--url", url]
    given = ["--upstream", upstream, "--runs", str(options.runs), "--tasks", str(options.tasks)]
    done = subprocess.run(
        [*command, *given, "--seconds", str(options.seconds)],
        stdout=subprocess.PIPE, text=True, check=True, timeout=300, cwd=Path(__file__).parents[1],
        env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
    )  # fmt: skip
    said: dict[str, float] = json.loads(done.stdout or "{}")
    return said


HEADINGS = (
    "client", "polls/s of one core", "of the SDK's loop", "CPU us a poll", "interval",
    "bytes a run", "client busy", "server busy",
)  # fmt: skip


def print_clients(found: dict[str, dict[str, float]]) -> None:
    """What each client did, beside the SDK's loop."""
    lines = [HEADINGS]
    base = found["create_and_poll"]["per_core"]
    for name, said in found.items():
        weight = f"{said['bytes']:,.0f}" if "bytes" in said else ""
        interval = f"{said['interval']:.2f} s" if "bytes" in said else ""
        rate, ratio = f"{said['per_core']:,.0f}", f"{said['per_core'] / base:.1f}x"
        busy = (f"{said['busy']:.0%}", f"{said['server_busy']:.0%}")
        lines.append((name, rate, ratio, f"{said['cpu_us']:.0f}", interval, weight, *busy))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--only", choices=CLIENTS, help="measure one client alone")
    parser.add_argument("--client", help="used by the benchmark itself")
    parser.add_argument("--upstream", help="used with --client")
    parser.add_argument("--url", default="", help="used with --client")
    options = parser.parse_args()
    if options.client:
        child(options)
        return
    print_machine(f"polls: {options.runs:,} runs, once a second", rounds=1)
    found = {}
    with server() as upstream, Databases() as databases, databases.fresh("sqlite") as url:
        if options.only in (None, "reconciler"):
            measured("prepare", upstream, url, options)
        for client in CLIENTS if options.only is None else (options.only,):
            found[client] = measured(client, upstream, url, options)
            print(f"  {client}: done", file=sys.stderr)
    if options.only is not None:
        print(json.dumps(found[options.only]))
        return
    print_clients(found)
    ours = found["reconciler"]
    named = Goal(G8.name.format(options.runs), G8.unit, G8.must, G8.stretch)
    rows = [Row(named, "sqlite", ours["per_core"]), Row(G9, "sqlite", ours["bytes"])]
    print_table(rows)


if __name__ == "__main__":
    main()
