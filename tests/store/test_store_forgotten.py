"""A request that is not kept goes with the end for good, and not before."""

from __future__ import annotations

import pytest
from support import Bench, response, seen

from ledger.core.policy import Policy

FORGET = Policy(restart=(), forget_request=True, deadline_seconds=60)


def kept(bench: Bench, run_id: int) -> tuple[bool, bool]:
    """Whether salt and bytes are there."""
    asked = "SELECT {} IS NOT NULL FROM payload WHERE run_id = :run AND n = 1"
    return (
        bool(bench.scalar(asked.format("salt"), run=run_id)),
        bool(bench.scalar(asked.format("body"), run=run_id)),
    )


@pytest.mark.problem(28)
def test_a_verdict_with_a_tail_keeps_the_request(bench: Bench) -> None:
    """It expired, and its remote is still watched; once that is settled the request goes."""
    facts = bench.sending(policy=FORGET, check=b"\x01" * 32)
    facts = bench.take(facts, seen(response("in_progress")))
    facts = bench.elapse(facts, 61)
    assert (True, True) == (facts.run.final, facts.watched)
    assert (True, True) == kept(bench, facts.run.id)
    facts = bench.take(facts, seen(response("cancelled")))

    assert not facts.watched
    assert (False, False) == kept(bench, facts.run.id)
    assert () == bench.verify().broken
