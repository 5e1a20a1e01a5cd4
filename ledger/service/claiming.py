"""Claiming runs: whose may be taken, and how many are this life's part."""

from __future__ import annotations

import asyncio
import functools
import logging
from datetime import datetime
from typing import TYPE_CHECKING

from ledger.core.decide.poison import set_aside
from ledger.core.model import Facts
from ledger.service.heart import Heart
from ledger.service.options import Options
from ledger.service.threads import to_its_end
from ledger.store import claims
from ledger.store.records import Decision
from ledger.store.store import Store
from ledger.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("runward")


class Claimer:
    """Takes runs that nobody owns, or whose owner is gone, up to a fair share."""

    def __init__(self, store: Store, writer: Writer, heart: Heart, options: Options) -> None:
        self._store, self._writer, self._heart, self._options = store, writer, heart, options
        self._gone: list[str] = []
        self._share = 0
        self._now: datetime | None = None
        self._deaths_max = options.poison_deaths

    async def judge_lives(self, now: datetime) -> None:
        """Bury who is dead, and remember whose runs may be taken until the next time."""
        life = self._heart.life.id
        dead, overdue = await to_its_end(
            self._store.read, lambda c: self._store.lives.judge(c, life)
        )
        for other in dead:
            log.warning("life %s is dead; its runs are taken over", other[:8])
            bury = functools.partial(self._bury, other, now)
            await self._writer.transact(bury)
            await asyncio.to_thread(self._store.lives.clear, other)
        for other in overdue:
            end = functools.partial(
                claims.bury_overdue, lives=self._store.lives, life_id=other, now=now, by=life
            )
            if await self._writer.transact(end):
                log.warning("life %s let its lease run out; its runs are taken over", other[:8])
        self._gone, self._share, self._now = dead, 0, now

    def _bury(self, other: str, now: datetime, connection: Connection) -> None:
        """Free a dead life's runs, and set aside what has killed too many, in one transaction."""
        lives, me = self._store.lives, self._heart.life.id
        driven = claims.bury(connection, lives=lives, life_id=other, now=now, by=me)
        doomed = {n: dead for n, dead in driven.items() if len(dead) >= self._deaths_max}
        for run_id, dead in doomed.items():
            log.error("run %s is set aside: lives died driving it: %s", run_id, " ".join(dead))
        actor = f"life:{me}"
        records = [
            Decision(
                run_id=run_id,
                decide=functools.partial(set_aside, lives=dead, now=now, actor=actor),
            )
            for run_id, dead in doomed.items()
        ]
        if records:
            self._store.all_or_none(records)(connection)

    async def claim(self, owned: int) -> tuple[list[Facts], bool]:
        """Take what there is room for beside the `owned`; says whether there may be more."""
        room = await self._room(owned)
        if room <= 0:
            return [], False
        claim = functools.partial(
            claims.claim,
            life_id=self._heart.life.id,
            dead=self._gone,
            limit=room,
            only=self._options.only,
            now=self._now,
        )
        claimed = await self._writer.transact(claim)
        return claimed, len(claimed) == self._options.claim_max

    async def _room(self, owned: int) -> int:
        """How many more runs this life may own; a share is worked out anew once it is used up."""
        if self._options.only is not None:
            return self._options.claim_max
        if self._share <= owned:
            ask = functools.partial(claims.fair_share, life_id=self._heart.life.id, gone=self._gone)
            self._share = await to_its_end(self._store.read, ask)
        return min(self._options.claim_max, self._share - owned)
