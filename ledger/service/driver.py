"""Drive one run: step, arm, perform, decide, commit, until it has to wait."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from ledger.clock import monotonic
from ledger.core.alphabet import Source
from ledger.core.counting import OK, name_of
from ledger.core.decide import arm, decide, flush_looks
from ledger.core.decide.quiet import is_quiet
from ledger.core.delivery import ANNOUNCED
from ledger.core.model import Change, Facts
from ledger.core.outcome import (
    Elapsed,
    Failed,
    Observed,
    Outcome,
    ToolDone,
    ToolNotStarted,
    dump_outcome,
)
from ledger.core.plan import next_step
from ledger.core.plan.tails import ends_at
from ledger.core.plan.urgency import fetch_by, in_time, last_chance
from ledger.core.steps import Cancel, Context, Create, RunTools, Settle, Step, Submit, Wait
from ledger.errors import (
    AuthenticationRefused,
    ConfigurationError,
    DatabaseError,
    LocalLimit,
)
from ledger.service.accounts import Accounts
from ledger.service.commits import Commits, Overtaken, ignore
from ledger.service.entry import Entry
from ledger.service.heart import Heart
from ledger.service.looking import Looking
from ledger.service.options import Options
from ledger.service.perform import hidden, perform, source_of
from ledger.service.telling import tell_call
from ledger.service.tool_runner import ToolRunner, after_writes
from ledger.service.tools import Toolbox
from ledger.service.turns import take_call
from ledger.service.usage import Call
from ledger.store.claims import still_owned
from ledger.store.queries import one, payloads_of
from ledger.store.records import LaneBusy, Rejected, Stale, Written
from ledger.store.store import Store
from ledger.store.writer import Writer

log = logging.getLogger("runward")
STEPS_MAX: Final = 100
LANE_SECONDS: Final = 2.0
REJECTED_SECONDS: Final = 30.0
EFFECTS: Final = (Create, Cancel, Submit, RunTools)


class Driver:
    """Everything that driving a run needs; holds no state about runs."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        accounts: Accounts,
        toolbox: Toolbox,
        heart: Heart,
        looking: Looking,
        options: Options,
        *,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._store, self._writer = store, writer
        self._accounts = accounts
        self._toolbox, self._heart, self._options = toolbox, heart, options
        self._looking, self._clock, self._rng = looking, clock, rng
        self.commits = Commits(writer, heart)
        self.on_account_back: Callable[[int], None] = ignore
        self._tools = ToolRunner(toolbox, self.read_payloads, store.snapshot)

    def context(self, entry: Entry, call: Call | None = None) -> Context:
        """Who decides, now. `call` is the one whose outcome is decided on, if it is one."""
        return Context(
            now=self._clock(),
            life=self._heart.life.id,
            tools=self._toolbox.specs,
            look=entry.look,
            spent=entry.spent,
            call=name_of(call.operation, call.result) if call else None,
            refused=self._accounts.refused(entry.facts.run.account_id),
        )

    async def drive(self, entry: Entry) -> bool:
        """Advance one run until it waits; says whether this life still owns it."""
        for _ in range(STEPS_MAX):
            context = self.context(entry)
            step = next_step(entry.facts, context)
            if isinstance(step, Wait):
                entry.due = step.until
                return entry.facts.watched
            paused = self._paused(entry, step, context.now)
            if paused is not None:
                end = ends_at(entry.facts, context.now)
                # Behind the deadline there are tails, and nothing to be on time for.
                entry.due = min(paused, end) if end > context.now else paused
                return True
            if not await self._advance(entry, step, context):
                return False
            if entry.due > self._clock():
                return entry.facts.watched
            if not entry.facts.watched:
                return False
        entry.due = self._clock() + timedelta(seconds=1)
        return True

    def _paused(self, entry: Entry, step: Step, now: datetime) -> datetime | None:
        """Until when the step has to wait for its account or for our own lock."""
        if isinstance(step, Settle):
            return None
        if isinstance(step, EFFECTS) and not self._heart.may_act():
            return now + timedelta(seconds=1)
        if isinstance(step, RunTools):
            return None
        if not take_call(self._accounts, entry, now):
            # It waits in line, with those that are due.
            return now
        if now >= entry.facts.run.deadline_at:
            return None
        gate = self._accounts.gate(entry.facts.run.account_id)
        paused = gate.enter(now, entry.look.failures)
        by = fetch_by(entry.facts, entry.look) if paused is not None else None
        if paused is None or by is None or gate.stopped is not None:
            return paused
        # A result that is about to be dropped is fetched, whatever politeness says.
        return None if last_chance(paused, now, by) else in_time(paused, now, by)

    async def _advance(self, entry: Entry, step: Step, context: Context) -> bool:
        """Do one step. False when the run is not ours any more."""
        if isinstance(step, Settle):
            return await self._settle(entry, context)
        if isinstance(step, EFFECTS):
            armed = await self._arm(entry, step, context)
            if armed is not True:
                if entry.token:
                    self._unsent(entry)
                return armed is None
        started = monotonic()
        if isinstance(step, RunTools):
            return await self._run_tools(entry, step, started)
        outcome, call = await self._call(entry, step, started)
        kept = await self._decide(entry, outcome, source_of(step, entry.look), call)
        await self._accounts.write_marks(self._writer, self._clock())
        return kept

    async def _settle(self, entry: Entry, context: Context) -> bool:
        before = entry.facts
        if not await self._decide(entry, Elapsed(), Source.policy):
            return False
        if before.evidence:
            # It proves nothing: what it speaks of is read, now.
            told = any(item.source in ANNOUNCED for item in before.evidence)
            look = replace(entry.look, next_at=context.now)
            entry.look = replace(look, told=context.now) if told else look
        if entry.facts is before:
            # Nothing came of it: do not spin, the next sweep looks again.
            entry.due = context.now + timedelta(seconds=1)
        return True

    async def _arm(self, entry: Entry, step: Step, context: Context) -> bool | None:
        """Commit what must be durable before the effect. True: on, None: not now, False: lost."""

        def make(facts: Facts) -> Change:
            if facts is not entry.facts and next_step(facts, context) != step:
                raise Overtaken
            return arm(facts, step, context)

        result = await self.commits.commit(entry, make(entry.facts), make, evidence=None)
        match result:
            case Written():
                return True
            case LaneBusy():
                entry.due = context.now + timedelta(seconds=LANE_SECONDS)
                entry.look = replace(entry.look, next_at=entry.due)
                return None
            case Rejected(error=Overtaken()):
                await self.reload(entry)
                return None
            case Rejected():
                entry.due = context.now + timedelta(seconds=REJECTED_SECONDS)
                return None
            case Stale():
                return False

    async def _call(self, entry: Entry, step: Step, started: float) -> tuple[Outcome, Call | None]:
        """Make the step's call; every failure is an outcome. No call is one that was not sent."""
        facts = entry.facts
        n = getattr(step, "n", 0)
        operation = type(step).__name__.lower()
        if isinstance(step, EFFECTS) and not await self._fresh(entry, started):
            self._unsent(entry)
            late = LocalLimit("ownership could not be confirmed just before the call")
            return Failed.of(n, operation, late), None
        try:
            account = self._accounts.records[facts.run.account_id]
            provider = self._accounts.provider(account)
            entry.token = False
            outcome, error = await perform(provider, facts, step, self.read_payloads)
            redaction = self._accounts.redaction
            outcome, error = redaction.outcome(outcome), redaction.error(error)
            if not isinstance(step, Create) and facts.remote(n).observed_at is not None:
                place = (facts.run.id, n)
                if not self._accounts.sees(account, place, error, self._clock()):
                    outcome, error = hidden(n, operation, error)
        except DatabaseError as away:
            # All reading comes before the call: nothing was sent.
            self._unsent(entry)
            unread = LocalLimit(f"what to send could not be read: {away.message}")
            return Failed.of(n, operation, unread), None
        except ConfigurationError as missing:
            # As if upstream had refused it, and no call: there is nobody to call as, or nowhere.
            self._unsent(entry)
            error = AuthenticationRefused(missing.message)
            self._accounts.mind(facts.run.account_id, error, self._clock(), self._rng)
            return Failed.of(n, operation, error), None
        name = type(error).__name__ if error else OK
        now = self._clock()
        call = Call(operation, name, monotonic() - started)
        tell_call(facts, step, name, call.seconds, self._heart.life.id)
        said = outcome.observation.limits if isinstance(outcome, Observed) else None
        account_id, rng, seconds = facts.run.account_id, self._rng, call.seconds
        if self._accounts.mind(account_id, error, now, rng, seconds=seconds, limits=said):
            self.on_account_back(facts.run.account_id)
        return outcome, call

    def _unsent(self, entry: Entry) -> None:
        """The call was not made: it is there for others, and so is the part of a probe."""
        entry.token = True
        self._accounts.gate(entry.facts.run.account_id).spare(self._clock())

    async def _fresh(self, entry: Entry, armed: float) -> bool:
        """Whether the fenced commit is young enough for an effect, or has been confirmed again."""
        if not self._heart.may_act():
            return False
        if monotonic() - armed < self._options.effect_seconds_max:
            return True
        run_id, fence, life = entry.facts.run.id, entry.facts.fence, self._heart.life.id
        try:
            return await self._writer.transact(lambda c: still_owned(c, life, run_id, fence))
        except DatabaseError:
            return False

    async def _decide(
        self, entry: Entry, outcome: Outcome, source: Source, call: Call | None = None
    ) -> bool:
        """Take an outcome in. False when the run is not ours any more."""
        now, before = self._clock(), entry.facts
        if is_quiet(before, outcome, now, source):
            self._looking.count(entry, call, now, news=False)
            self._looking.made(entry, outcome, before, now, news=False)
            return True
        context = self.context(entry, call)

        def make(facts: Facts) -> Change:
            return decide(facts, outcome, context, source=source)

        change = make(before)
        written = not change.empty
        self._looking.count(entry, call, now, news=written)
        if written:
            # Writes that are not executed under ownership did not happen: nothing is learned.
            after = after_writes(outcome, context, source) if change.writes else None
            learned = after is None and not isinstance(outcome, Elapsed)
            evidence = functools.partial(dump_outcome, outcome) if learned else None
            result = await self.commits.commit(
                entry, change, make, evidence=evidence, performed=after
            )
            if isinstance(result, Stale):
                return False
            if not isinstance(result, Written):
                entry.due = context.now + timedelta(seconds=REJECTED_SECONDS)
                await self.reload(entry)
                return True
        if not isinstance(outcome, Elapsed | ToolDone | ToolNotStarted):
            self._looking.made(entry, outcome, before, context.now, news=written)
        elif written:
            entry.look = replace(entry.look, count=0, first=None)
        return True

    async def _run_tools(self, entry: Entry, step: RunTools, started: float) -> bool:
        """Run the calls together; each output is committed as soon as it is there."""
        if not await self._fresh(entry, started):
            return await self._not_started(entry, step)
        life = self._heart.life.id
        tasks = [asyncio.create_task(self._tools.run(entry.facts, n, life)) for n in step.calls]
        kept = True
        try:
            for task in asyncio.as_completed(tasks):
                # Lost in between: what the others did is still worth knowing, as evidence.
                kept = await self._decide(entry, await task, Source.policy) and kept
        finally:
            for pending in tasks:
                pending.cancel()
        return kept

    async def _not_started(self, entry: Entry, step: RunTools) -> bool:
        """Take the starts back, or leave them as evidence to whoever has the run now."""
        entry.due = self._clock() + timedelta(seconds=1)
        life = self._heart.life.id
        free = [ToolNotStarted(n=n, life=life) for n in step.calls]
        kept = [await self._decide(entry, outcome, Source.policy) for outcome in free]
        return all(kept)

    async def flush(self, entry: Entry) -> None:
        """Write the looks and calls that so far stand in memory alone."""
        context = self.context(entry)

        def make(facts: Facts) -> Change:
            return flush_looks(facts, context)

        if entry.look.count or entry.spent:
            await self.commits.commit(entry, make(entry.facts), make, evidence=None)
            entry.look = replace(entry.look, count=0, first=None)

    async def reload(self, entry: Entry) -> None:
        """Take the run's facts from the rows again."""
        run_id = entry.facts.run.id
        entry.facts = self._store.read(lambda c: one(c, run_id))

    def read_payloads(self, run_id: int, numbers: Sequence[int]) -> dict[int, bytes]:
        """Payload bytes by number; an erased one is empty."""
        found = self._store.read(lambda c: payloads_of(c, run_id, numbers))
        return {number: payload.body or b"" for number, payload in found.items()}
