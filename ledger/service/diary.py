"""What a life notices about itself, kept in memory until the database takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ledger.clock import monotonic
from ledger.core.alphabet import LifeEventKind
from ledger.errors import DatabaseError
from ledger.service.heart import Heart
from ledger.service.options import Options
from ledger.store.life_events import note, note_settings
from ledger.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

PAGES_MAX: Final = 100
"""More are not kept while the database is away: the first ones tell the story."""


@dataclass(frozen=True, slots=True)
class _Page:
    kind: LifeEventKind
    at: datetime
    detail: Mapping[str, object]


class Diary:
    """One life's notes on itself."""

    def __init__(
        self, writer: Writer, heart: Heart, clock: Callable[[], datetime], options: Options
    ) -> None:
        self._writer, self._heart, self._clock = writer, heart, clock
        self._settings, self._late = options.settings, options.age_seconds_max
        self._pages: list[_Page] = []
        self._passed_at: float | None = None
        self._trouble: str | None = None

    async def begin(self) -> None:
        """Note what the life was configured with, where that is another than before."""
        settings, now, life = self._settings, self._clock(), self._heart.life.id
        if settings is not None:
            await self._writer.transact(lambda c: note_settings(c, settings, at=now, life=life))

    def clock_jumped(self, now: datetime, by: timedelta) -> None:
        """The wall clock was set."""
        self._add(LifeEventKind.clock_jumped, now, {"seconds": by.total_seconds()})

    def failed(self, error: Exception) -> None:
        """A pass failed: what to say if passes stand still for long."""
        self._trouble = self._trouble or f"{type(error).__name__}: {error}"[:300]

    async def passed(self, now: datetime) -> None:
        """A pass came to its end: note how long none had, and write what is waiting."""
        at, before = monotonic(), self._passed_at
        if before is not None and at - before > self._late:
            detail = {"seconds": round(at - before, 1), "why": self._trouble}
            self._add(LifeEventKind.stalled, now, detail)
        self._passed_at, self._trouble = at, None
        if self._pages:
            await self._write()

    def _add(self, kind: LifeEventKind, at: datetime, detail: Mapping[str, object]) -> None:
        if len(self._pages) < PAGES_MAX:
            self._pages.append(_Page(kind, at, detail))

    async def _write(self) -> None:
        pages, self._pages, life = self._pages, [], self._heart.life.id

        def write(connection: Connection) -> None:
            for page in pages:
                note(connection, page.kind, at=page.at, life=life, detail=page.detail)

        try:
            await self._writer.transact(write)
        except DatabaseError:
            self._pages = pages + self._pages
