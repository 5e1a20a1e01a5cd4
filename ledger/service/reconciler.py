"""The reconciler: claim what nobody owns, drive what is due, keep time, let go cleanly.

`tick` does one bounded pass and never waits; `run` owns waiting and signals. The agenda in memory
is only a cache: a sweep re-derives it from the rows every few seconds, so recovery is the ordinary
path and nothing depends on a list kept from before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ledger.core.model import Facts
from ledger.core.pacing import Look
from ledger.errors import DatabaseError
from ledger.service.accounts import AccountRecord, Accounts
from ledger.service.claiming import Claimer
from ledger.service.driver import Driver
from ledger.service.entry import Agenda, ClockSteps, Entry
from ledger.service.followers import Followers
from ledger.service.heart import Heart, unexpected
from ledger.service.housekeeping import Housekeeping
from ledger.service.options import Options, Report
from ledger.service.threads import hint_loop
from ledger.service.tools import Toolbox
from ledger.store import claims
from ledger.store.hints import Hints, subscribe
from ledger.store.lives import Life
from ledger.store.queries import accounts as read_accounts
from ledger.store.queries import newest_ids, news_since, one
from ledger.store.store import Store
from ledger.store.writer import Writer

CANCEL_SECONDS: Final = 5.0
"""So long a cancelled task may take to end, before the life ends without it."""
log = logging.getLogger("runward")


class Reconciler:
    """One life at work."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        accounts: Accounts,
        toolbox: Toolbox,
        life: Life,
        options: Options,
        *,
        clock: Callable[[], datetime],
        rng: random.Random | None = None,
    ) -> None:
        self._store, self._writer, self._accounts = store, writer, accounts
        self._options, self._clock = options, clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._records: dict[int, AccountRecord] = {}
        self.heart = Heart(store, writer, life, clock)
        self._claimer = Claimer(store, writer, self.heart, options)
        self.driver = Driver(
            store, writer, accounts, self._records, toolbox, self.heart, options,
            clock=clock, rng=self._rng,
        )  # fmt: skip
        self._chores = Housekeeping(store, writer, self.driver.usage, options.seal_seconds)
        self.driver.commits.on_woken = lambda run_id: self.agenda.wake(run_id, clock())
        self.driver.on_account_back = self._wake_account
        self.followers = Followers(store, writer, self.heart, clock=clock, rng=self._rng)
        self.agenda = Agenda()
        self._active: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hinted = True
        self._next_sweep = self._next_review = self._next_flush = datetime.min
        self._seen = (0, 0)
        self._rebirths = 0
        self._steps = ClockSteps()
        self._hints: Hints | None = None

    @property
    def busy(self) -> int:
        """How many runs are being driven at this moment."""
        return len(self._active)

    def idle(self) -> bool:
        """Whether nothing is due or under way."""
        due = self.agenda.next_due()
        swept = self._next_sweep > self._clock() and not self._hinted
        return swept and not self._active and (due is None or due > self._clock())

    def empty(self) -> bool:
        """Whether every run that this life owned has a verdict and is settled."""
        swept = self._next_sweep > self._clock() and not self._hinted
        return swept and not self._active and not self.agenda.entries

    async def begin(self) -> None:
        """Start the life: lock, row, position in the log."""
        await self.heart.begin()
        await self.followers.begin()
        self._seen = self._store.read(newest_ids)
        now = self._clock()
        self._next_sweep = now
        self._next_review = now + timedelta(seconds=self._options.review_seconds)
        self._next_flush = now + timedelta(seconds=self._options.flush_seconds)
        loop = asyncio.get_running_loop()
        poke = functools.partial(hint_loop, loop, self.hint)
        self._hints = subscribe(self._store, self._writer, poke)

    def hint(self) -> None:
        """Something may have changed: sweep soon. Only a hint; the sweep comes anyway."""
        self._hinted = True
        self._wake.set()
        self.followers.wake()

    async def tick(self, now: datetime) -> Report:
        """One bounded pass: sweep if due, start what is due as far as concurrency allows."""
        report = Report()
        self._mind_clock(now)
        self._mind_rebirth()
        self._start_due(now, report)
        if self._hinted or now >= self._next_sweep:
            await self._sweep(now, report)
        if now >= self._next_review:
            self._next_review = now + timedelta(seconds=self._options.review_seconds)
            self._review(now, report)
        if now >= self._next_flush:
            self._next_flush = now + timedelta(seconds=self._options.flush_seconds)
            await self._flush(now)
        await self._chores.seal_if_due(now)
        self._start_due(now, report)
        return report

    def _start_due(self, now: datetime, report: Report) -> None:
        while len(self._active) < self._options.concurrency:
            entry = self.agenda.pop_due(now)
            if entry is None:
                return
            self._start(entry)
            report.started += 1

    async def run(self, stop: asyncio.Event, *, until: Callable[[], bool] | None = None) -> None:
        """Tick until stopped, drained by an operator, or `until` holds; then let go."""
        beating = asyncio.create_task(self.heart.beat_for_ever())
        stopping = asyncio.create_task(self._wake_on(stop))
        try:
            while not (stop.is_set() or self.heart.draining or (until and until())):
                self._wake.clear()
                try:
                    await self.tick(self._clock())
                except Exception as error:
                    # The database is away, or one pass went wrong: the next one starts afresh.
                    log.error("a pass failed: %s", error, exc_info=unexpected(error))
                    self._hinted = False
                    self._next_sweep = self._clock() + timedelta(seconds=1)
                await self._wait(until is not None)
            await self._let_go()
        except asyncio.CancelledError:
            # Interrupted: no grace, but the runs must not wait for a lease to run out.
            await asyncio.shield(self._cancel_active())
            await asyncio.shield(self._accounts.close())
            await asyncio.shield(self._end("interrupted"))
            raise
        finally:
            for task in (beating, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _wait(self, watched: bool) -> None:
        """Wait for the next due time, a finished run, a hint or the sweep."""
        full = len(self._active) >= self._options.concurrency
        times = [self._next_sweep, self._next_flush]
        due = None if full else self.agenda.next_due()
        if due is not None:
            times.append(due)
        seconds = (min(times) - self._clock()).total_seconds()
        if watched:
            seconds = min(seconds, 0.25)
        if seconds > 0 and not self._hinted:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        else:
            # A hint that is already there must not starve the tasks that it competes with.
            await asyncio.sleep(0)  # noqa: TID251

    def _start(self, entry: Entry) -> None:
        entry.busy = True
        task = asyncio.create_task(self._drive(entry))
        self._active.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Make room first, then wake: the other way round a full life would sleep on."""
        self._active.discard(task)
        self._wake.set()

    async def _drive(self, entry: Entry) -> None:
        run_id = entry.facts.run.id
        life = self.heart.life.id
        try:
            kept = await self.driver.drive(entry)
        except DatabaseError as error:
            log.error("run %s: %s", run_id, error)
            kept, entry.due = True, self._clock() + timedelta(seconds=5)
        except Exception:
            # One poisonous run never stops the others; it is looked at again, later.
            log.exception("run %s: an error of ours", run_id)
            kept, entry.due = True, self._clock() + timedelta(seconds=30)
        finally:
            entry.busy = False
        if not kept or life != self.heart.life.id:
            self.agenda.drop(entry)
        else:
            if entry.touched:
                await self._look_again(entry)
            self.agenda.plan(entry)

    async def _look_again(self, entry: Entry) -> None:
        """Somebody touched the run while it was being driven: the facts in hand may be older."""
        entry.touched, entry.due = False, self._clock()
        entry.look = replace(entry.look, next_at=entry.due)
        with contextlib.suppress(DatabaseError):
            await self.driver.reload(entry)

    def _wake_account(self, account_id: int) -> None:
        """A stopped account works again: what waited for it is due."""
        now = self._clock()
        for run_id, entry in list(self.agenda.entries.items()):
            if entry.facts.run.account_id == account_id:
                self.agenda.wake(run_id, now)

    async def _sweep(self, now: datetime, report: Report) -> None:
        """Claim what nobody owns or whose owner is dead, and reload what others touched."""
        self._hinted = False
        if now >= self._next_sweep:
            self._next_sweep = now + timedelta(seconds=self._options.sweep_seconds)
            await self._claimer.judge_lives(now)
        # Before the claim: what is claimed is newer than any news, and its acceptance is no news.
        self._read_news(now)
        claimed, more = await self._claimer.claim(len(self.agenda.entries))
        self._take_in(claimed, now, report)
        self._hinted = self._hinted or more

    def _take_in(self, claimed: list[Facts], now: datetime, report: Report) -> None:
        for facts in claimed:
            self._know(facts.run.account_id)
            self.agenda.put(Entry(facts=facts, look=Look(next_at=now), due=now))
        report.claimed += len(claimed)

    def _know(self, account_id: int) -> None:
        if account_id in self._records:
            return
        for row in self._store.read(read_accounts):
            self._records[row.id] = self._accounts.read(row)

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
        self.agenda.wake(run_id, now)

    def _review(self, now: datetime, report: Report) -> None:
        """The floor under all hints: what the rows say is owned, at which fence and version."""
        life = self.heart.life.id
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

    async def _flush(self, now: datetime) -> None:
        """Write what stands in memory alone: looks without news, calls made."""
        await self._chores.tidy(now)
        waiting = [e for e in self.agenda.entries.values() if e.look.count and not e.busy]
        await asyncio.gather(*(self.driver.flush(entry) for entry in waiting))

    def _mind_clock(self, now: datetime) -> None:
        """Somebody set the wall clock: what was planned moves with it, or a clock that was put
        back an hour would be an hour without a look."""
        passed = self._steps.jump(now)
        if passed:
            log.warning("the wall clock was set by %+.0f s", passed.total_seconds())
            self.agenda.shift(passed)
            self._accounts.shift(passed)
            self._next_sweep = now
            self._next_review += passed
            self._next_flush += passed
            self._chores.shift(passed)

    def _mind_rebirth(self) -> None:
        """Declared dead and begun again: nothing owned before is owned now."""
        if self._rebirths != self.heart.rebirths:
            self._rebirths = self.heart.rebirths
            for entry in list(self.agenda.entries.values()):
                self.agenda.drop(entry)

    async def _end(self, how: str, seconds: float = 0.0) -> None:
        await self.followers.end(seconds)
        if self._hints is not None:
            await asyncio.to_thread(self._hints.close)
        await self.heart.end(how)

    async def _cancel_active(self) -> None:
        """What is under way ends before the runs are given back, not after."""
        late = list(self._active)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCEL_SECONDS)

    async def _let_go(self) -> None:
        """Finish what is under way within the grace, write what is in memory, give runs back."""
        if self._active:
            await asyncio.wait(self._active, timeout=self._options.grace_seconds)
        await self._cancel_active()
        with contextlib.suppress(DatabaseError):
            await self._flush(self._clock())
            await self._chores.seal_at_end(self._clock())
        await self._end("drained", self._options.grace_seconds)
        await self._accounts.close()
