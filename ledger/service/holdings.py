"""What one life owns: taken in by claims, kept up with what others touch, checked against the rows.

Only a cache: any of it can be derived from the rows again, and is, every few seconds.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ledger.core.model import Facts
from ledger.core.pacing import Look
from ledger.errors import DatabaseError
from ledger.service.accounts import Accounts
from ledger.service.claiming import Claimer
from ledger.service.entry import Agenda, Entry
from ledger.service.heart import Heart
from ledger.service.options import Report
from ledger.service.spreading import Spreading
from ledger.service.turns import Turns
from ledger.store import claims
from ledger.store.queries import newest_ids, news_since, one
from ledger.store.store import Store


class Holdings:
    """The runs of one life, by due time."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        heart: Heart,
        claimer: Claimer,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._store, self._accounts, self._heart = store, accounts, heart
        self._claimer, self._clock, self._rng = claimer, clock, rng
        self.agenda = Agenda(Turns(accounts))
        self._spreading = Spreading()
        self._seen = (0, 0)
        self._rebirths = 0

    def begin(self) -> None:
        """What is news counts from now on."""
        self._seen = self._store.read(newest_ids)

    async def claim(self, now: datetime, report: Report) -> bool:
        """Reload what others touched, take what nobody owns; says whether there is more."""
        # Before the claim: what is claimed is newer than any news, and its acceptance is no news.
        self._read_news(now)
        claimed, more = await self._claimer.claim(len(self.agenda.entries))
        self._take_in(claimed, now, report)
        return more

    def review(self, now: datetime, report: Report) -> None:
        """The floor under all hints: what the rows say is owned, at which fence and version."""
        life = self._heart.life.id
        owned = self._store.read(lambda c: claims.owned(c, life))
        for run_id in set(self.agenda.entries) - set(owned):
            lost = self.agenda.entries[run_id]
            if not lost.busy:
                self.agenda.drop(lost)
                report.dropped += 1
        known = self._store.read(lambda c: claims.versions(c, list(owned)))
        for run_id, (fence, _) in owned.items():
            entry = self.agenda.entries.get(run_id)
            if entry is None:
                facts = self._store.read(functools.partial(one, run_id=run_id))
                self._take_in([facts], now, report)
            elif not entry.busy and (
                entry.facts.run.version != known.get(run_id) or entry.facts.fence != fence
            ):
                self._refresh(run_id, now)

    def look_again(self, entry: Entry) -> None:
        """Somebody touched the run while it was being driven: the facts in hand may be older."""
        entry.touched, entry.due = False, self._clock()
        entry.look = replace(entry.look, next_at=entry.due)
        with contextlib.suppress(DatabaseError):
            entry.facts = self._store.read(lambda c: one(c, entry.facts.run.id))

    def wake_profile(self, profile: str) -> None:
        """Webhooks of a profile fail: its runs are polled from now on."""
        for account in self._accounts.records.values():
            if account.profile == profile:
                self.wake_account(account.id)

    def wake_account(self, account_id: int) -> None:
        """What waited for an account is due, but not all of it at this moment."""
        now = self._clock()
        for run_id, entry in list(self.agenda.entries.items()):
            if entry.facts.run.account_id == account_id:
                self.agenda.wake(run_id, self._first_look(entry, now))

    def mind_rebirth(self) -> None:
        """Declared dead and begun again: nothing owned before is owned now."""
        if self._rebirths != self._heart.rebirths:
            self._rebirths = self._heart.rebirths
            for entry in list(self.agenda.entries.values()):
                self.agenda.drop(entry)

    def _take_in(self, claimed: list[Facts], now: datetime, report: Report) -> None:
        for facts in claimed:
            if facts.run.account_id not in self._accounts.records:
                self._accounts.learn(self._store)
            entry = Entry(facts=facts, look=Look(next_at=now), due=now)
            entry.due = self._first_look(entry, now)
            entry.look = Look(next_at=entry.due)
            self.agenda.put(entry)
        report.claimed += len(claimed)

    def _first_look(self, entry: Entry, now: datetime) -> datetime:
        return self._spreading.first_look(entry, now, self._rng.random())

    def _read_news(self, now: datetime) -> None:
        event, evidence = self._seen
        runs, event, evidence = self._store.read(lambda c: news_since(c, event, evidence))
        self._seen = (event, evidence)
        for run_id in runs & set(self.agenda.entries):
            self._refresh(run_id, now)

    def _refresh(self, run_id: int, now: datetime) -> None:
        """A run that somebody touched: a busy one finds out at its next commit."""
        entry = self.agenda.entries[run_id]
        if not entry.busy:
            entry.facts = self._store.read(lambda c: one(c, run_id))
        self.agenda.touch(run_id, now)
