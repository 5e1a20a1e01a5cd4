"""Factories and shortcuts. Time is arithmetic on NOW; what a factory makes keeps the invariants."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ledger.core.accept import NewRun, accept
from ledger.core.alphabet import Attention, EventKind, RemoteKind, Source
from ledger.core.decide import Draft, arm, decide
from ledger.core.intent import AccountProfile
from ledger.core.model import Change, Facts
from ledger.core.outcome import Elapsed, Failed, Observed, Outcome
from ledger.core.pacing import Look
from ledger.core.plan import next_step
from ledger.core.policy import Policy
from ledger.core.reading import read_object
from ledger.core.steps import Context, Step, ToolSpec
from ledger.errors import UpstreamError
from ledger.store.claims import claim
from ledger.store.evidence import Fact, Filing, watch_again
from ledger.store.queries import one
from ledger.store.records import Decision, Guard, Record, Result, Submission, Written
from ledger.store.store import Store, ensure_account
from ledger.store.verify import Verified, verify

POSTGRESQL = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
"""This test is about something that SQLite does not have."""
SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
"""This test is about something that PostgreSQL does not have."""

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEDGER = "0123456789abcdef0123456789abcdef"
REQUEST = b'{"input":"hello","model":"gpt-5"}'
_numbers = itertools.count(1)


def later(seconds: float) -> datetime:
    """An instant so many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


# The core's records.


def new_run(**fields: Any) -> NewRun:
    """A judged request under a key of its own."""
    given: dict[str, Any] = {
        "key": f"key-{next(_numbers)}",
        "provider": "responses",
        "account_id": 1,
        "request": REQUEST,
    }
    return NewRun(**given | fields)


def accepted(*, policy: Policy | None = None, **fields: Any) -> Facts:
    """The facts of a run just accepted at NOW, as a life that claimed it sees them."""
    new = new_run(policy=policy or Policy(), **fields)
    facts = accept(new, run_id=1, ledger=LEDGER, now=NOW).after
    return replace(facts, run=replace(facts.run, version=1, event_seq=1), owner="me", fence=1)


def context(
    now: datetime = NOW,
    *,
    life: str = "me",
    tools: Sequence[ToolSpec] = (),
    look: Look | None = None,
) -> Context:
    """Who decides, when."""
    return Context(
        now=now,
        life=life,
        tools={tool.name: tool for tool in tools},
        look=look or Look(next_at=now),
    )


def response(
    status: str | None = "in_progress", *, remote_id: str = "resp_1", **fields: Any
) -> bytes:
    """The body of a response object."""
    return json.dumps({"object": "response", "id": remote_id, "status": status} | fields).encode()


def thread_run(
    status: str | None = "in_progress", *, remote_id: str = "run_1", **fields: Any
) -> bytes:
    """The body of a thread run."""
    given = {"object": "thread.run", "id": remote_id, "thread_id": "thread_1", "status": status}
    return json.dumps(given | fields).encode()


def function_call(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    """One item of a response's output."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def seen(body: bytes, n: int = 1, kind: RemoteKind = RemoteKind.response) -> Observed:
    """The outcome of a call that upstream answered with `body`."""
    return Observed(n=n, observation=read_object(kind, body))


def failed(error: UpstreamError, operation: str = "create", n: int = 1) -> Failed:
    """The outcome of a call that failed."""
    return Failed.of(n, operation, error)


def note(facts: Facts, text: str = "looked at it") -> Change:
    """What an operator's note changes."""
    draft = Draft(facts, now=NOW, actor="operator:ann", source=Source.operator)
    draft.event(EventKind.noted, detail={"text": text})
    return draft.change(due_at=NOW, why="note")


def flagged(facts: Facts, why: Attention = Attention.contradiction) -> Change:
    """A change that flags the run."""
    draft = Draft(facts, now=NOW, actor="operator:ann", source=Source.operator)
    draft.attend(why)
    return draft.change(due_at=NOW, why="flag")


# A store at work.


class Bench:
    """A store, one account on it, and what a life does with them, committed at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW
        self.committer = store.committer()
        profile = AccountProfile(provider="responses", base_url="https://upstream.test")
        self.account = self.committer.run(
            lambda c: ensure_account(c, "default", profile, "fp", NOW)
        )

    def close(self) -> None:
        """Give the connections back."""
        self.committer.close()

    def submission(self, **fields: Any) -> Submission:
        """A run to accept on this bench's account."""
        return Submission(new=new_run(account_id=self.account, **fields))

    def commit(self, record: Record) -> Result:
        """Commit one record."""
        return self.committer.commit([record], self.now)[0]

    def commit_all(self, records: Sequence[Record]) -> list[Result]:
        """Commit these records as one batch."""
        return self.committer.commit(records, self.now)

    def submit(self, **fields: Any) -> Facts:
        """Accept a run."""
        result = self.commit(self.submission(**fields))
        assert isinstance(result, Written)
        return result.facts

    def submit_many(self, count: int, **fields: Any) -> list[Facts]:
        """Accept runs in one batch."""
        results = self.commit_all([self.submission(**fields) for _ in range(count)])
        return [result.facts for result in results if isinstance(result, Written)]

    def claim(self, life: str = "me", **options: Any) -> list[Facts]:
        """Claim for a life."""
        given: dict[str, Any] = {"dead": [], "limit": 1_000} | options
        return self.committer.run(lambda c: claim(c, life, **given))

    def owned(self, **fields: Any) -> Facts:
        """A run just accepted and claimed by `me`."""
        run_id = self.submit(**fields).run.id
        return self.claim(only=[run_id])[0]

    def facts(self, run_id: int) -> Facts:
        """The run as the database has it."""
        return self.store.read(lambda c: one(c, run_id))

    def context(self) -> Context:
        """`me`, now, without tools."""
        return context(self.now)

    def arm(self, facts: Facts, step: Step | None = None, *, life: str = "me") -> Result:
        """Commit what must be durable before the next step."""
        now = self.context()
        step = step or next_step(facts, now)
        record = Decision(
            run_id=facts.run.id,
            decide=lambda fresh: arm(fresh, step, now),
            change=arm(facts, step, now),
            guard=Guard(life, facts.fence),
        )
        return self.commit(record)

    def sending(self, **fields: Any) -> Facts:
        """A claimed run whose create is under way."""
        result = self.arm(self.owned(**fields))
        assert isinstance(result, Written)
        return result.facts

    def decision(
        self,
        facts: Facts,
        outcome: Outcome,
        *,
        source: Source = Source.poll,
        life: str = "me",
        evidence: bytes | None = None,
    ) -> Decision:
        """The record by which a life takes an outcome in."""
        now = self.context()
        return Decision(
            run_id=facts.run.id,
            decide=lambda fresh: decide(fresh, outcome, now, source=source),
            change=decide(facts, outcome, now, source=source),
            guard=Guard(life, facts.fence),
            evidence=None if evidence is None else lambda: evidence,
        )

    def take(self, facts: Facts, outcome: Outcome, **options: Any) -> Facts:
        """Commit an outcome."""
        result = self.commit(self.decision(facts, outcome, **options))
        assert isinstance(result, Written), result
        return result.facts

    def completed(self, **fields: Any) -> Facts:
        """A run that upstream completed."""
        facts = self.sending(**fields)
        body = response("completed", remote_id=f"resp_{facts.run.id}", output=[{"type": "message"}])
        return self.take(facts, seen(body), source=Source.create)

    def operate(self, facts: Facts, change: Change | None = None) -> Result:
        """An operator's note, without ownership."""
        return self.commit(Decision(run_id=facts.run.id, decide=note, change=change or note(facts)))

    def elapse(self, facts: Facts, seconds: float = 0.0) -> Facts:
        """Let time pass and have the life decide without a call."""
        self.now += timedelta(seconds=seconds)
        return self.take(facts, Elapsed())

    def announced(self, facts: Facts, key: str = "wh-1") -> Facts:
        """A delivery about the run's last object came in, and its owner has read it."""
        told = {
            "object": "event",
            "id": f"evt_{key}",
            "type": "response.completed",
            "created_at": int(self.now.timestamp()),
            "data": {"id": facts.remotes[-1].remote_id},
        }
        fact = Fact("webhook", key, facts.run.id, json.dumps(told).encode())
        filing = Filing(self.store.engine.dialect)
        self.committer.run(lambda c: filing.add(c, [fact], self.now))
        self.committer.run(lambda c: watch_again(c, facts.run.id, self.now))
        held = self.claim(only=[facts.run.id]) or [self.facts(facts.run.id)]
        return self.elapse(held[0])

    def tombstone(self, run_id: int, key: str, last_seq: int) -> None:
        """A tombstone written by hand, which proves nothing."""
        self.execute(
            "INSERT INTO tombstone (run_id, key, origin_ledger, origin_run, request_digest, "
            "last_seq, head, counts, state, attempts, provider, created_at, finished_at, actor, "
            "reason, pruned_at, prev_hash, salt) VALUES (:run, :key, 'l', :run, :empty, :last, "
            ":empty, '{}', 'completed', 1, 'responses', :at, :at, 'ann', 'old', :at, :empty, "
            ":empty)",
            run=run_id,
            key=key,
            last=last_seq,
            empty=b"",
            at="2026-01-01 00:00:00",
        )

    def verify(self) -> Verified:
        """Recompute all hash chains."""
        return self.store.read(verify)

    def scalar(self, statement: str, **values: Any) -> Any:
        """One value, by SQL."""
        with self.store.reading() as connection:
            return connection.execute(sa.text(statement), values).scalar()

    def execute(self, statement: str, **values: Any) -> None:
        """One statement, by SQL, committed."""
        with self.store.engine.execution_options(write=True).begin() as connection:
            connection.execute(sa.text(statement), values)
