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
from datetime import datetime, timedelta
from typing import Final

from ledger.clock import monotonic
from ledger.errors import DatabaseError
from ledger.service.accounts import Accounts
from ledger.service.claiming import Claimer
from ledger.service.coverage import Coverage
from ledger.service.diary import Diary
from ledger.service.driver import Driver
from ledger.service.entry import ClockSteps, Entry
from ledger.service.followers import Followers
from ledger.service.heart import Heart, unexpected
from ledger.service.holdings import Holdings
from ledger.service.housekeeping import Housekeeping
from ledger.service.learning import Learning
from ledger.service.limit_care import LimitCare
from ledger.service.looking import Looking
from ledger.service.options import Options, Report
from ledger.service.parking import Parking
from ledger.service.supervision import Supervisor
from ledger.service.tasks import beside
from ledger.service.threads import hint_loop
from ledger.service.tools import Toolbox
from ledger.service.webhook_care import WebhookCare
from ledger.store.hints import Hints, subscribe
from ledger.store.lives import Life
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
        self.heart = Heart(store, writer, life, clock)
        self._claimer = Claimer(store, writer, self.heart, options)
        self.holdings = Holdings(store, accounts, self.heart, self._claimer, clock, self._rng)
        self._limits = LimitCare(store, writer, accounts, self.holdings.agenda.turns)
        self._coverage = Coverage(store, writer, options.covered, accounts.records)
        self.learning = Learning(store, options.paces, accounts.records, self._coverage, clock)
        looking = Looking(self._coverage, self.learning, self._rng)
        self.driver = Driver(
            store, writer, accounts, toolbox, self.heart, looking, options,
            clock=clock, rng=self._rng,
        )  # fmt: skip
        parking = Parking(store, writer, accounts, looking.usage, self._rng)
        self._webhook_care = WebhookCare(self._coverage, parking, clock)
        self._chores = Housekeeping(store, writer, looking.usage, options.seal_seconds)
        self.driver.commits.on_woken = lambda n: self.holdings.agenda.wake(n, clock())
        self.driver.on_account_back = self.holdings.wake_account
        self._coverage.on_gap = self.holdings.wake_profile
        self.followers = Followers(store, writer, self.heart, clock=clock, rng=self._rng)
        self._diary = Diary(writer, self.heart, clock, options)
        self._active: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hinted = True
        self._next_sweep = self._next_review = self._next_flush = datetime.min
        self._passed_at: float | None = None
        self._steps = ClockSteps()
        self._hints: Hints | None = None
        self.supervisor = Supervisor()

    @property
    def busy(self) -> int:
        """How many runs are being driven at this moment."""
        return len(self._active)

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the last pass that went well; None before the first."""
        return None if self._passed_at is None else monotonic() - self._passed_at

    def backlog(self) -> tuple[int, int]:
        """How many runs this life has, and how many of them are due or under way."""
        now, entries = self._clock(), self.holdings.agenda.entries
        return len(entries), sum(entry.busy or entry.due <= now for entry in entries.values())

    def idle(self) -> bool:
        """Whether nothing is due or under way."""
        due = self.holdings.agenda.next_due()
        swept = self._next_sweep > self._clock() and not self._hinted
        return swept and not self._active and (due is None or due > self._clock())

    def empty(self) -> bool:
        """Whether every run that this life owned has a verdict and is settled."""
        swept = self._next_sweep > self._clock() and not self._hinted
        return swept and not self._active and not self.holdings.agenda.entries

    async def begin(self) -> None:
        """Start the life: lock, row, position in the log."""
        await self.heart.begin()
        await self._diary.begin()
        await self.followers.begin()
        self.holdings.begin()
        now = self._clock()
        self._next_sweep = now
        self._next_review = now + timedelta(seconds=self._options.review_seconds)
        self._next_flush = now + timedelta(seconds=self._options.flush_seconds)
        hint = functools.partial(hint_loop, asyncio.get_running_loop(), self.hint)
        self._hints = subscribe(self._store, self._writer, hint)

    def hint(self) -> None:
        """Something may have changed: sweep soon. Only a hint; the sweep comes anyway."""
        self._hinted = True
        self._wake.set()
        self.followers.wake()

    async def tick(self, now: datetime) -> Report:
        """One bounded pass: sweep if due, start what is due as far as concurrency allows."""
        report = Report()
        self._mind_clock(now)
        self.holdings.mind_rebirth()
        self._start_due(now, report)
        if self._hinted or now >= self._next_sweep:
            await self._sweep(now, report)
        if now >= self._next_review:
            self._next_review = now + timedelta(seconds=self._options.review_seconds)
            self.holdings.review(now, report)
        if now >= self._next_flush:
            self._next_flush = now + timedelta(seconds=self._options.flush_seconds)
            await self._flush(now)
        await self._chores.seal_if_due(now)
        self._start_due(now, report)
        await self._diary.passed(now)
        self._passed_at = monotonic()
        return report

    def _start_due(self, now: datetime, report: Report) -> None:
        while len(self._active) < self._options.concurrency:
            entry = self.holdings.agenda.pop_due(now)
            if entry is None:
                return
            self._start(entry)
            report.started += 1

    async def run(self, stop: asyncio.Event, *, until: Callable[[], bool] | None = None) -> None:
        """Tick until stopped, drained by an operator, or `until` holds; then let go."""
        care = self._webhook_care.watch(), self.learning.watch()
        others = (self.heart.beat_for_ever(), self._wake_on(stop), *care)
        async with beside(*others):
            try:
                while not (stop.is_set() or self.heart.draining or (until and until())):
                    self._wake.clear()
                    await self._pass()
                    await self._wait(until is not None)
                self.supervisor.stopping(self._options.grace_seconds)
                await self._let_go()
            except asyncio.CancelledError:
                # Interrupted: no grace, but the runs must not wait for a lease to run out.
                await asyncio.shield(self._cancel_active())
                await asyncio.shield(self._accounts.close())
                await asyncio.shield(self._end("interrupted"))
                raise

    async def _pass(self) -> None:
        try:
            await self.tick(self._clock())
        except Exception as error:
            # The database is away, or one pass went wrong: the next one starts afresh.
            log.error("a pass failed: %s", error, exc_info=unexpected(error))
            self._diary.failed(error)
            self._hinted = False
            self._next_sweep = self._clock() + timedelta(seconds=1)
            if unexpected(error):
                return
        self.supervisor.passed(self.backlog)

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _wait(self, watched: bool) -> None:
        """Wait for the next due time, a finished run, a hint or the sweep."""
        full = len(self._active) >= self._options.concurrency
        times = [self._next_sweep, self._next_flush]
        due = None if full else self.holdings.agenda.next_due()
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
            log.error("run %s: %s", run_id, error, extra={"run_id": run_id})
            kept, entry.due = True, self._clock() + timedelta(seconds=5)
        except Exception:
            # One poisonous run never stops the others; it is looked at again, later.
            log.exception("run %s: an error of ours", run_id, extra={"run_id": run_id})
            kept, entry.due = True, self._clock() + timedelta(seconds=30)
        finally:
            entry.busy = False
            self.holdings.agenda.turns.done(entry, self._clock())
        if not kept or life != self.heart.life.id:
            self.holdings.agenda.drop(entry)
        else:
            if entry.touched:
                self.holdings.look_again(entry)
            self.holdings.agenda.plan(entry)

    async def _sweep(self, now: datetime, report: Report) -> None:
        """Claim what nobody owns or whose owner is dead, and reload what others touched."""
        self._hinted = False
        if now >= self._next_sweep:
            self._next_sweep = now + timedelta(seconds=self._options.sweep_seconds)
            await self._claimer.judge_lives(now)
            await self._limits.listen(now)
        more = await self.holdings.claim(now, report)
        self._hinted = self._hinted or more

    async def _flush(self, now: datetime) -> None:
        """Write what stands in memory alone: looks without news, calls made."""
        await self._chores.tidy(now)
        await self._limits.flush(now)
        entries = self.holdings.agenda.entries.values()
        waiting = [e for e in entries if (e.look.count or e.spent) and not e.busy]
        await asyncio.gather(*(self.driver.flush(entry) for entry in waiting))

    def _mind_clock(self, now: datetime) -> None:
        """Somebody set the wall clock: what was planned moves with it, or a clock that was put
        back an hour would be an hour without a look."""
        passed = self._steps.jump(now)
        if passed:
            log.warning("the wall clock was set by %+.0f s", passed.total_seconds())
            self._diary.clock_jumped(now, passed)
            self.holdings.agenda.shift(passed)
            self._accounts.shift(passed)
            self._next_sweep = now
            self._next_review += passed
            self._next_flush += passed
            self._chores.shift(passed)

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
