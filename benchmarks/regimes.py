"""The same runs while webhooks fare well, badly, or not at all: calls a run, and how late we know.

In virtual time, over the real reconciler, store and receiver: three hours take seconds.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.common import print_machine
from ledger.fuzzing.regimes import REGIMES, Outcome, run

HEADINGS = (
    "regime", "verdicts", "calls/run", "delay p50", "p95", "p99", "max", "told", "missed",
    "duplicate", "refused", "gaps",
)  # fmt: skip


def main() -> None:
    """Print the table; exit 1 if any verdict differs from what polling alone finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print_machine("webhooks: eight regimes, in virtual time", rounds=1)
    lines, outcomes = [HEADINGS], []
    for regime in REGIMES:
        outcomes.append(run(regime, runs=given.runs, span=given.hours * 3_600, seed=given.seed))
        lines.append(_cells(outcomes[-1], outcomes[0]))
        print(f"  {regime.name}: done", file=sys.stderr)
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    same = all(o.verdicts == outcomes[0].verdicts and not o.problems for o in outcomes)
    sys.exit(0 if same else 1)


def _cells(outcome: Outcome, first: Outcome) -> tuple[str, ...]:
    differing = sum(
        1 for key, verdict in outcome.verdicts.items() if first.verdicts.get(key) != verdict
    )
    counts = outcome.receipts
    refused = sum(counts.get(word, 0) for word in ("forged", "stale", "malformed"))
    return (
        outcome.regime.name,
        "identical" if not differing and not outcome.problems else f"{differing} DIFFER",
        f"{outcome.calls_per_run:.1f}",
        *(f"{outcome.delay(share):.2f} s" for share in (0.5, 0.95, 0.99, 1.0)),
        str(counts.get("told", 0)),
        str(counts.get("missed", 0)),
        str(counts.get("duplicate", 0)),
        str(refused),
        str(outcome.gaps),
    )


if __name__ == "__main__":
    main()
