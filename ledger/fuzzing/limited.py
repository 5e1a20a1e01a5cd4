"""Many runs at once under a strict rate limit, in virtual time: ours beside the naive loop.

The naive loop is what people write: a client for each run creates it, asks once a second, and tries
again a second after each 429.
"""

from __future__ import annotations

import heapq
import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ledger.fuzzing.play import SHARED_MEMORY, Stage, seeded, template
from ledger.fuzzing.process import Process
from ledger.fuzzing.schedule import Schedule, Submit
from ledger.providers.inprocess import Answered, Asked
from ledger.simulator.faults import Bucket

DURATIONS: Final = {"queued": 2.0, "in_progress": 60.0}
TEAMS: Final = ("red", "blue")
POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a lot. Times are virtual seconds since its runs were handed over."""

    name: str
    runs: int
    verdicts: int
    calls: int
    refused: int
    refused_later: int
    """429s after the first minute."""
    seconds: float
    """Until the last verdict."""
    waits: dict[str, float]
    """By team: how long a run waited for its create on average."""
    fairness: float
    """Jain's index of what the teams got while both wanted more."""
    problems: tuple[str, ...] = ()


class _Lot(Stage):
    """A play in which upstream limits requests, and nobody dies."""

    durations = DURATIONS

    def __init__(self, schedule: Schedule, folder: Path, limit: int) -> None:
        self.requests_per_minute = limit
        super().__init__(schedule, folder)
        self.refused: list[float] = []
        self._ask = self.world.ask
        self.world.ask = self._counted  # type: ignore[method-assign]

    def _counted(self, asked: Asked) -> Answered:
        answer = self._ask(asked)
        if answer.status == 429:
            self.refused.append(self.clock.now)
        return answer

    def _committed(self, process: Process) -> None:
        self._news = True
        for other in self.processes:
            if other is not process:
                self._hint(other)


def ours(*, runs: int = 1_000, limit: int = 300, lives: int = 1, seed: int = 1) -> Outcome:
    """The real reconciler, store and providers; all runs are handed over at once."""
    schedule = Schedule(seed=seed, lives=lives, acts=tuple(_submits(runs)))
    template()
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        lot = _Lot(schedule, Path(folder), limit)
        with seeded(seed, lot.clock):
            try:
                lot.play()
                return _outcome(lot)
            finally:
                lot.close()


def _submits(runs: int) -> Iterator[Submit]:
    for number in range(runs):
        yield Submit(
            at=1.0,
            key=f"run:{number}",
            tags={"team": TEAMS[number * len(TEAMS) // runs]},
            policy={"deadline": 40_000, "restart": "none"},
        )


_RUNS = sa.text(
    "SELECT r.tags, r.state, r.created_at, r.finished_at, m.sent_at "
    "FROM run r JOIN remote m ON m.run_id = r.id AND m.n = 1"
)


_COLUMNS = (
    sa.column("tags", sa.JSON),
    sa.column("state", sa.Text),
    sa.column("created_at", sa.DateTime),
    sa.column("finished_at", sa.DateTime),
    sa.column("sent_at", sa.DateTime),
)


def _outcome(lot: _Lot) -> Outcome:
    rows = lot.console.read(lambda c: list(c.execute(_RUNS.columns(*_COLUMNS))))
    began = min(row.created_at for row in rows)
    sent = sorted(((row.sent_at - began).total_seconds(), row.tags["team"]) for row in rows)
    return Outcome(
        name="runward",
        runs=len(rows),
        verdicts=sum(row.state == "completed" for row in rows),
        calls=lot.world.requests,
        refused=len(lot.refused),
        refused_later=sum(at > 61.0 for at in lot.refused),
        seconds=max((row.finished_at - began).total_seconds() for row in rows),
        waits={team: statistics.fmean(at for at, t in sent if t == team) for team in TEAMS},
        fairness=jain(list(Counter(team for _, team in sent[: len(sent) // 2]).values())),
        problems=tuple(lot.problems),
    )


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 when all got the same, 1/n when one got everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def naive(*, runs: int = 1_000, limit: int = 300, seed: int = 1) -> Outcome:
    """A client for each run, as a loop of events over the simulator's own limiter."""
    dice = random.Random(seed)  # noqa: S311 - a seed's choice
    bucket = Bucket(limit, 1.0)
    due = [(dice.random() * 0.05, n) for n in range(runs)]
    heapq.heapify(due)
    ends: dict[int, float] = {}
    waits: dict[str, list[float]] = {team: [] for team in TEAMS}
    calls, refused, now, verdicts = 0, [], 0.0, 0
    order: list[str] = []
    while due:
        now, n = heapq.heappop(due)
        calls += 1
        team = TEAMS[n * len(TEAMS) // runs]
        if bucket.take(now) > 0:
            refused.append(now)
        elif n not in ends:
            ends[n] = now + DURATIONS["queued"] + DURATIONS["in_progress"]
            waits[team].append(now)
            order.append(team)
        elif now >= ends[n]:
            verdicts += 1
            continue
        heapq.heappush(due, (now + POLL_SECONDS + dice.random() * 0.05, n))
    return Outcome(
        name="naive loop",
        runs=runs,
        verdicts=verdicts,
        calls=calls,
        refused=len(refused),
        refused_later=sum(at > 60.0 for at in refused),
        seconds=now,
        waits={team: statistics.fmean(times) for team, times in waits.items()},
        fairness=jain(list(Counter(order[: runs // 2]).values())),
    )
