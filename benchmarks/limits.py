"""Many runs at once under a strict rate limit: calls, 429s, time, fairness; beside naive polling.

In virtual time: the real reconciler, store and providers over the simulator's limiter.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.common import print_machine
from ledger.fuzzing.limited import Outcome, naive, ours

HEADINGS = (
    "", "verdicts", "calls", "calls/run", "429s", "429s after 1 min", "until the last verdict",
    "mean wait red", "blue", "Jain",
)  # fmt: skip


def main() -> None:
    """Print the table; exit 1 if a verdict is missing, a 429 came late, or one team waited."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--limit", type=int, default=300, help="requests a minute")
    parser.add_argument("--lives", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print_machine(f"{given.runs:,} runs, {given.limit} requests a minute, virtual time", rounds=1)
    mine = ours(runs=given.runs, limit=given.limit, lives=given.lives, seed=given.seed)
    theirs = naive(runs=given.runs, limit=given.limit, seed=given.seed)
    lines: list[tuple[str, ...]] = [HEADINGS, _cells(mine), _cells(theirs)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    well = not mine.problems and mine.verdicts == mine.runs and mine.refused_later == 0
    sys.exit(0 if well and mine.fairness >= 0.95 else 1)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.name,
        f"{outcome.verdicts:,}",
        f"{outcome.calls:,}",
        f"{outcome.calls / outcome.runs:.1f}",
        f"{outcome.refused:,}",
        f"{outcome.refused_later:,}",
        f"{outcome.seconds:,.0f} s",
        *(f"{seconds:.1f} s" for seconds in outcome.waits.values()),
        f"{outcome.fairness:.3f}",
    )


if __name__ == "__main__":
    main()
