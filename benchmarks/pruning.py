"""How long a daemon's commits take while the oldest runs are pruned, beside those before."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.lifecycle import open_ledger
from benchmarks.questions import Scene
from benchmarks.webhooks import noted, share
from ledger.clock import utcnow
from ledger.service.retention import Pruned

PER_SECOND: Final = 100
"""Records that the writer hands over, at even times, whether or not those before are written."""
OWNED: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Milliseconds of commits at the 99th percentile, alone and beside a prune."""

    alone: float
    beside: float
    commits: int
    runs_per_second: float
    pruned: int


def prune_beside(scene: Scene, url: str, runs: int, seconds: float) -> Beside:
    """Prune the oldest runs while another process writes; first it has `seconds` for itself."""
    age = (utcnow() - scene.created(runs)).total_seconds()
    with _writer(url) as writer:
        _told(writer)
        time.sleep(seconds)
        alone = _told(writer)
        began = time.perf_counter()
        done: Pruned = scene.ledger.prune(age)
        took = time.perf_counter() - began
        beside = _told(writer)
    return Beside(
        alone=share(alone, 0.99),
        beside=share(beside, 0.99),
        commits=len(beside),
        runs_per_second=done.runs / took,
        pruned=done.runs,
    )


@contextmanager
def _writer(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pruning", url],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    try:
        yield process
    finally:
        process.communicate()


def _told(writer: subprocess.Popen[str]) -> list[float]:
    """The seconds of all commits since it was asked last."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("\n")
    writer.stdin.flush()
    found: list[float] = json.loads(writer.stdout.readline())
    return found


def write(url: str) -> None:
    """Commit until the input ends; each line of it is answered with the seconds of each commit."""
    taken: list[float] = []
    over = threading.Event()

    def answer() -> None:
        for _ in sys.stdin:
            seconds, taken[:] = taken.copy(), []
            print(json.dumps(seconds), flush=True)
        over.set()

    with open_ledger(url) as ledger:
        ids = [run.id for run in ledger.runs(limit=OWNED)]
        ledger.writer.put(noted(ids[0])).result()
        threading.Thread(target=answer, daemon=True).start()
        began, number = time.perf_counter(), 0
        while not over.wait(max(0.0, began + number / PER_SECOND - time.perf_counter())):
            ticket = ledger.writer.put(noted(random.choice(ids)))
            ticket.add_done_callback(_timed(taken, time.perf_counter()))
            number += 1


def _timed(taken: list[float], since: float) -> Any:
    def done(ticket: Future[Any]) -> None:
        ticket.result()
        taken.append(time.perf_counter() - since)

    return done


if __name__ == "__main__":
    write(sys.argv[1])
