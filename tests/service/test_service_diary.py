"""What a life notices about itself reaches the ledger, also after the database was away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support import NOW, Bench, later

from ledger import clock
from ledger.clock import utcnow
from ledger.errors import DatabaseError
from ledger.service.diary import PAGES_MAX, Diary
from ledger.service.heart import Heart
from ledger.service.options import Options
from ledger.store.life_events import life_events
from ledger.store.lives import Life


class Standing(clock.MachineClock):
    """A machine whose time passes when it is told to."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


class Away:
    """A writer whose database can be gone."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self.gone = bench, False

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        if self.gone:
            raise DatabaseError("the database is away")
        return self._bench.committer.run(work)


def written(bench: Bench) -> list[tuple[str, dict[str, Any]]]:
    rows = bench.store.read(lambda c: life_events(c, NOW, utcnow() + timedelta(days=1)))
    return [(str(row.kind), row.detail) for row in rows if row.kind != "migrated"]


@pytest.fixture
def away(bench: Bench) -> Away:
    return Away(bench)


@pytest.fixture
def diary(bench: Bench, away: Away) -> Diary:
    life = Life(id="me", role="daemon", version="1")
    heart = Heart(bench.store, away, life, lambda: NOW)  # type: ignore[arg-type]
    return Diary(away, heart, lambda: NOW, Options())  # type: ignore[arg-type]


def test_passes_that_stood_still_are_told_with_their_reason(bench: Bench, diary: Diary) -> None:
    machine = Standing()
    with clock.use(machine):
        asyncio.run(diary.passed(NOW))
        machine.at = 9.0
        asyncio.run(diary.passed(later(9)))
        diary.failed(DatabaseError("no answer"))
        diary.failed(DatabaseError("still none"))
        machine.at = 49.5
        asyncio.run(diary.passed(later(49.5)))
    assert [("stalled", {"seconds": 40.5, "why": "DatabaseError: no answer"})] == written(bench)


def test_what_the_database_did_not_take_is_written_later(
    bench: Bench, diary: Diary, away: Away
) -> None:
    away.gone = True
    for _ in range(PAGES_MAX + 5):
        diary.clock_jumped(NOW, timedelta(hours=1))
    asyncio.run(diary.passed(NOW))
    assert [] == written(bench)
    away.gone = False
    asyncio.run(diary.passed(NOW))
    asyncio.run(diary.passed(NOW))
    assert [("clock_jumped", {"seconds": 3600.0})] * PAGES_MAX == written(bench)
