"""A small slice of `python -m benchmarks.history`: its ledger is valid, and answers are right."""

from __future__ import annotations

import pytest

from benchmarks.common import Row
from benchmarks.histories import load
from benchmarks.history import SECTIONS, days_of, measure, until_of
from ledger.clock import utcnow
from ledger.service.ledger import Ledger

RUNS = 2_000


def test_answers_are_those_of_plain_sql(
    database_url: str, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each question is asked both ways, and what is counted whole must be the same: `measure` says
    where it is not. Afterwards the oldest runs are gone, and everything still verifies."""
    load(database_url, RUNS, until=until_of(utcnow()), days=days_of(RUNS))
    rows = measure(database_url, dialect, SECTIONS, seconds=0.2, rounds=1)
    with Ledger.open(database_url) as ledger:
        verified = ledger.verify()
        first = min(run.id for run in ledger.runs(limit=1_000, before=1_000))

    assert () == verified.broken
    assert RUNS == verified.runs + verified.pruned
    assert 30 <= verified.pruned <= 40
    assert verified.pruned < first <= verified.pruned + 1
    assert 20 <= len(rows)
    assert all(isinstance(row, Row) and row.value > 0 for row in rows)
    assert f"{dialect}: {RUNS:,} runs," in capsys.readouterr().out
