"""A large ledger asked: one run, pages, facets, times past, a report; verify, export, prune.

Each beside the same question as plain SQL through the raw driver; its speed is the 100 % of the
ratios. What is counted whole has to come out the same.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.common import Databases, Goal, Row, arguments, chosen, print_machine, print_table
from benchmarks.histories import load
from benchmarks.lifecycle import open_ledger
from benchmarks.pruning import prune_beside
from benchmarks.questions import (
    EVENTS,
    MANY_ROUNDS,
    PAYLOADS,
    ROUNDS,
    Question,
    Scene,
    questions,
    scene_of,
)
from ledger.clock import utcnow

T = TypeVar("T")
RUNS_A_DAY: Final = 50_000
SECTIONS: Final = (
    "run", "page", "facets", "as-of", "errors", "report", "size", "verify", "export", "prune",
)  # fmt: skip
UNITS: Final = {"ms": 1_000.0, "s": 1.0}
LONG_SECONDS: Final = 20.0
"""What has taken so long is not asked again."""
VERIFY: Final = Goal("verify", "events/min", 1_000_000, 3_000_000)
PRUNE: Final = Goal("commits while pruning, p99", "ms", 50, 20, more_is_better=False)
EXPORT_RUNS: Final = 5_000
PRUNED_PART: Final = 50
PRUNED_MAX: Final = 20_000


def measure(
    url: str, kind: str, sections: Sequence[str], *, seconds: float, rounds: int = MANY_ROUNDS
) -> list[Row]:
    """Ask everything of one loaded ledger. What has no goal is printed."""
    rows = []
    with open_ledger(url) as ledger, contextlib.closing(scene_of(ledger)) as scene:
        for question in questions(scene.runs):
            if question.section in sections:
                rows.append(_answered(scene, kind, question, rounds))
        if "size" in sections:
            print(f"{kind}: {scene.runs:,} runs, {scene.size() / scene.runs:,.0f} bytes a run")
        if "verify" in sections:
            rows.append(_verified(scene, kind))
        if "export" in sections:
            _exported(scene, kind)
        if "prune" in sections:
            rows.append(_pruned(scene, kind, url, seconds))
    return rows


def _answered(scene: Scene, kind: str, question: Question, most: int) -> Row:
    ours, found = _timed(lambda n: question.ask(scene, n), min(most, question.rounds))
    plain, other = _timed(lambda n: question.plain(scene, n), min(most, question.plain_rounds))
    assert question.alike(found, other), f"{question.goal.name}: {found!r:.500} {other!r:.500}"
    value = ours * UNITS[question.goal.unit]
    print(f"  {question.goal.name}: {value:,.1f} {question.goal.unit}", file=sys.stderr)
    return Row(question.goal, kind, value, plain / ours)


def _timed(ask: Callable[[int], T], rounds: int) -> tuple[float, T]:
    """The median in seconds, and what the first answer was."""
    times: list[float] = []
    found: list[T] = []
    while len(times) < rounds and sum(times) < LONG_SECONDS:
        began = time.perf_counter()
        found.append(ask(len(times)))
        times.append(time.perf_counter() - began)
    return statistics.median(times), found[0]


def _verified(scene: Scene, kind: str) -> Row:
    """Everything once."""
    began = time.perf_counter()
    done = scene.ledger.verify()
    ours = time.perf_counter() - began
    assert not done.broken, done.broken[0]
    plain = scene.read(EVENTS) + scene.read(PAYLOADS)
    return Row(VERIFY, kind, done.events / ours * 60, plain / ours)


def _exported(scene: Scene, kind: str) -> None:
    """The newest runs, but for what may still come; and back into a fresh ledger in SQLite."""
    since = scene.created(max(0, scene.runs - EXPORT_RUNS)).isoformat()
    with tempfile.TemporaryDirectory(prefix="runward-bench-") as folder:
        path = Path(folder) / "runs.ndjson"
        began = time.perf_counter()
        runs = scene.ledger.export_to(path, f"since:{since}").runs
        ours = time.perf_counter() - began
        print(f"{kind}: export, {runs:,} runs, {runs / ours:,.0f} runs/s")
        with open_ledger(f"sqlite:///{folder}/other.db") as other:
            began = time.perf_counter()
            taken = other.import_from(path, take_over=True)
            ours = time.perf_counter() - began
            assert (runs, True) == (taken.runs, taken.whole), taken
            print(f"{kind} to sqlite: import, {runs:,} runs, {runs / ours:,.0f} runs/s")


def _pruned(scene: Scene, kind: str, url: str, seconds: float) -> Row:
    runs = min(PRUNED_MAX, scene.runs // PRUNED_PART)
    done = prune_beside(scene, url, runs, seconds)
    print(
        f"{kind}: pruned {done.pruned:,} runs, {done.runs_per_second:,.0f} runs/s; "
        f"p99 of {done.commits:,} commits meanwhile {done.beside:.1f} ms, "
        f"before {done.alone:.1f} ms"
    )
    return Row(PRUNE, kind, done.beside, done.alone / done.beside)


def until_of(now: datetime) -> datetime:
    """The midnight before which runs are loaded: what they did is over."""
    return (now - timedelta(hours=2)).replace(hour=0, minute=0, second=0, microsecond=0)


def days_of(runs: int) -> float:
    """Over how many days runs are spread."""
    return max(2.0, runs / RUNS_A_DAY)


@contextlib.contextmanager
def loaded(databases: Databases, kind: str, given: argparse.Namespace) -> Iterator[str]:
    """The URL of a ledger with so many runs; the kept file is loaded once."""
    kept = Path(given.keep) if given.keep and kind == "sqlite" else None
    with contextlib.nullcontext(f"sqlite:///{kept}") if kept else databases.fresh(kind) as url:
        if kept is None or not kept.exists():
            began = time.perf_counter()
            load(url, given.runs, until=until_of(utcnow()), days=days_of(given.runs))
            print(f"{kind}: loaded in {time.perf_counter() - began:,.0f} s", flush=True)
        yield url


def main() -> None:
    """Load and measure; prune comes last, and deletes."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of commits without a prune")
    parser.add_argument("--keep", metavar="FILE", help="a SQLite file to load into, or loaded so")
    given = parser.parse_args()
    print_machine(f"history, {given.runs:,} runs", rounds=ROUNDS)
    rows = []
    with Databases() as databases:
        for kind in chosen(given):
            with loaded(databases, kind, given) as url:
                rows += measure(url, kind, given.only, seconds=given.seconds)
    print_table(rows)


if __name__ == "__main__":
    main()
