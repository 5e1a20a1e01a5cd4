"""Callers and operators of the simulation: a process that never dies and commits at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger import clock
from ledger.core.accept import NewRun
from ledger.core.alphabet import Approval
from ledger.core.decide import accepting, operator, poison
from ledger.core.decide.calls_by_hand import judge_call, rerun_call
from ledger.core.hashing import canonical_json
from ledger.core.model import Facts
from ledger.core.policy import Policy, PolicyInput, judge_policy
from ledger.core.request import judge_request
from ledger.errors import NotAllowed, RunwardError
from ledger.fuzzing.process import credentials
from ledger.fuzzing.schedule import Command, Submit
from ledger.service.tools import Toolbox
from ledger.store.facts import load_facts
from ledger.store.queries import find_run, payloads_of
from ledger.store.records import Decision, Record, Rejected, Result, Submission, Written
from ledger.store.store import Store, ensure_account

T = TypeVar("T")
WHY: Final = "by the schedule"
COMMANDS: Final = {
    "cancel": operator.cancel(WHY),
    "restart": operator.restart_run(None, WHY),
    "recheck": operator.recheck(),
    "note": operator.note("seen"),
    "answer": operator.answer_call("1", b"by hand", is_error=False),
    "approve": judge_call("1", Approval.approved, WHY),
    "deny": judge_call("1", Approval.denied, WHY),
    "rerun": rerun_call("1", WHY),
    "resolve": accepting.resolve(WHY),
    "release": poison.release(WHY),
}
"""What people do by word alone; `adopt` and `accept` also name an object, or an observation."""


class Console:
    """The hands and eyes of people, on whatever file the lives work on now."""

    def __init__(self, path: Path, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self.runs: dict[str, int] = {}
        self.open(path)

    def open(self, path: Path) -> None:
        """Go over to another file."""
        self.store = Store.open(f"sqlite:///{path}")
        self._committer = self.store.committer()

    def close(self) -> None:
        """Give the file back."""
        self._committer.close()
        self.store.close()

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Look at the ledger."""
        return self.store.read(query)

    def facts(self, run_id: int) -> Facts:
        """One run as it stands."""
        return self.read(lambda c: load_facts(c, [run_id]))[run_id]

    def submit(self, act: Submit, thread_id: str | None) -> None:
        """Hand a run over."""
        new = self._new_run(act, thread_id)
        written = self._put(Submission(new=new))
        assert isinstance(written, Written), written
        self.runs[act.key] = written.facts.run.id

    def _new_run(self, act: Submit, thread_id: str | None) -> NewRun:
        body = judge_request(act.provider, self._request(act, thread_id))
        profile = next(c.profile for (f, _, _), c in credentials().items() if f == act.provider)
        account = self._committer.run(
            lambda c: ensure_account(c, "default", profile, "sim", clock.utcnow())
        )
        return NewRun(
            key=act.key,
            provider=act.provider,
            account_id=account,
            request=canonical_json(body),
            model=body.get("model"),
            serial_key=body.get("thread_id"),
            tags=act.tags,
            policy=judge_policy(PolicyInput(**act.policy), Policy()),
        )

    def _request(self, act: Submit, thread_id: str | None) -> dict[str, Any]:
        asked: dict[str, Any] = {"input": f"What is 2+2? ({act.key})"}
        if act.provider == "assistants":
            asked |= {"assistant": f"asst_{act.model}", "thread": thread_id}
        else:
            asked["model"] = act.model
        if act.metadata:
            asked["metadata"] = dict(act.metadata)
        if act.tool:
            asked["tools"] = [self._toolbox[act.tool].declaration(act.provider)]
        return {name: value for name, value in asked.items() if value is not None}

    def command(self, act: Command, upstream_id: str | None) -> None:
        """Do something to a run, where its state permits it."""
        made = self._command(act, upstream_id)
        if made is None or act.key not in self.runs:
            return
        decide = functools.partial(self._decide, made)
        result = self._put(Decision(run_id=self.runs[act.key], decide=decide))
        if isinstance(result, Rejected) and not isinstance(result.error, NotAllowed):
            raise result.error

    def _decide(self, command: operator.Command, facts: Facts) -> Any:
        return operator.carry_out(facts, command, now=clock.utcnow(), actor="operator")

    def _command(self, act: Command, upstream_id: str | None) -> operator.Command | None:
        if act.what == "adopt":
            return operator.adopt_into(upstream_id) if upstream_id else None
        return self._accept(act.key) if act.what == "accept" else COMMANDS[act.what]

    def _accept(self, key: str) -> operator.Command | None:
        if key not in self.runs:
            return None
        run_id = self.runs[key]
        remote = accepting.contradicting(self.facts(run_id))
        number = remote.observed if remote else None
        found = self.read(lambda c: payloads_of(c, run_id, [number] if number else []))
        return accepting.accept(number, found[number].body if number else None, WHY)

    def _put(self, record: Record) -> Result:
        try:
            return self._committer.commit([record], clock.utcnow())[0]
        except RunwardError as error:
            return Rejected(error)

    def known(self, name: str) -> bool:
        """Whether a run is there under its key."""
        try:
            return self.read(lambda c: find_run(c, name)) == self.runs[name]
        except RunwardError:
            return False
