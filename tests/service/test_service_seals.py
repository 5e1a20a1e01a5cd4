"""A daemon seals now and then and at its end; a ledger says what is sealed, and checks it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from service_rig import Rig
from support import SQLITE

from ledger import Anchor, InvalidInput, NotFound
from ledger.clock import utcnow
from ledger.service import anchoring
from ledger.service.housekeeping import Housekeeping
from ledger.service.usage import Usage


def test_a_drained_daemon_leaves_nothing_unsealed(rig: Rig) -> None:
    """Seals are made by a daemon alone: a wait makes none."""
    run = rig.run()
    assert 0 == rig.count("seal")
    with rig.daemon():
        rig.submit()
        rig.expect(lambda: rig.scalar("SELECT count(*) FROM watch") == 0)

    assert 0 == rig.scalar("SELECT count(*) FROM run WHERE sealed_seq <> event_seq")
    assert rig.count("seal") >= 1
    assert () == rig.ledger.verify().broken
    assert run.version <= rig.ledger.get(run).version


def test_seals_come_at_their_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `seal_seconds`, some at a time; a life without the option makes none."""
    monkeypatch.setattr(anchoring, "SEAL_RUNS_MAX", 1)
    now = utcnow()
    chores = Housekeeping(rig.ledger.store, rig.ledger.writer, Usage(), 60.0)
    rig.submit()

    def at(seconds: float, keeper: Housekeeping = chores) -> int:
        asyncio.run(keeper.seal_if_due(now + timedelta(seconds=seconds)))
        return rig.count("seal")

    assert [0, 0, 1] == [at(0), at(59), at(61)]
    rig.submit()
    assert [1, 1, 2] == [at(62), at(100), at(200)]
    rig.submit()
    none = Housekeeping(rig.ledger.store, rig.ledger.writer, Usage(), None)
    assert [2, 2] == [at(300, none), at(900, none)]


def test_an_anchor_can_be_held_against_the_ledger(rig: Rig) -> None:
    """What it covers is counted; more history later does not invalidate it."""
    with pytest.raises(NotFound):
        rig.ledger.anchor()
    rig.run()
    first = rig.ledger.anchor()
    assert (first.seal, first.runs) == (1, 1)
    assert first == rig.ledger.anchor()
    rig.run()
    second = rig.ledger.anchor()

    assert (2, 2) == (second.seal, second.runs)
    assert second.events > first.events
    checked = rig.ledger.verify(anchors=[first, second.as_json()])
    assert ((), 2) == (checked.broken, checked.seals)


ANCHOR = Anchor(
    ledger="x", seal=1, hash="0" * 64, sealed_at="2026-03-01T12:00:00+00:00", runs=1, events=1
).as_json()
BAD: list[Any] = [
    None, [], "x", {}, {**ANCHOR, "format": "other"}, {**ANCHOR, "version": 2}, ANCHOR,
    {**ANCHOR, "seal": 0}, {**ANCHOR, "seal": True}, {**ANCHOR, "seal": 2**70},
    {**ANCHOR, "hash": "0" * 63}, {**ANCHOR, "hash": "Z" * 64}, {**ANCHOR, "hash": 5},
    {**ANCHOR, "sealed_at": "yesterday"}, {**ANCHOR, "ledger": ""}, {**ANCHOR, "runs": -1},
]  # fmt: skip


@SQLITE
def test_a_bad_anchor_is_refused(rig: Rig) -> None:
    """Something else, another version, a wrong field, another ledger: never a traceback."""
    for bad in BAD:
        with pytest.raises(InvalidInput):
            rig.ledger.verify(anchors=[bad])
    run = rig.submit()
    with pytest.raises(InvalidInput, match="whole ledger"):
        rig.ledger.verify([run], anchors=[rig.ledger.anchor()])
