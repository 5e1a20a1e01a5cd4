"""Classes of runs: durations to play policies over, and what is the least that any could cost."""

from __future__ import annotations

import csv
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from ledger.core.pacing.density import density_of, prior
from ledger.core.pacing.looks import jittered
from ledger.core.pacing.policies import Pace
from ledger.core.pacing.rehearsal import Rehearsed, rehearse, summed
from ledger.core.pacing.schedule import Rule, Schedule

CHAT = Path(__file__).parent / "traces" / "chat_azure_conv.csv"
FITS = {
    "short": (1.370, 0.707),
    "agent, one model": (5.304, 0.459),
    "agent, all": (5.316, 0.726),
    "deep agentic": (6.267, 1.089),
    "deep research": (math.log(720), 0.55),
}
"""Lognormal fits (mu, sigma of seconds): one request of a coding agent, runs of coding agents, deep
agentic runs; and a made-up class of research runs."""
MIX = {"short": 0.70, "agent, one model": 0.25, "deep research": 0.05}
PER_LOOK = 12
AHEAD = 4 * PER_LOOK
DRAWN_MAX = 7_200.0
CLASS_RUNS = 100_000
TRACE_RUNS = 8_000


def drawn(name: str, runs: int, seed: int) -> list[float]:
    """Durations of a class, in seconds, in the order in which runs are made."""
    if name == "chat (trace)":
        with CHAT.open(encoding="utf-8") as file:
            found = [float(row["duration_s"]) for row in csv.DictReader(file)]
        start = (seed * 4_001) % (len(found) - runs + 1)
        return found[start : start + runs]
    rng = random.Random(f"{name}/{seed}")
    mu, sigma = FITS[name]
    return [min(rng.lognormvariate(mu, sigma), DRAWN_MAX) for _ in range(runs)]


CLASSES = (
    "short",
    "chat (trace)",
    "agent, one model",
    "agent, all",
    "deep agentic",
    "deep research",
)


def played(durations: Sequence[float], pace: Pace, seed: int = 1) -> Rehearsed:
    """A policy over durations, with the jitter that the product adds to each wait."""
    rng = random.Random(seed)
    delays, calls = [], 0
    for seconds in durations:
        age = 0.0
        while age < seconds or age == 0.0:
            age += pace.wait_seconds(age) * jittered(rng.random())
            calls += 1
        delays.append(age - seconds)
    return summed(delays, calls=calls)


def optimum(durations: Sequence[float], worth: float) -> Schedule:
    """The schedule that costs such runs least, at `worth` calls a second of delay: a dynamic
    programme over a fine grid of ages. Given few runs, it would fit their very ends: give many."""
    ages = _grid(durations, worth)
    ordered = sorted(durations)
    sums = list(accumulate(ordered, initial=0.0))
    ended = [bisect_right(ordered, age) for age in ages]
    moment = [sums[count] for count in ended]
    cost = [0.0] * len(ages)
    choice = [len(ages) - 1] * len(ages)
    for i in range(len(ages) - 2, -1, -1):
        alive, best = len(ordered) - ended[i], math.inf
        for j in range(i + 1, min(i + AHEAD, len(ages))):
            late = ages[j] * (ended[j] - ended[i]) - (moment[j] - moment[i])
            total = alive + worth * late + cost[j]
            if total < best:
                best, choice[i] = total, j
        cost[i] = best
    return Schedule(ages=tuple(ages), following=tuple(ages[j] for j in choice))


def _grid(durations: Sequence[float], worth: float) -> list[float]:
    """Twelve points to every look that the square root's rule would make, to the last end."""
    sample = [(seconds, 1.0) for seconds in durations[:: max(1, len(durations) // 2_000)]]
    rule = Rule(density_of(sample, [], prior()), worth)
    last = max(durations)
    count = int(rule.looks_by(last) * PER_LOOK) + 2
    ages = [rule.age_at(k / PER_LOOK) for k in range(count)]
    return [*dict.fromkeys(age for age in ages if age < last), last * 1.000001]


def all_of(name: str) -> list[float]:
    """So many runs of a class that they are the class: what the offline optimum knows."""
    if name == "chat (trace)":
        # The trace drifts: those around the ones that are played, not all.
        return drawn(name, TRACE_RUNS, seed=1)
    return drawn(name, CLASS_RUNS, seed=0)


class Frontier:
    """The least calls for each mean delay."""

    def __init__(self, durations: Sequence[float], worths: Sequence[float]) -> None:
        found = [rehearse(durations, optimum(durations, worth)) for worth in worths]
        self.points = sorted((one.mean, one.calls) for one in found)

    def calls_at(self, delay: float) -> float:
        """Calls a run of the optimum with this mean delay, straight lines between logarithms."""
        xs = [math.log(mean) for mean, _ in self.points]
        ys = [math.log(calls) for _, calls in self.points]
        x = math.log(delay)
        k = min(max(bisect_right(xs, x) - 1, 0), len(xs) - 2)
        return math.exp(ys[k] + (ys[k + 1] - ys[k]) * (x - xs[k]) / (xs[k + 1] - xs[k]))
