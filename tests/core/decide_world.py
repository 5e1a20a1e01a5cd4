"""A small world for one run: a life, an operator and an upstream that answers anything.

Every choice is taken from a list of numbers, so that hypothesis can shrink it; once the list is
used up, every call fails, no tool answers and nobody intervenes. After each change the invariants
are checked; `drain` then shows that time alone brings the run to its end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

from support import NOW, accepted

from ledger.core.alphabet import (
    Approval,
    CallState,
    Effects,
    EventKind,
    LateApproval,
    OnUnknownOutcome,
    RemoteKind,
    RemoteState,
    Source,
    State,
)
from ledger.core.decide import accepting, arm, calls_by_hand, decide, operator
from ledger.core.decide.operator import Command
from ledger.core.decide.quiet import is_quiet
from ledger.core.lifecycle import FINAL, TRIPLES
from ledger.core.model import Change, Evidence, Facts, Write
from ledger.core.outcome import (
    ERRORS,
    Elapsed,
    Failed,
    Found,
    Harvested,
    Observation,
    Observed,
    Outcome,
    ToolDone,
    dump_outcome,
    performed,
)
from ledger.core.pacing import Look
from ledger.core.plan import next_step
from ledger.core.plan.approvals import pending
from ledger.core.policy import Policy, RestartRule
from ledger.core.reading import read_object
from ledger.core.steps import (
    TAIL_SECONDS,
    UNCANCELLED_SECONDS,
    Cancel,
    Context,
    Create,
    Harvest,
    Observe,
    RunTools,
    Search,
    Settle,
    Step,
    Submit,
    ToolSpec,
    Wait,
)
from ledger.errors import NotAllowed, Reply

T = TypeVar("T")
TOOLS = {
    "pay": ToolSpec(name="pay", idempotent=False, timeout_seconds=10),
    "look_up": ToolSpec(name="look_up", idempotent=True, timeout_seconds=10),
    "book": ToolSpec(name="book", idempotent=False, timeout_seconds=10, transactional=True),
    "wire": ToolSpec(
        name="wire",
        idempotent=False,
        timeout_seconds=10,
        requires_approval=True,
        on_unknown_outcome=OnUnknownOutcome.rerun,
    ),
}
WRITES = (Write(sql="DELETE FROM stock"),)
COMMON = ("in_progress", "requires_action", "completed")
STATUSES = (*COMMON, *COMMON, "queued", "cancelling", *sorted(FINAL), "weird", None)
ACTIONS = (
    "pass", "cancel", "restart", "evidence", "answer", "note", "webhook", "adopt", "restart",
    "accept", "resolve", "recheck", "approve", "deny", "rerun", "approve",
)  # fmt: skip
ERROR_NAMES = sorted(ERRORS)
LEGAL_MOVES = {(source, target) for source, _, target in TRIPLES}
SETTLES_MAX = 12
WAITS = (1, 10, 40, 130, 700, 4_000)


class World:
    """One run, from its acceptance to the end of its tail."""

    def __init__(self, choices: Sequence[int], *, provider: str, **fields: Any) -> None:
        self.choices = list(reversed(choices))
        self.now = NOW
        self.life = 1
        policy = Policy(
            restart=self.pick(
                (
                    (),
                    (RestartRule(State.expired, None, 2),),
                    (
                        RestartRule(State.failed, "server_error", 1),
                        RestartRule(State.incomplete, None, 1),
                    ),
                )
            ),
            effects=self.pick(tuple(Effects)),
            recreate=self.pick((0, 2)),
            deadline_seconds=self.pick((3_000.0, 86_400.0)),
            on_unknown_outcome=self.pick(tuple(OnUnknownOutcome)),
            late_approval=self.pick(tuple(LateApproval)),
            restart_delay_seconds=self.pick((0.0, 40.0)),
            result_retention_seconds=self.pick((None, 600.0)),
        )
        self.facts = accepted(provider=provider, policy=policy, **fields)
        self.look = Look(next_at=NOW)
        self.seen_ids = 0
        self.evidence_ids = 0
        self.lost: list[Outcome] = []
        self.events: list[Any] = []
        self.payloads: dict[int, bytes] = {}
        self.settles = 0
        self.fair = False
        self.reruns: set[int] = set()
        self.effects: list[str] = []
        self.hands = set(TOOLS)
        self.log: list[str] = []

    # Choosing.

    @property
    def idle(self) -> bool:
        """Whether all choices are used up."""
        return not self.choices

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the first where no choices are left."""
        return options[self.choices.pop() % len(options)] if self.choices else options[0]

    def chance(self, one_in: int) -> bool:
        """True about once in so many times, never when idle."""
        return not self.idle and self.pick(range(one_in)) == one_in - 1

    # Moving.

    def play(self) -> None:
        """Move until the choices are used up or nobody needs to look any more."""
        for _ in range(400):
            if self.idle:
                return
            if self.chance(6):
                self.settles = 0
                self.intervene()
            elif self.facts.watched or self.facts.evidence:
                self.move()
            elif not self.intervene():
                return
            else:
                self.settles = 0

    def drain(self) -> None:
        """Nothing answers any more: time alone has to bring the end."""
        self.choices = []
        over = self.facts.run.deadline_at + timedelta(seconds=1)
        for _ in range(300):
            if self.facts.run.final:
                break
            self.move()
            self.now = max(self.now, over) if self.now > over - timedelta(days=1) else self.now
            if self.settles == 0 and not self.facts.run.final:
                self.now = over
        assert self.facts.run.final, self.story("no verdict although the deadline has passed")
        for _ in range(300):
            if not self.facts.watched:
                return
            self.move()
            self.now += timedelta(seconds=UNCANCELLED_SECONDS / 100)
        raise AssertionError(self.story("a tail is watched for ever"))

    def recover(self) -> None:
        """From now on upstream is honest and people answer: the run ends soon, and not by time."""
        if self.facts.run.final or self.now + timedelta(seconds=1_500) > self.facts.run.deadline_at:
            return
        self.choices, self.fair, self.hands = [], True, set(TOOLS)
        for _ in range(60):
            if self.facts.run.final:
                break
            self.answer_by_hand()
            self.move()
        run = self.facts.run
        assert run.final, self.story("an honest upstream does not end the run")
        assert run.error_code != "deadline", self.story("it ends by its deadline alone")

    def answer_by_hand(self) -> None:
        """An operator answers what no tool will."""
        current = self.facts.current
        if current is None or self.facts.run.state != State.requires_action:
            return
        for call in self.facts.open_calls(current):
            if pending(call):
                self.operate(calls_by_hand.judge_call(str(call.n), Approval.approved, None))
            elif call.output is None and (call.held or call.tool not in TOOLS):
                self.operate(operator.answer_call(str(call.n), b"by hand", is_error=False))

    def context(self) -> Context:
        tools = {name: spec for name, spec in TOOLS.items() if name in self.hands}
        return Context(now=self.now, life=f"life{self.life}", tools=tools, look=self.look)

    def move(self) -> None:
        """One step of the life that owns the run."""
        context = self.context()
        step = next_step(self.facts, context)
        self.log.append(f"{self.now:%H:%M:%S} {step}")
        if isinstance(step, Wait):
            assert step.until > self.now or self.facts.run.final, self.story("a wait in the past")
            self.now = max(step.until, self.now) + timedelta(seconds=self.pick((0, *WAITS)))
            self.settles = 0
            return
        if isinstance(step, Settle):
            self.settle(step)
            return
        self.settles = 0
        self.check_step(step)
        self.apply(arm(self.facts, step, context))
        if self.chance(8):
            self.crash(step)
            return
        self.now += timedelta(seconds=self.pick((0, 0, 0, 3, 700)))
        for outcome in self.answers(step):
            self.take(outcome, step)

    def settle(self, step: Settle) -> None:
        self.settles += 1
        assert self.settles <= SETTLES_MAX, self.story("settles without end")
        change = decide(self.facts, Elapsed(), self.context(), source=Source.policy)
        assert not change.empty, self.story(f"livelock: {step} changes nothing")
        self.apply(change)

    def take(self, outcome: Outcome, step: Step) -> None:
        """Take an outcome in, as the reconciler does."""
        source = {Create: Source.create, Submit: Source.submit}.get(type(step), Source.poll)
        change = decide(self.facts, outcome, self.context(), source=source)
        quiet = is_quiet(self.facts, outcome, self.now, source)
        assert change.empty or not quiet, self.story("told nothing new, and there was")
        if change.writes:
            # As the store does: the statements first, and what became of them instead.
            result = self.pick(((1,), "no such table"))
            outcome = performed(outcome, result)
            change = decide(change.before, outcome, self.context(), source=source)
            self.effects += [self.facts.calls[outcome.n - 1].key] if result == (1,) else []
        assert not change.writes, self.story("writes twice")
        news = not change.empty
        if news:
            self.apply(change)
        if isinstance(outcome, ToolDone):
            return
        failures = self.look.failures + 1 if isinstance(outcome, Failed) else 0
        self.look = Look(
            next_at=self.now + timedelta(seconds=2),
            count=0 if news else self.look.count + 1,
            first=None if news else self.look.first or self.now,
            last=self.now,
            failures=failures,
        )

    def crash(self, step: Step) -> None:
        """The life dies after the commit and before, or after, the effect."""
        outcomes = self.answers(step)
        if self.chance(2):
            self.lost += [o for o in outcomes if not getattr(o, "writes", ())]
        self.life += 1
        self.look = Look(next_at=self.now)
        self.hands = set(self.pick((tuple(TOOLS), ("look_up", "book"), ("wire",), ())))

    def intervene(self) -> bool:
        """An operator, the clock or evidence from outside."""
        action = self.pick(ACTIONS)
        if action == "pass":
            self.now += timedelta(seconds=self.pick(WAITS))
            return True
        if action in ("evidence", "webhook"):
            self.file(action)
            return True
        return self.operate(self.command(action))

    def command(self, action: str) -> Command:
        """What an operator types."""
        if action == "cancel":
            return operator.cancel("because")
        if action == "restart":
            return operator.restart_run(self.pick((None, *Effects)), None)
        if action == "answer":
            waiting = [call.n for call in self.facts.calls if call.output is None] or [0]
            return operator.answer_call(str(self.pick(waiting)), b"by hand", is_error=False)
        if action in ("approve", "deny"):
            asked = [call.n for call in self.facts.calls if call.approval is not None] or [0]
            word = Approval.approved if action == "approve" else Approval.denied
            return calls_by_hand.judge_call(str(self.pick(asked)), word, "because")
        if action == "rerun":
            held = [call.n for call in self.facts.calls if call.held] or [0]
            return calls_by_hand.rerun_call(str(self.pick(held)), "because")
        if action == "resolve":
            return accepting.resolve("seen")
        if action == "recheck":
            return operator.recheck()
        if action == "accept":
            remote = accepting.contradicting(self.facts)
            number = remote.observed if remote else None
            return accepting.accept(number, self.payloads.get(number or 0), "so be it")
        if action == "adopt":
            return operator.adopt_into(f"obj_{self.new_id()}")
        return operator.note("looked at it")

    def operate(self, command: Command) -> bool:
        """Carry a command out, if the run permits it."""
        try:
            change = operator.carry_out(self.facts, command, now=self.now, actor="operator:ann")
        except NotAllowed:
            return False
        self.log.append(f"{self.now:%H:%M:%S} operator: {change.why}")
        self.apply(change)
        return True

    def file(self, kind: str) -> None:
        """Evidence: what a dead life had learned, or a webhook."""
        body = b'{"type":"response.completed","data":{"id":"resp_1"}}'
        if kind == "evidence":
            if not self.lost:
                return
            body = dump_outcome(self.lost[self.pick(range(len(self.lost)))])
        self.evidence_ids += 1
        source = "life" if kind == "evidence" else "webhook"
        item = Evidence(
            id=self.evidence_ids, source=source, body=body, digest=b"", received_at=self.now
        )
        self.facts = replace(self.facts, evidence=(*self.facts.evidence, item))

    # Upstream.

    def answers(self, step: Step) -> list[Outcome]:
        """What the step brings back."""
        if self.fair:
            return self.honest_answers(step)
        match step:
            case RunTools(numbers):
                if self.idle:
                    return []
                return [self.tool_done(n) for n in numbers if not self.chance(5)]
            case Search(n) if not self.fails():
                count = self.pick((0, 0, 1, 2))
                found = tuple(self.observation(n, f"run_{self.new_id()}") for _ in range(count))
                return [Found(n=n, observations=found)]
            case Harvest(n) if not self.fails():
                return [Harvested(n=n, body=b'[{"content":[]}]')]
            case Create(n) if not self.fails():
                return [Observed(n=n, observation=self.observation(n, f"obj_{self.new_id()}"))]
            case Observe(n) | Cancel(n) | Submit(n, _) if not self.fails():
                return [
                    Observed(n=n, observation=self.observation(n, self.facts.remote(n).remote_id))
                ]
        n = getattr(step, "n", 0)
        operation = type(step).__name__.lower()
        error = "ConnectionFailed" if self.idle else self.pick(ERROR_NAMES)
        body = self.pick((None, b'{"error":{"code":"server_error"}}'))
        code = self.pick((None, "server_error"))
        reply = Reply(status=500, error_code=code, request_id="req_1", body=body)
        return [Failed(n=n, operation=operation, error=error, message="no", reply=reply)]

    def tool_done(self, n: int) -> ToolDone:
        """What a tool returned; a transactional one also what it wants written."""
        transactional = self.facts.calls[n - 1].tool == "book"
        writes = WRITES if transactional and self.chance(2) else ()
        return ToolDone(n=n, output=b"42", is_error=not writes and self.chance(4), writes=writes)

    def honest_answers(self, step: Step) -> list[Outcome]:
        """What the step brings back from an upstream that works."""
        match step:
            case RunTools(numbers):
                return [self.tool_done(n) for n in numbers]
            case Search(n):
                seen = self.completed(n, f"obj_{self.new_id()}")
                return [Found(n=n, observations=(seen,))]
            case Harvest(n):
                return [Harvested(n=n, body=b'{"messages":[{"role":"assistant"}]}')]
            case Create(n):
                return [Observed(n=n, observation=self.completed(n, f"obj_{self.new_id()}"))]
            case Observe(n) | Cancel(n) | Submit(n, _):
                seen = self.completed(n, self.facts.remote(n).remote_id)
                return [Observed(n=n, observation=seen)]
        raise AssertionError(step)

    def completed(self, n: int, remote_id: str | None) -> Observation:
        """The object, over and done with."""
        kind = self.facts.remote(n).kind
        names = {RemoteKind.response: "response", RemoteKind.thread: "thread"}
        value = {"object": names.get(kind, "thread.run"), "id": remote_id, "status": "completed"}
        value["output"] = [{"type": "message"}]
        return read_object(kind, json.dumps(value).encode())

    def fails(self) -> bool:
        return self.idle or self.chance(4)

    def new_id(self) -> int:
        self.seen_ids += 1
        return self.seen_ids

    def observation(self, n: int, remote_id: str | None) -> Observation:
        """An object as upstream might describe it, read from real bytes."""
        remote = self.facts.remote(n)
        if remote.kind == RemoteKind.thread:
            return read_object(
                remote.kind, json.dumps({"object": "thread", "id": remote_id}).encode()
            )
        status = self.pick(STATUSES)
        value: dict[str, Any] = {
            "id": remote_id,
            "status": status,
            "usage": self.pick((None, {"t": 3})),
        }
        if self.chance(4):
            value["expires_at"] = self.now.timestamp() + self.pick((-100, 60, 600, 10**9))
        calls = [self.call() for _ in range(self.pick((0, 1, 2)))]
        if remote.kind == RemoteKind.response:
            value |= {
                "object": "response",
                "output": [*calls, *self.pick(([], [{"type": "message"}]))],
            }
            value["error"] = self.pick((None, {"code": "server_error", "message": "sorry"}))
        else:
            value |= {"object": "thread.run", "thread_id": remote.parent_id or "thread_1"}
            wanted = [{"id": call["call_id"], "function": call} for call in calls]
            value["required_action"] = {"submit_tool_outputs": {"tool_calls": wanted}}
            value["last_error"] = self.pick((None, {"code": "server_error", "message": "sorry"}))
        return read_object(remote.kind, json.dumps(value).encode())

    def call(self) -> dict[str, Any]:
        return {
            "type": "function_call",
            "call_id": self.pick(("call_0", "call_1")),
            "name": self.pick(("pay", "look_up", "strange", "book", "wire")),
            "arguments": self.pick(("{}", '{"a":1}', "not json")),
        }

    # Checking.

    def story(self, what: str) -> str:
        """What happened so far, for a person."""
        moved = [f"{e.kind}{' ' + e.trigger if e.trigger else ''}" for e in self.events]
        return "\n".join(
            [
                what,
                *self.log[-25:],
                " > ".join(moved),
                str(self.facts.run),
                *map(str, self.facts.remotes),
                *map(str, self.facts.calls),
            ]
        )

    def check_step(self, step: Step) -> None:
        if isinstance(step, Create):
            remote = self.facts.remote(step.n)
            others = [r for r in self.facts.unsettled() if r.n != step.n]
            assert remote.state == RemoteState.intended, self.story("created twice")
            assert not [r for r in others if r.attempt < remote.attempt], self.story(
                "a create while an older attempt's remote lives on"
            )
        if isinstance(step, Submit):
            outputs = [self.facts.calls[n - 1].output for n in step.calls]
            assert None not in outputs, self.story("a submit without all outputs")

    def apply(self, change: Change) -> None:
        """Commit, after checking."""
        before, after = change.before, change.after
        self.check_history(change)
        self.check_numbers(change)
        self.events += change.events
        self.payloads |= {payload.n: payload.body for payload in change.payloads}
        if after.run.policy.effects == Effects.rerun:
            self.reruns |= {e.attempt for e in change.events if e.kind == EventKind.restarted}
        self.check_creates(after)
        self.check_tools(after)
        seq = before.run.event_seq + len(change.events)
        run = replace(after.run, version=before.run.version + 1, event_seq=seq)
        unread = tuple(e for e in self.facts.evidence if e.id > run.evidence_seen)
        self.facts = replace(after, run=run, evidence=unread)

    def check_history(self, change: Change) -> None:
        before, after = change.before, change.after
        state = before.run.state
        for event in change.events:
            if event.trigger is None:
                assert (event.from_state, event.to_state) == (None, None)
                continue
            triple = (event.from_state, event.trigger, event.to_state)
            assert triple in TRIPLES, self.story(f"illegal {triple}")
            assert event.from_state == state, self.story("a gap between two transitions")
            state = event.to_state
        assert state == after.run.state, self.story("a change of state without an event")
        path = [before.run.state, *change.passed, after.run.state]
        for one, two in pairwise(path):
            assert one == two or (one, two) in LEGAL_MOVES, self.story(f"passes {path}")
        if before.run.final and not [e for e in change.events if e.kind == EventKind.restarted]:
            assert before.run.state == after.run.state
            assert before.run.result == after.run.result, self.story("a verdict changed")
        assert (after.run.finished_at is not None) == after.run.final, self.story(
            "finished iff final"
        )
        for old, new in zip(before.attempts, after.attempts, strict=False):
            assert old.ended_at is None or old == new, self.story("an ended attempt changed")
        assert after.watched == (not after.run.final or bool(after.unsettled()))
        assert len(after.attempts) == after.run.attempts

    def check_numbers(self, change: Change) -> None:
        after = change.after
        assert [r.n for r in after.remotes] == list(range(1, len(after.remotes) + 1))
        assert [c.n for c in after.calls] == list(range(1, len(after.calls) + 1))
        markers = [r.marker for r in after.remotes]
        assert len(set(markers)) == len(markers), self.story("a marker twice")
        keys = [(c.remote, c.round, c.call_id) for c in after.calls]
        assert len(set(keys)) == len(keys), self.story("a call twice in a round")
        kept = [p.n for p in change.payloads]
        expected = range(change.before.run.payload_seq + 1, after.run.payload_seq + 1)
        assert sorted(kept) == list(expected), self.story("payload numbers")
        for event in change.events:
            assert {n for _, n in event.payloads} <= set(kept), self.story("a payload of old")
        assert change.due_at <= max(self.now, after.run.deadline_at) + timedelta(
            seconds=TAIL_SECONDS
        )

    def check_creates(self, after: Facts) -> None:
        """Each POST is the first of its kind, a free repetition, or one that history authorises."""
        posts = Counter(e.remote for e in self.events if e.kind == EventKind.create_sending)
        free = Counter(
            e.remote
            for e in self.events
            if e.kind in (EventKind.create_not_sent, EventKind.create_refused)
        )
        for n, count in posts.items():
            assert count <= 1 + free[n], self.story(f"remote {n} was sent {count} times")
        authorised = Counter(
            (r.attempt, r.kind, r.previous)
            for e in self.events
            if e.kind == EventKind.create_authorised and e.remote
            for r in [after.remote(e.remote)]
        )
        sent = Counter(
            (after.remote(n).attempt, after.remote(n).kind, after.remote(n).previous) for n in posts
        )
        for group, count in sent.items():
            assert count <= 1 + authorised[group], self.story(
                f"{count} creates for one intent {group}"
            )

    def check_tools(self, after: Facts) -> None:
        """Each start is the first under its key, harmless, or one that the history allows."""
        starts, free = Counter[str](), Counter[str]()
        approved = {e.detail["call"] for e in self.events if e.kind == EventKind.tool_approved}
        for event in self.events:
            if event.kind in (EventKind.tool_rerun, EventKind.tool_not_started):
                free[event.detail["key"]] += 1
            if event.kind != EventKind.tool_started:
                continue
            key, tool = event.detail["key"], event.detail["tool"]
            assert tool != "wire" or event.detail["call"] in approved, self.story(
                "started without a word"
            )
            harmless = event.detail["idempotent"] or event.detail.get("transactional")
            starts[key] += not harmless
        for key, count in starts.items():
            allowed = count <= 1 + free[key] or self.reruns
            assert allowed, self.story(f"an effect {count} times")
        written = Counter(self.effects)
        for key, count in written.items():
            assert count <= 1 + free[key] or self.reruns, self.story("written twice")
        for call in after.calls:
            done = call.state in (CallState.finished, CallState.submitted, CallState.confirmed)
            assert not done or call.output is not None, self.story("finished without an output")
