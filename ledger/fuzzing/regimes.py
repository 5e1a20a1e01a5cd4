"""The same lot of runs while webhooks fare well, badly, or not at all: in virtual time.

What differs may be how often and how soon we look; never what came of a run.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ledger.fuzzing.play import SHARED_MEMORY, Stage, seeded, template
from ledger.fuzzing.process import Process
from ledger.fuzzing.schedule import Schedule, Submit
from ledger.simulator.webhook_settings import WebhookSettings

SPAN_SECONDS: Final = 3 * 3_600.0
"""So long runs are handed over; the receiver is down in the middle third of it."""
DURATIONS: Final = {"queued": 2.0, "in_progress": 90.0, "slow": 400.0, "expire": 6.0, "vanish": 3.0}
MODELS: Final = (
    *["sim-ok"] * 11, *["sim-slow"] * 6,
    "sim-fail-server_error", "sim-incomplete-max_output_tokens", "sim-tool",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """How webhooks fare. `webhooks` None: upstream sends none, and every run is polled."""

    name: str
    webhooks: WebhookSettings | None = None
    down: bool = False
    rotated: bool = False


REGIMES: Final = (
    Regime(name="no webhooks"),
    Regime(name="all arrive", webhooks=WebhookSettings()),
    Regime(name="1 % lost", webhooks=WebhookSettings(loss=0.01)),
    Regime(name="10 % lost", webhooks=WebhookSettings(loss=0.1)),
    Regime(
        name="doubled, reordered",
        webhooks=WebhookSettings(duplicate=0.5, reorder=0.5, delay=2.0),
    ),
    Regime(name="forged among them", webhooks=WebhookSettings(forged=2.0)),
    Regime(name="receiver down 1 h", webhooks=WebhookSettings(), down=True),
    Regime(name="secret rotated", webhooks=WebhookSettings(), rotated=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a lot under one regime. Delays are seconds from upstream's end to ours."""

    regime: Regime
    verdicts: Mapping[str, tuple[str, str | None, int | None]]
    delays: tuple[float, ...]
    calls_per_run: float
    receipts: Mapping[str, int]
    gaps: int
    problems: tuple[str, ...]

    def delay(self, share: float) -> float:
        """The delay that this share of the runs does not exceed."""
        ordered = sorted(self.delays)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Lot(Stage):
    """A play without deaths, in which nobody checks at every commit."""

    durations = DURATIONS

    def __init__(self, regime: Regime, span: float, schedule: Schedule, folder: Path) -> None:
        super().__init__(schedule, folder)
        self.regime, self._span = regime, span
        if regime.rotated:
            self.scheduler.at(span / 2, self._rotate)

    def _rotate(self) -> None:
        """Upstream gets a new secret and signs with both; our side holds both."""
        webhooks = self.world.engine.webhooks
        (endpoint,) = webhooks.endpoints.values()
        webhooks.rotate(endpoint, self.world.now(), keep=True)
        self.signer.add(endpoint.secret)

    def receivers(self) -> list[Process]:
        """Nobody, while the receiver is down."""
        middle = self._span / 3 <= self.clock.now < self._span * 2 / 3
        down = self.regime.down and middle
        return [] if down else super().receivers()

    def _committed(self, process: Process) -> None:
        self._news = True
        for other in self.processes:
            if other is not process:
                self._hint(other)


def run(regime: Regime, *, runs: int, span: float = SPAN_SECONDS, seed: int = 1) -> Outcome:
    """Play a lot of runs, spread over so many seconds, under one regime."""
    acts = tuple(_lot(runs, span, seed))
    schedule = Schedule(seed=seed, acts=acts, webhooks=regime.webhooks)
    template()
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        lot = _Lot(regime, span, schedule, Path(folder))
        with seeded(seed, lot.clock):
            try:
                lot.play()
                return _outcome(lot)
            finally:
                lot.close()


def _lot(runs: int, span: float, seed: int) -> Iterator[Submit]:
    dice = random.Random(f"lot:{seed}")  # noqa: S311 - a seed's choice
    for number in range(runs):
        model = dice.choice(MODELS)
        yield Submit(
            at=round(dice.uniform(0, span), 3),
            key=f"run:{number}",
            model=model,
            tool="look_up" if model == "sim-tool" else None,
            policy={"deadline": 40_000, "restart": "none"},
        )


_RUNS = sa.text(
    "SELECT r.key, r.state, r.error_code, r.finished_at, length(p.body) AS size, m.remote_id "
    "FROM run r JOIN remote m ON m.run_id = r.id AND m.n = "
    "(SELECT max(n) FROM remote WHERE run_id = r.id) "
    "LEFT JOIN payload p ON p.run_id = r.id AND p.n = r.result ORDER BY r.id"
)


_RECEIPTS = sa.text("SELECT result, sum(requests) FROM receipt GROUP BY result")
_GAPS = sa.text("SELECT count(*) FROM gap")


def _outcome(lot: _Lot) -> Outcome:
    rows = lot.console.read(lambda c: list(c.execute(_RUNS)))
    receipts = lot.console.read(lambda c: list(c.execute(_RECEIPTS)))
    gaps = lot.console.read(lambda c: c.execute(_GAPS).scalar_one())
    ended = {job["id"]: job["since"] for job in lot.world.jobs()}
    return Outcome(
        regime=lot.regime,
        verdicts={row.key: (row.state, row.error_code, row.size) for row in rows},
        delays=tuple(_seconds(row.finished_at) - ended[row.remote_id] for row in rows),
        calls_per_run=lot.world.requests / len(rows),
        receipts={result: int(count) for result, count in receipts},
        gaps=int(gaps),
        problems=tuple(lot.problems),
    )


def _seconds(text: str) -> float:
    """SQLite's text of a time, as seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
