"""What policies cost: calls a run against how late we know, over measured and fitted durations.

Runs the product's own pacing code. The optimum is a dynamic programme that knows the durations.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.common import Goal, Row, print_machine, print_table
from benchmarks.fleet import CLASSES, MIX, Frontier, all_of, drawn, optimum, played
from benchmarks.frontier import draw
from ledger.clock import utcnow
from ledger.core.pacing.density import Density
from ledger.core.pacing.experience import Experience, class_of
from ledger.core.pacing.policies import BACKOFF, Backoff, Fixed, Pace
from ledger.core.pacing.rehearsal import Rehearsed, rehearse, summed
from ledger.core.pacing.schedule import schedule_of
from ledger.core.pacing.worth import WORTH, Aim, Share, worth_of

RUNS = 2_000
KNOWN_RUNS = 300
WORTHS = tuple(0.02 * 2.2**k for k in range(13))
SEEDS = 8
FIXED: dict[str, Pace] = {
    "SDK, 1 s": Fixed(seconds=1.0),
    "fixed 2.5 s": Fixed(seconds=2.5),
    "backoff 0.5 s x1.5, cap 5 s": BACKOFF,
    "backoff 0.5 s x2, cap 30 s": Backoff(factor=2.0, cap_seconds=30.0),
}
LINE = "{:<28} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}"


def known(durations: Sequence[float]) -> Density:
    """What the product knows of a class after these runs, through its own experience."""
    experience, of = Experience(), class_of("responses", "model", None, "kind")
    for n, seconds in enumerate(durations):
        experience.ended(of, (n, 1), seconds)
    return experience.density(of, utcnow())


def at_delay(density: Density, seconds: float) -> float:
    """The price at which a class is noticed within so many seconds on average."""
    share = Share(density=density, runs_per_minute=1.0)
    return worth_of(Aim(notice_within_seconds=seconds), [share])


def policies(frontiers: dict[str, Frontier]) -> dict[str, Rehearsed]:
    """Every policy on every class; returns the learned one at the backoff's own mean delay."""
    matched = {}
    for name, frontier in frontiers.items():
        runs = drawn(name, RUNS, seed=2)
        density = known(drawn(name, KNOWN_RUNS, seed=1))
        usual = rehearse(runs, BACKOFF)
        paces = FIXED | {
            f"learned, worth {WORTH:g}": schedule_of(density, WORTH),
            "learned, at the backoff's": schedule_of(density, at_delay(density, usual.mean)),
        }
        print(f"\n{name}\n" + LINE.format("", "calls", "mean s", "p50", "p95", "p99", "of optimum"))
        for title, pace in paces.items():
            found = played(runs, pace)
            print(_line(title, found, found.calls / frontier.calls_at(found.mean)))
            matched[name] = found
        least = rehearse(runs, optimum(all_of(name), at_delay(density, usual.mean)))
        print(_line("optimum, there", least, 1.0))
    return matched


def _line(title: str, found: Rehearsed, ratio: float) -> str:
    figures = (found.calls, found.mean, found.p50, found.p95, found.p99)
    return LINE.format(title, *(f"{figure:.2f}" for figure in figures), f"{ratio:.2f}")


def mixed() -> tuple[Rehearsed, Rehearsed, Rehearsed]:
    """A fleet of 70/25/5: the backoff, one price for all with classes known, and with none."""
    rng, order = random.Random(7), list(MIX)
    parts = {name: drawn(name, RUNS, seed=2) for name in order}
    before = {name: drawn(name, KNOWN_RUNS, seed=1) for name in order}
    names = rng.choices(order, weights=list(MIX.values()), k=2 * RUNS)
    runs = [(name, parts[name][n % RUNS]) for n, name in enumerate(names)]
    usual = rehearse([seconds for _, seconds in runs], BACKOFF)
    densities = {name: known(before[name]) for name in order}
    shares = [Share(density=densities[name], runs_per_minute=MIX[name]) for name in order]
    worth = worth_of(Aim(notice_within_seconds=usual.mean), shares)
    paces = {name: schedule_of(density, worth) for name, density in densities.items()}
    some = rng.choices(order, weights=list(MIX.values()), k=KNOWN_RUNS)
    pooled = known([before[name][n] for n, name in enumerate(some)])
    one = schedule_of(pooled, at_delay(pooled, usual.mean))
    return usual, _fleet(runs, paces.__getitem__), _fleet(runs, lambda _: one)


def _fleet(runs: Sequence[tuple[str, float]], pace_of: Callable[[str], Pace]) -> Rehearsed:
    """Runs of several classes, each at its pace; the figures of all."""
    delays: list[float] = []
    calls = 0.0
    for name in dict.fromkeys(name for name, _ in runs):
        mine = [seconds for other, seconds in runs if other == name]
        pace = pace_of(name)
        found = played(mine, pace)
        calls += found.calls * len(mine)
        delays += [_delay(pace, seconds) for seconds in mine]
    return summed(delays, calls=round(calls))


def _delay(pace: Pace, seconds: float) -> float:
    return rehearse([seconds], pace).mean


def learner(counts: Sequence[int] = (5, 10, 20, 50, 100, 1_000)) -> dict[int, float]:
    """Cost above the offline optimum after so many runs from an empty ledger; the mean over the
    classes and seeds, at the usual price."""
    above: dict[int, list[float]] = {count: [] for count in counts}
    for name in CLASSES:
        runs = drawn(name, RUNS, seed=2)
        least = _cost(rehearse(runs, optimum(all_of(name), WORTH)))
        for seed in range(SEEDS):
            before = drawn(name, max(counts), seed=100 + seed)
            for count in counts:
                pace = schedule_of(known(before[:count]), WORTH)
                above[count].append(_cost(rehearse(runs, pace)) / least - 1.0)
        shown = ", ".join(f"{n}: {statistics.mean(of[-SEEDS:]):.1%}" for n, of in above.items())
        print(f"  {name:<18} {shown}")
    return {count: statistics.mean(of) for count, of in above.items()}


def _cost(found: Rehearsed) -> float:
    return found.calls + WORTH * found.mean


def hardships() -> None:
    """What tuned policies stumble over, in time order: the learner's cost and the backoff's against
    the optimum for those runs."""
    rng = random.Random(11)

    def drifting(n: float) -> float:
        return 30.0 * 2.0 ** (n / 300.0) * rng.lognormvariate(0, 0.5)

    def limited(name: str, runs: int, seed: int) -> list[float]:
        return [min(seconds, 300.0) for seconds in drawn(name, runs, seed)]

    def slower(runs: int, seed: int) -> list[float]:
        return [seconds * 10 for seconds in drawn("short", runs, seed)]

    agent, quick, many = "agent, one model", drawn("short", 300, 5), 30_000
    cases = {
        "twice as slow every 300 runs": (
            [drifting(n) for n in range(600)],
            [drifting(n) for n in range(600, 900)],
            [drifting(rng.uniform(600, 900)) for _ in range(many)],
        ),
        "one of five ends at a limit of 300 s": (
            limited(agent, 300, 4),
            limited(agent, 600, 5),
            limited(agent, many, 0),
        ),
        "ten times as slow overnight, 60 runs": (quick, slower(60, 6), slower(many, 0)),
        "ten times as slow overnight, 600 runs": (quick, slower(600, 6), slower(many, 0)),
        "never seen before, 300 runs": ([], drawn(agent, 300, 9), all_of(agent)),
    }
    for title, (before, after, law) in cases.items():
        least = _cost(rehearse(after, optimum(law, WORTH)))
        usual = _cost(rehearse(after, BACKOFF)) / least
        learned = _cost(in_time_order(before, after)) / least
        print(f"  {title:<40} learned {learned:.2f}, backoff {usual:.2f} times the optimum")


def in_time_order(before: Sequence[float], after: Sequence[float]) -> Rehearsed:
    """Each run watched by what those before it taught; they end ten seconds apart."""
    experience, of = Experience(), class_of("responses", "model", None, "kind")
    start, delays, calls = utcnow(), [], 0.0
    for n, seconds in enumerate([*before, *after]):
        if n >= len(before):
            found = experience.known(of, start + timedelta(seconds=10 * n))
            pace = schedule_of(found.density, WORTH) if found else BACKOFF
            one = rehearse([seconds], pace)
            calls += one.calls
            delays.append(one.mean)
        experience.ended(of, (n, 1), seconds)
    return summed(delays, calls=round(calls))


def webhooks(lost: float = 0.01) -> Rehearsed:
    """Agent runs of which webhooks tell after 0.6 s in the median; a share of them is lost."""
    rng = random.Random(3)
    runs = drawn("agent, one model", 20_000, seed=2)
    density = known(drawn("agent, one model", KNOWN_RUNS, seed=1))
    beside = schedule_of(density, WORTH * lost)
    delays, calls = [], 0
    for seconds in runs:
        told = seconds + 0.6 * rng.lognormvariate(0, 0.5) if rng.random() >= lost else math.inf
        age = 0.0
        while age < seconds:
            age += beside.wait_seconds(age) * (0.9 + 0.2 * rng.random())
            calls += 1 if age < told else 0
        calls += 1 if told <= age else 0
        delays.append(min(age, told) - seconds)
    return summed(delays, calls=calls)


def _goals(
    matched: dict[str, Rehearsed],
    mix: Rehearsed,
    above: dict[int, float],
    told: Rehearsed,
) -> list[Row]:
    def least(name: str, unit: str, must: float, stretch: float) -> Goal:
        return Goal(name, unit, must, stretch, more_is_better=False)

    found = [
        (least("G10 short", "calls", 2.4, 2.2), matched["short"].calls),
        (least("G10 agent", "calls", 36, 33), matched["agent, one model"].calls),
        (least("G10 mix", "calls", 16, 14.5), mix.calls),
        (least("G11 after 20 runs", "%", 10, 5), 100 * above[20]),
        (least("G11 after 100 runs", "%", 4, 2), 100 * above[100]),
        (least("G12 calls", "calls", 6, 3), told.calls),
        (least("G12 mean delay", "s", 1.2, 1.2), told.mean),
        (least("G12 p99.9", "s", 60, 60), told.p999),
    ]
    return [Row(goal, "computed", value) for goal, value in found]


def main() -> None:
    """Print all tables; with --plot also draw the frontier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the frontiers into")
    given = parser.parse_args()
    print_machine("polling: calls against delay, in computed time", rounds=1)
    frontiers = {name: Frontier(all_of(name), WORTHS) for name in CLASSES}
    matched = policies(frontiers)
    usual, classes, pooled = mixed()
    print("\nmix of 70 % short, 25 % agent, 5 % deep research")
    for title, found in (("backoff", usual), ("learned", classes), ("one class for all", pooled)):
        print(_line(title, found, found.calls / classes.calls))
    print(
        f"\ncost above the optimum after so many runs of a class (worth {WORTH:g}, {SEEDS} seeds)"
    )
    above = learner()
    print("\nhardships")
    hardships()
    told = webhooks()
    print("\nwebhooks, 1 % lost, agent runs")
    print(_line("learned beside webhooks", told, 1.0))
    print(f"  p99.9 {told.p999:.1f} s")
    if given.plot:
        given.plot.write_text(draw(frontiers, FIXED), encoding="utf-8")
    rows = _goals(matched, classes, above, told)
    print_table(rows)
    sys.exit(any(row.goal.verdict(row.value) == "MISSED" for row in rows))


if __name__ == "__main__":
    main()
