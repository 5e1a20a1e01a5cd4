"""Whatever becomes of webhooks, the verdicts are those that polling alone finds."""

from __future__ import annotations

import functools

import pytest

from ledger.fuzzing.regimes import REGIMES, Outcome, Regime, run

RUNS = 14
SPAN_SECONDS = 300.0
POLLED, *TOLD = REGIMES


@functools.cache
def outcome(regime: Regime) -> Outcome:
    """What came of the lot; played once."""
    return run(regime, runs=RUNS, span=SPAN_SECONDS)


@pytest.mark.sampled(2)
@pytest.mark.problem(12)
@pytest.mark.parametrize("regime", TOLD, ids=lambda regime: str(regime.name))
def test_webhooks_change_when_we_look_and_nothing_else(regime: Regime) -> None:
    """Lost, late, doubled, forged, not received for long: each run ends as it would have ended,
    and costs fewer calls."""
    polled, told = outcome(POLLED), outcome(regime)

    assert (RUNS, ()) == (len(told.verdicts), told.problems)
    assert polled.verdicts == told.verdicts
    assert told.calls_per_run < polled.calls_per_run
    # What no delivery tells of is found by the next look, a minute later at most.
    assert told.delay(1.0) < 70


def test_deliveries_tell_sooner_than_looks() -> None:
    """With all of them, a fraction of the calls and of the delay."""
    polled, told = outcome(POLLED), outcome(TOLD[0])
    assert told.calls_per_run < polled.calls_per_run / 2
    assert told.delay(0.5) < polled.delay(0.5) / 2
