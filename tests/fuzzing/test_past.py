"""The fleet as it stood, against the fold of every event of a simulated history."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ledger.fuzzing.play import Stage, seeded, template
from ledger.fuzzing.schedule import Jump, schedule_of
from ledger.store.facts import RUN
from ledger.store.past import fleet_at, page_at
from ledger.store.queries import EVENT


@pytest.mark.parametrize("seed", [3, 11, 29])
def test_the_fleet_is_the_fold_of_all_events(seed: int, tmp_path: Path) -> None:
    """With crashes, restarts and cancels, at the time of every event. A clock that is set has no
    one answer, so in these histories none is."""
    schedule = schedule_of(seed)
    acts = tuple(act for act in schedule.acts if not isinstance(act, Jump))
    template()
    stage = Stage(replace(schedule, acts=acts), tmp_path)
    try:
        with seeded(schedule.seed, stage.clock):
            stage.play()
            times = stage.console.read(compare)
    finally:
        stage.close()
    assert 10 < times


def compare(connection: sa.Connection) -> int:
    """Hold both against each other at the time of each event; returns at how many."""
    created = {row.id: row.created_at for row in connection.execute(sa.select(RUN))}
    order = (EVENT.c.run_id, EVENT.c.seq)
    events = connection.execute(sa.select(EVENT).order_by(*order)).all()
    times = sorted({event.recorded_at for event in events})
    for at in times:
        states = folded(created, events, at)
        fleet = fleet_at(connection, at)
        assert Counter(states.values()) == Counter(
            {state: count for state, count in fleet.items() if state != "unknown"}
        )
        shown = {
            run_id: str(past.state) if past else now_of(connection, run_id)
            for run_id, past in page_at(connection, (), at, limit=1_000, before=None)
        }
        assert states == shown
    return len(times)


def folded(created: dict[int, datetime], events: Any, at: datetime) -> dict[int, str]:
    """The state of every run that was there, by nothing but its events."""
    states = {run_id: "queued" for run_id, begun in created.items() if begun <= at}
    for event in events:
        if event.recorded_at <= at and event.to_state is not None:
            states[event.run_id] = str(event.to_state)
    return states


def now_of(connection: sa.Connection, run_id: int) -> str:
    """The state of a run as it is."""
    return str(connection.execute(sa.select(RUN.c.state).where(RUN.c.id == run_id)).scalar())
