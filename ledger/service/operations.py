"""What people may do to runs through a Ledger: cancel, restart, answer, note, recheck, adopt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.core.alphabet import Approval
from ledger.core.decide import accepting, poison, tagging
from ledger.core.decide import calls_by_hand as by_hand
from ledger.core.decide import operator as commands
from ledger.core.model import Facts, Run
from ledger.core.policy import parse_effects
from ledger.core.request import judge_tags
from ledger.core.restart_plan import RestartPlan, plan_restart
from ledger.errors import Conflict, InvalidInput, NotAllowed
from ledger.service.part import Part, RunName
from ledger.store.queries import one, payloads_of, remote_holder
from ledger.store.records import Decision, Record, Submission

if TYPE_CHECKING:
    from ledger.service.judging import Judge


def judge_reason(reason: str) -> str:
    """A reason that can be read later. Raises InvalidInput."""
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput("give a reason: it is kept in the history")
    return reason


class Operations(Part):
    """The commands of a Ledger, apart from submitting and reading."""

    _judge: Judge
    _actor: str

    def put(self, record: Record) -> Facts:
        """Commit one record."""
        raise NotImplementedError

    def account_id(self, provider: str, profile_name: str) -> int:
        """The account that a profile resolves to."""
        raise NotImplementedError

    def cancel(self, run: RunName, *, reason: str | None = None) -> Run:
        """Ask for a run to be called off; any final state may still win."""
        return self.command(run, commands.cancel(reason))

    def restart(
        self, run: RunName, *, effects: str | None = None, reason: str | None = None
    ) -> Run:
        """Open the next attempt of a run that ended. Raises NotAllowed, saying why not."""
        chosen = parse_effects(effects) if effects else None
        return self.command(run, commands.restart_run(chosen, reason))

    def plan_restart(self, run: RunName, *, effects: str | None = None) -> RestartPlan:
        """What `restart` would do with a run as it is now; changes nothing. Raises NotFound."""
        chosen = parse_effects(effects) if effects else None
        run_id = self.run_id(run)
        facts = self.store.read(lambda c: one(c, run_id))
        return plan_restart(facts, chosen, now=utcnow())

    def answer(self, run: RunName, call_id: str, output: str, *, is_error: bool = False) -> Run:
        """Give the output of a tool call that waits for a person."""
        done = commands.answer_call(call_id, output.encode("utf-8", "replace"), is_error=is_error)
        return self.command(run, done)

    def approve(self, run: RunName, call_id: str, *, reason: str | None = None) -> Run:
        """Let a tool call run that waits for an approval. Its number names it too.

        Raises NotAllowed where nothing waits for the word any more; the history then has it, and
        `late_approval="attach"` lets it count for the same call of the attempt that goes on.
        """
        return self.command(run, by_hand.judge_call(call_id, Approval.approved, reason))

    def deny(self, run: RunName, call_id: str, *, reason: str) -> Run:
        """Answer a tool call that waits for an approval with a no, and the reason, for the model.

        Raises as `approve` does, and InvalidInput without a reason.
        """
        return self.command(run, by_hand.judge_call(call_id, Approval.denied, reason))

    def rerun(self, run: RunName, call_id: str, *, reason: str | None = None) -> Run:
        """Let a held tool call run again, which may make its effect happen twice. The history says
        who allowed it. Raises NotAllowed for a call that is not held."""
        return self.command(run, by_hand.rerun_call(call_id, reason))

    def note(self, run: RunName, text: str) -> Run:
        """Write a remark into a run's history; its owner also looks at it at once."""
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput("the note is empty")
        return self.command(run, commands.note(text))

    def tag(
        self,
        run: RunName,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Collection[str] = (),
    ) -> Run:
        """Set tags of a run, and remove others by name; the history has it. Bounds are those of
        `submit`. Raises InvalidInput."""
        wanted, gone = judge_tags(tags or {}), frozenset(remove)
        if isinstance(remove, str) or not all(isinstance(name, str) for name in gone):
            raise InvalidInput("tags to remove are a list of their names")
        if not wanted and not gone:
            raise InvalidInput("name at least one tag to set or to remove")
        if both := gone & wanted.keys():
            raise InvalidInput(f"the tag {min(both)!r} cannot be both set and removed")
        return self.command(run, tagging.tag(wanted, gone))

    def recheck(self, run: RunName) -> Run:
        """Have upstream's object read at once, also that of a run which has its verdict.

        What is found changes no verdict: a contradiction is flagged for a person.
        """
        return self.command(run, commands.recheck())

    def accept(self, run: RunName, *, reason: str) -> Run:
        """Take what upstream said after the verdict for the new verdict, as an attempt of its own.

        The result is the stored observation; that of a thread run is fetched by the next life.
        Raises NotAllowed where upstream contradicts nothing, and for a run that completed.
        """
        run_id, why = self.run_id(run), judge_reason(reason)
        facts = self.store.read(lambda c: one(c, run_id))
        remote = accepting.contradicting(facts)
        number = remote.observed if remote else None
        found = self.store.read(lambda c: payloads_of(c, run_id, [number] if number else []))
        body = found[number].body if number else None
        return self.command(run_id, accepting.accept(number, body, why))

    def resolve(self, run: RunName, *, reason: str) -> Run:
        """Say that somebody has looked at what a run is flagged for; its verdict stays.

        Raises NotAllowed for a run without a flag, and for a flag that goes with its reason.
        """
        return self.command(run, accepting.resolve(judge_reason(reason)))

    def release(self, run: RunName, *, reason: str | None = None) -> Run:
        """Let lives drive a run again that was set aside because they died driving it."""
        return self.command(run, poison.release(reason))

    def command(self, run: RunName, command: commands.Command) -> Run:
        """Carry out an operator's command on the run as it is at that moment."""
        run_id, actor = self.run_id(run), self._actor
        refusals: list[str | None] = []

        def decide(facts: Facts) -> Any:
            change = commands.carry_out(facts, command, now=utcnow(), actor=actor)
            refusals.append(change.refusal)
            return change

        done = self.put(Decision(run_id=run_id, decide=decide)).run
        # The last decision is the one that was written.
        if refusals[-1] is not None:
            raise NotAllowed(refusals[-1], hint=f"runward events {run_id}")
        return done

    def adopt(
        self,
        remote_id: str,
        *,
        run: RunName | None = None,
        provider: str = "responses",
        thread: str | None = None,
        key: str | None = None,
        **settings: Any,
    ) -> Run:
        """Start to watch an upstream object made elsewhere, or (with `run`) say which object an
        unclear create made."""
        self._judge.foreign(remote_id, provider, thread, alone=run is None)
        holder = self.store.read(lambda c: remote_holder(c, remote_id, thread or ""))
        if holder is not None:
            raise Conflict(f"{remote_id!r} is already run {holder}", hint=f"runward show {holder}")
        if run is not None:
            return self.command(run, commands.adopt_into(remote_id))
        new, profile = self._judge.adoption(remote_id, provider, thread, key, settings)
        new = replace(new, account_id=self.account_id(provider, profile))
        return self.put(Submission(new=new)).run
