"""The receiver under load, on loopback: what is lost, how long an answer takes, does it grow?

Two measurements, each with processes of their own:

- `beside`: a few deliveries a second while another process commits 1,000 records a second to the
  same ledger; the time until the answer.
- `flood`: 500 deliveries a second, each about a run that is in flight, while a daemon takes them in
  and looks at its runs; what is lost, the time until the answer, and the receiver's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import sqlalchemy as sa

from benchmarks.common import Databases, arguments, chosen, print_machine
from benchmarks.lifecycle import InstantProvider, make_life, open_ledger
from ledger.clock import utcnow
from ledger.core.decide import operator
from ledger.core.intent import Address
from ledger.core.model import Change, Facts
from ledger.core.outcome import Observation
from ledger.service.options import Options
from ledger.store.records import Decision

KEY = b"a secret of the benchmark, thirty-two"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
RUNS = 2_000
RECORDS_PER_SECOND = 1_000


class Patient(InstantProvider):
    """Every run stays in progress, however often it is looked at."""

    async def observe(self, address: Address) -> Observation:
        return Observation(
            kind=address.kind, remote_id=address.remote_id, status="in_progress", body=b"{}"
        )


def headers(webhook_id: str, body: bytes) -> dict[str, str]:
    """A signature as upstream makes it."""
    stamp = str(int(time.time()))
    made = hmac.new(KEY, f"{webhook_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }


def event(object_id: str) -> bytes:
    """A body as upstream sends it."""
    return json.dumps(
        {
            "object": "event",
            "id": f"evt_{object_id}",
            "type": "response.completed",
            "created_at": int(time.time()),
            "data": {"id": object_id},
        }
    ).encode()


# --- children


async def drive(url: str) -> None:
    """A daemon over runs that are all in flight, until it is killed."""
    with open_ledger(url) as ledger:
        life = make_life(ledger, Patient(), Options(concurrency=64))
        await life.begin()
        print("ready", flush=True)
        await life.run(asyncio.Event())


def commit(url: str) -> None:
    """A thousand records a second, in group commits, until killed."""
    with open_ledger(url) as ledger:
        ids = [run.id for run in ledger.runs(limit=1_000)]
        print("ready", flush=True)
        began, written = time.monotonic(), 0
        while True:
            owed = int((time.monotonic() - began) * RECORDS_PER_SECOND) - written
            records = [noted(random.choice(ids)) for _ in range(min(owed, 50))]
            for ticket in [ledger.writer.put(record) for record in records]:
                ticket.result()
            written += len(records)
            if owed < 10:
                time.sleep(0.01)


def noted(run_id: int) -> Decision:
    """A record that says nothing much."""

    def decide(facts: Facts) -> Change:
        return operator.carry_out(facts, operator.note("busy"), now=utcnow(), actor="benchmark")

    return Decision(run_id=run_id, decide=decide)


@contextlib.contextmanager
def child(*arguments: str, says: str = "ready") -> Iterator[subprocess.Popen[str]]:
    """A process, once it says that it is ready; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            **os.environ,
            "OPENAI_WEBHOOK_SECRET": SECRET,
            "OPENAI_API_KEY": "sk-benchmark",
            "OPENAI_BASE_URL": "https://upstream.test",
        },
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if says in line:
                process.said = line  # type: ignore[attr-defined]
                break
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


# --- the load


async def load(address: str, ids: list[str], per_second: int, seconds: float) -> list[float]:
    """Send deliveries at an even pace, whether or not answers come; the seconds each took."""
    taken: list[float] = []
    failed = 0

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)) as session:

        async def one(number: int) -> None:
            nonlocal failed
            body = event(ids[number % len(ids)])
            sent = time.perf_counter()
            try:
                async with session.post(
                    address, data=body, headers=headers(f"wh_{run}_{number}", body)
                ) as reply:
                    await reply.read()
                    failed += reply.status != 200
            except aiohttp.ClientError:
                failed += 1
            taken.append(time.perf_counter() - sent)

        run = random.randrange(1 << 30)
        began, tasks = time.perf_counter(), set()
        for number in range(int(per_second * seconds)):
            late = began + number / per_second - time.perf_counter()
            if late > 0:
                await asyncio.sleep(late)
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    if failed:
        print(f"  {failed} of {len(taken)} were not answered with 200")
    return taken


def share(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1_000


def memory_mb(process: subprocess.Popen[str]) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1_024
    return 0.0


def fill(url: str) -> list[str]:
    """Runs in flight whose objects are known."""
    ids = [f"resp_{number}" for number in range(RUNS)]
    with open_ledger(url) as ledger:
        for name in ids:
            ledger.adopt(name)
    return ids


def receiver_of(process: subprocess.Popen[str]) -> str:
    said = str(process.said)  # type: ignore[attr-defined]
    return next(word for word in said.split() if word.startswith("http")) + "/webhooks/openai"


def told(url: str) -> int:
    """How many deliveries the ledger holds."""
    query = sa.text("SELECT count(*) FROM delivery")
    with open_ledger(url) as ledger:
        return ledger.store.read(lambda c: int(c.execute(query).scalar_one()))


def serve(url: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return child("ledger", "-d", url, "serve", "--port", "0", says="on http")


def beside(url: str, ids: list[str], seconds: float) -> None:
    """Answers while another process writes."""
    with serve(url) as server, child("benchmarks.webhooks", "--commit", url):
        taken = asyncio.run(load(receiver_of(server), ids, 20, seconds))
    print(
        f"  beside {RECORDS_PER_SECOND} records/s: {len(taken)} deliveries, answered in "
        f"p50 {share(taken, 0.5):.1f} ms, p99 {share(taken, 0.99):.1f} ms (goal: p50 20 ms)"
    )


def flood(url: str, ids: list[str], per_second: int, minutes: int) -> None:
    """Many deliveries, minute by minute."""
    before = told(url)
    with serve(url) as server, child("benchmarks.webhooks", "--drive", url):
        sent, sizes, all_taken = 0, [], []
        for minute in range(1, minutes + 1):
            taken = asyncio.run(load(receiver_of(server), ids, per_second, 60))
            sent += len(taken)
            all_taken += taken
            sizes.append(memory_mb(server))
            print(
                f"  minute {minute}: {len(taken)} deliveries, p50 {share(taken, 0.5):.1f} ms, "
                f"p99 {share(taken, 0.99):.1f} ms, max {share(taken, 1):.0f} ms, "
                f"receiver {sizes[-1]:.1f} MB",
                flush=True,
            )
    lost = sent - (told(url) - before)
    print(
        f"  {sent} sent at {per_second}/s, {lost} lost (goal: 0), p99 {share(all_taken, 0.99):.1f}"
        f" ms (goal: 250 ms), memory {sizes[-1] - sizes[0]:+.1f} MB since minute 1 (goal: 10 MB)"
    )


def main() -> None:
    """Measure, or be one of the children."""
    parser = arguments(__doc__)
    parser.add_argument("--per-second", type=int, default=500)
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--drive", metavar="URL")
    parser.add_argument("--commit", metavar="URL")
    given = parser.parse_args()
    if given.drive:
        asyncio.run(drive(given.drive))
    elif given.commit:
        commit(given.commit)
    else:
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Both, on each database that was asked for."""
    print_machine("webhooks: the receiver under load", rounds=1)
    with Databases() as databases:
        for kind in chosen(given):
            with databases.fresh(kind) as url:
                ids = fill(url)
                print(f"{kind}:")
                beside(url, ids, 20)
                flood(url, ids, given.per_second, given.minutes)


if __name__ == "__main__":
    main()
