"""Single paths through the decisions, each one a promise or a mistake that was made once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support import NOW, accepted, context, failed, function_call, response, thread_run

from ledger.core.alphabet import (
    Attention,
    CallState,
    Effects,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
)
from ledger.core.decide import arm, decide, operator
from ledger.core.decide.quiet import is_quiet
from ledger.core.model import Evidence, Facts
from ledger.core.outcome import (
    Elapsed,
    Found,
    Harvested,
    Observed,
    Outcome,
    ToolDone,
    dump_outcome,
)
from ledger.core.pacing import Look
from ledger.core.plan import next_step
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
from ledger.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    ObjectMissing,
    RequestRefused,
    ServerTrouble,
    ThreadBusy,
)

PAY = ToolSpec(name="pay", idempotent=False, timeout_seconds=10)
MESSAGES = b'{"messages":[{"role":"assistant","content":[{"type":"text"}]}]}'
LOOK_UP = ToolSpec(name="look_up", idempotent=True, timeout_seconds=10)


class Play:
    """One run and the life that drives it, step by step, as a script says."""

    def __init__(self, provider: str = "responses", **fields: Any) -> None:
        self.facts: Facts = accepted(provider=provider, **fields)
        self.now = NOW
        self.life = "one"
        self.tools: list[ToolSpec] = [PAY, LOOK_UP]
        self.look = Look(next_at=NOW)
        self.kinds: list[EventKind] = []

    @property
    def context(self) -> Context:
        return context(self.now, life=self.life, tools=self.tools, look=self.look)

    @property
    def step(self) -> Step:
        """What is to be done now."""
        return next_step(self.facts, self.context)

    def wait(self, seconds: float) -> Play:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.look = replace(self.look, next_at=self.now)
        return self

    def arm(self, wanted: type[Step] | None = None) -> Play:
        """Commit what must be durable before the next step, which is of the wanted kind."""
        step = self.step
        assert wanted is None or isinstance(step, wanted), step
        return self._apply(arm(self.facts, step, self.context))

    def take(self, outcome: Outcome, source: Source = Source.poll) -> Play:
        """Take an outcome in."""
        change = decide(self.facts, outcome, self.context, source=source)
        assert change.empty or not is_quiet(self.facts, outcome, self.now, source)
        return self._apply(change)

    def saw(self, body: bytes, n: int | None = None, source: Source = Source.poll) -> Play:
        """Upstream describes a remote, the newest one if none is named."""
        n = n or len(self.facts.remotes)
        kind = self.facts.remote(n).kind
        return self.take(Observed(n=n, observation=read_object(kind, body)), source)

    def peek(self, body: bytes) -> Any:
        """What the newest remote's reading would change."""
        n = len(self.facts.remotes)
        seen = read_object(self.facts.remote(n).kind, body)
        return decide(self.facts, Observed(n=n, observation=seen), self.context)

    def peek_failure(self, error: Any) -> Any:
        """What a failed read of the first remote would change."""
        return decide(self.facts, failed(error, "observe"), self.context)

    def create(self, body: bytes) -> Play:
        """Send the create that is due, and have it answered."""
        step = self.step
        assert isinstance(step, Create), step
        return self.arm().saw(body, step.n, Source.create)

    def settle(self) -> Play:
        """Decide without a call, which must change something."""
        assert isinstance(self.step, Settle), self.step
        return self.take(Elapsed(), Source.policy)

    def file(self, outcome: Outcome) -> Play:
        """Evidence arrives from a life that lost the run."""
        item = Evidence(
            id=99, source="life", body=dump_outcome(outcome), digest=b"", received_at=self.now
        )
        self.facts = replace(self.facts, evidence=(*self.facts.evidence, item))
        return self

    def command(self, command: operator.Command) -> Play:
        """An operator's command."""
        return self._apply(operator.carry_out(self.facts, command, now=self.now, actor="ann"))

    def _apply(self, change: Any) -> Play:
        assert not change.empty, "nothing came of it"
        kept = {payload.n for payload in change.payloads}
        assert all(n in kept for event in change.events for _, n in event.payloads)
        self.kinds += [event.kind for event in change.events]
        self.facts, self.last = replace(change.after, owner="me", fence=1), change
        return self

    @property
    def state(self) -> tuple[State, Attention | None]:
        """The verdict so far and the flag."""
        return self.facts.run.state, self.facts.run.needs_attention


def calls(*names: str) -> bytes:
    """A response that asks for tools."""
    items = [function_call(f"call_{n}", name) for n, name in enumerate(names)]
    return response("completed", output=items)


def done(remote_id: str = "resp_1") -> bytes:
    """A response with its answer."""
    return response("completed", remote_id=remote_id, output=[{"type": "message"}])


def wants(*names: str, status: str = "requires_action") -> bytes:
    """A thread run that asks for tools."""
    listed = [
        {"id": f"call_{n}", "function": {"name": name, "arguments": "{}"}}
        for n, name in enumerate(names)
    ]
    return thread_run(status, required_action={"submit_tool_outputs": {"tool_calls": listed}})


def on_thread(**fields: Any) -> Play:
    """A run on a given thread."""
    return Play("assistants", serial_key="thread_1", **fields)


# The ordinary ways.


@pytest.mark.parametrize("status", ["queued", "in_progress", "weird", None])
def test_a_look_that_found_nothing_new_needs_no_decision(status: str | None) -> None:
    """What nearly all looks are is told before a change is drafted; `Play` holds it against the
    decision each time."""
    play = Play()
    play.arm(Create)
    play.saw(response(status), source=Source.create)
    again = Observed(n=1, observation=read_object(RemoteKind.response, response(status)))
    assert is_quiet(play.facts, again, play.now, Source.poll)
    other = Observed(n=1, observation=read_object(RemoteKind.response, response("completed")))
    assert not is_quiet(play.facts, other, play.now, Source.poll)
    assert not is_quiet(play.facts, again, play.now, Source.submit)
    blocked = replace(play.facts.run, needs_attention=Attention.blocked_quota)
    assert not is_quiet(replace(play.facts, run=blocked), again, play.now, Source.poll)


def test_a_response_with_tools_goes_link_by_link() -> None:
    """Create, calls, tools, a further create with the outputs, verdict, and nothing to watch."""
    play = Play().create(calls("pay"))
    assert (State.requires_action, None) == play.state
    assert RunTools((1,)) == play.step
    play.arm().take(ToolDone(n=1, output=b"42"))
    assert Create(2) == play.step
    play.create(response("completed", remote_id="resp_2", output=[{"type": "message"}]))

    assert (State.completed, None) == play.state
    assert not play.facts.watched
    assert CallState.confirmed == play.facts.calls[0].state
    assert play.facts.run.result == play.facts.remotes[1].observed


def test_a_thread_run_with_tools_is_submitted_and_harvested() -> None:
    """The outputs are submitted together; the result takes a call of its own."""
    play = on_thread().create(wants("pay", "look_up"))
    assert RunTools((1, 2)) == play.step
    play.arm().take(ToolDone(n=2, output=b"b")).take(ToolDone(n=1, output=b"a"))
    assert Submit(1, (1, 2)) == play.step
    play.arm().saw(thread_run("queued"), source=Source.submit)
    assert {CallState.submitted} == {call.state for call in play.facts.calls}
    play.wait(5).saw(thread_run("completed"))
    assert {CallState.confirmed} == {call.state for call in play.facts.calls}
    assert Harvest(1) == play.step
    play.take(Harvested(n=1, body=MESSAGES))

    assert (State.completed, None) == play.state
    assert not play.facts.watched


def test_a_run_without_a_thread_makes_one_first() -> None:
    """The thread is a remote of its own, settled as soon as it is there."""
    play = Play("assistants").create(b'{"object":"thread","id":"thread_9"}')

    assert ("thread_9", "thread_9") == (
        play.facts.run.serial_key,
        play.facts.remotes[1].parent_id,
    )
    assert [True, False] == [remote.settled for remote in play.facts.remotes]
    assert Create(2) == play.step


# Mistakes that were made once.


@pytest.mark.parametrize("taken", [thread_run("completed"), wants("pay", status="completed")])
def test_a_thread_run_that_completes_at_once_after_its_outputs_is_harvested(taken: bytes) -> None:
    """No reading between the submit and the end is needed to get at the result."""
    play = on_thread().create(wants("pay")).arm().take(ToolDone(n=1, output=b"42"))
    play.arm(Submit).saw(taken, source=Source.submit)

    assert Harvest(1) == play.step
    assert (State.completed, None) == play.take(Harvested(n=1, body=MESSAGES)).state


def test_a_run_that_completes_before_it_was_seen_running_has_left_the_queue() -> None:
    """While the result is fetched the run is in progress: it does not hold up its thread."""
    play = on_thread().create(thread_run("completed"))

    assert (State.in_progress, None) == play.state
    assert Harvest(1) == play.step


def test_a_cancel_that_comes_too_late_does_not_take_the_result_away() -> None:
    """Any final state may win the race: upstream completed, so the result is fetched."""
    play = on_thread().create(thread_run("in_progress"))
    play.command(operator.cancel(None))
    play.arm(Cancel).saw(thread_run("completed"))

    assert Harvest(1) == play.step
    assert (State.completed, None) == play.take(Harvested(n=1, body=MESSAGES)).state


@pytest.mark.failure(26)
def test_a_late_reply_of_a_create_that_was_given_up_is_watched_again() -> None:
    """The object that turns up after all is cancelled, and not taken for settled."""
    play = Play(policy=Policy(recreate=1)).arm(Create)
    play.take(failed(ServerTrouble()), Source.create)
    late = Observed(
        n=1, observation=read_object(RemoteKind.response, response(remote_id="resp_late"))
    )
    play.wait(31).settle()
    assert [RemoteState.unknown, RemoteState.intended] == [r.state for r in play.facts.remotes]

    play.create(response(remote_id="resp_2")).file(late).settle()

    first, second = play.facts.remotes
    assert ("resp_late", RemoteState.confirmed, False) == (
        first.remote_id, first.state, first.settled,
    )  # fmt: skip
    assert not second.settled
    assert Cancel(1) == play.step
    play.arm(Cancel).saw(response("cancelled", remote_id="resp_late"), n=1)
    assert Observe(2) == play.step
    assert (State.completed, None) == play.saw(done("resp_2")).state


def test_a_cancel_that_fails_again_and_again_does_not_keep_the_run_from_being_read() -> None:
    """The second object has its turns, and the run that matters has its own."""
    play = on_thread().arm(Create).take(failed(ServerTrouble()), Source.create)
    bodies = (thread_run(remote_id="run_1"), thread_run(remote_id="run_2"))
    found = tuple(read_object(RemoteKind.thread_run, body) for body in bodies)
    play.take(Found(n=1, observations=found))
    assert [RemoteState.confirmed] * 2 == [remote.state for remote in play.facts.remotes]

    current = play.facts.current
    assert current is not None
    spare = 3 - current.n
    assert Cancel(spare) == play.step
    play.arm(Cancel).take(failed(ServerTrouble(), "cancel", n=spare))
    play.look = replace(play.look, failures=1)
    assert Observe(current.n) == play.step


def test_a_second_thread_that_turns_up_does_not_start_a_second_run() -> None:
    """Two threads may have been made, but one of them carries the run."""
    play = Play("assistants").arm(Create).take(failed(ServerTrouble()), Source.create)
    thread = b'{"object":"thread","id":"thread_%d"}'
    late = Observed(n=1, observation=read_object(RemoteKind.thread, thread % 1))
    play.wait(31).settle().create(thread % 2)
    play.file(late).settle()

    kinds = [(remote.kind, remote.parent_id) for remote in play.facts.remotes]
    assert [("thread", ""), ("thread", ""), ("thread_run", "thread_2")] == kinds
    assert "thread_2" == play.facts.run.serial_key


def test_a_late_refusal_of_a_create_does_not_fail_its_successor() -> None:
    """The first create was refused after all; the second, which was allowed, goes on."""
    play = Play(policy=Policy(recreate=1)).arm(Create).take(failed(ServerTrouble()), Source.create)
    play.wait(31).settle().create(response(remote_id="resp_2"))
    play.file(failed(RequestRefused())).settle()

    assert State.in_progress == play.facts.run.state
    assert RemoteState.absent == play.facts.remotes[0].state


def test_an_old_attempts_unclear_create_is_not_made_again_in_the_new_one() -> None:
    """After a restart the old object is looked for, and its absence allows nothing further."""
    play = on_thread(policy=Policy(deadline_seconds=20)).arm(Create)
    play.take(failed(ServerTrouble()), Source.create).wait(21).settle()
    play.command(operator.restart_run(None, None))
    assert Search(1) == play.step
    play.wait(31).take(Found(n=1, observations=()))

    assert [(1, RemoteState.absent), (2, RemoteState.intended)] == [
        (remote.attempt, remote.state) for remote in play.facts.remotes
    ]


@pytest.mark.failure(13)
def test_calls_that_are_held_are_flagged_again_when_another_reason_has_passed() -> None:
    """A flag that covered another and was lowered leaves no run that nobody looks at."""
    play = on_thread().create(wants("pay")).arm(RunTools)
    play.life = "two"
    play.settle()
    assert (State.requires_action, Attention.unknown_outcome) == play.state
    play.take(failed(AuthenticationRefused(), "observe"))
    assert (State.requires_action, Attention.blocked_credentials) == play.state
    play.saw(wants("pay"))
    assert (State.requires_action, None) == play.state
    play.settle()
    assert (State.requires_action, Attention.unknown_outcome) == play.state
    assert isinstance(play.step, Observe)


def test_an_idempotent_call_waits_for_a_life_that_has_its_tool() -> None:
    """A life without the tool cannot run it again, and must not keep others from doing so."""
    play = on_thread().create(wants("look_up")).arm(RunTools)
    play.life, play.tools = "two", []
    play.settle()
    assert (State.requires_action, Attention.tool_unhandled) == play.state
    assert not play.facts.calls[0].held
    assert isinstance(play.step, Observe | Wait)

    play.life, play.tools = "three", [LOOK_UP]
    assert RunTools((1,)) == play.step
    play.arm(RunTools)
    assert (State.requires_action, None) == play.state


def test_a_blocked_account_that_works_again_lowers_its_flag() -> None:
    """A good reading is enough, also one without news."""
    play = Play().create(response("in_progress"))
    play.take(failed(AuthenticationRefused(), "observe"))
    assert (State.in_progress, Attention.blocked_credentials) == play.state

    assert (State.in_progress, None) == play.saw(response("in_progress")).state


def test_one_id_for_two_calls_is_one_call() -> None:
    """A server that repeats an id within one reply does not make a run unstorable."""
    items = [function_call("call_0", "pay", '{"a":1}'), function_call("call_0", "pay", '{"a":2}')]
    play = Play().create(response("completed", output=items))

    assert [("call_0", 1)] == [(call.call_id, call.n) for call in play.facts.calls]


def test_evidence_about_what_is_not_there_is_passed_over() -> None:
    """Numbers of remotes and calls that this run does not have change nothing but the marker."""
    for outcome in (
        ToolDone(n=5, output=b""),
        ToolDone(n=0, output=b""),
        Harvested(n=7, body=b""),
        Found(n=-1, observations=()),
    ):
        play = Play().create(response()).file(outcome)
        before = play.facts
        play.settle()
        assert before.remotes == play.facts.remotes
        assert (99, ()) == (play.facts.run.evidence_seen, play.facts.evidence)


def test_an_old_attempts_result_is_not_the_new_ones() -> None:
    """What was fetched for an attempt that has ended does not end the next."""
    play = on_thread(policy=Policy(deadline_seconds=20)).create(thread_run("completed"))
    play.wait(21).settle().command(operator.restart_run(None, None))
    assert Create(2) == play.step
    play.create(thread_run(remote_id="run_2"))
    play.file(Harvested(n=1, body=MESSAGES)).settle()

    assert (State.in_progress, None) == play.state


# Creates.


def test_a_create_that_did_not_leave_is_sent_again() -> None:
    """Not sent, paced and busy: the same remote, once more."""
    for error in (ConnectionFailed(), ThreadBusy(), AuthenticationRefused()):
        play = on_thread().arm(Create).take(failed(error), Source.create)
        assert RemoteState.intended == play.facts.remotes[0].state
        assert Create(1) == play.wait(1).step


def test_a_refused_create_fails_the_attempt_with_its_reason() -> None:
    """Upstream's answer is kept verbatim as the attempt's last error."""
    play = Play().arm(Create).take(failed(RequestRefused("no such model")), Source.create)

    assert (State.failed, None) == play.state
    assert "no such model" == play.facts.attempt.error_message
    assert not play.facts.watched


def test_an_unclear_create_without_a_search_fails_unless_recreates_are_allowed() -> None:
    """on_unknown=fail ends with a flag; recreate=1 creates once more and names the policy."""
    fails = Play().arm(Create).take(failed(ServerTrouble()), Source.create)
    assert isinstance(fails.step, Wait)
    assert (State.failed, Attention.unknown_create) == fails.wait(31).settle().state

    again = Play(policy=Policy(recreate=1)).arm(Create).take(failed(ServerTrouble()), Source.create)
    again.wait(31).settle()
    assert EventKind.create_authorised == again.kinds[-1]
    again.arm(Create).take(failed(ServerTrouble(), n=2), Source.create)
    assert (State.failed, Attention.unknown_create) == again.wait(31).settle().state


def test_a_life_that_died_between_commit_and_reply_leaves_a_doubt_not_a_second_create() -> None:
    """The next life searches for the marker, and adopts what it finds."""
    play = on_thread().arm(Create)
    play.life = "two"
    play.settle()
    assert Search(1) == play.step
    seen = read_object(RemoteKind.thread_run, thread_run("in_progress"))
    play.take(Found(n=1, observations=(seen,)))

    assert ("run_1", RemoteState.confirmed) == (
        play.facts.remotes[0].remote_id,
        play.facts.remotes[0].state,
    )
    assert Observe(1) == play.step


# Tools and restarts.


@pytest.mark.problem(11)
def test_a_tool_with_an_effect_is_not_started_again_by_another_life() -> None:
    """Started and never finished: held for a person, whose answer lets the run go on."""
    play = Play().create(calls("pay")).arm(RunTools)
    play.life = "two"
    play.settle()
    assert (State.requires_action, Attention.unknown_outcome) == play.state
    assert isinstance(play.step, Wait)
    play.command(operator.answer_call("call_0", b"done", is_error=False))

    assert Create(2) == play.step
    assert (State.requires_action, None) == play.state


def test_an_idempotent_tool_is_started_again_by_another_life() -> None:
    """What may be repeated is repeated, and the history says so."""
    play = Play().create(calls("look_up")).arm(RunTools)
    play.life = "two"

    assert RunTools((1,)) == play.step
    play.arm().take(ToolDone(n=1, output=b"x"))
    assert Create(2) == play.step


def test_a_call_that_nobody_here_can_run_waits_for_somebody() -> None:
    """Without a handler the run is flagged; a life with the tool takes the call."""
    play = Play().create(calls("strange"))
    play.settle()
    assert (State.requires_action, Attention.tool_unhandled) == play.state
    assert isinstance(play.step, Wait)
    play.tools.append(ToolSpec(name="strange", idempotent=True, timeout_seconds=1))

    assert RunTools((1,)) == play.step


EXPIRES = Policy(restart=(RestartRule(State.expired, None, 2),))


def test_effects_forbid_a_restart_by_policy_alone() -> None:
    """An attempt in which a tool with an effect has started is held, and flagged."""
    play = on_thread(policy=EXPIRES).create(wants("pay")).arm(RunTools)
    play.take(ToolDone(n=1, output=b"paid")).saw(thread_run("expired"))

    assert (State.expired, Attention.restart_has_effects) == play.state
    assert EventKind.held in play.kinds


def test_a_restart_with_reuse_answers_from_the_record() -> None:
    """The same tool with the same arguments is not called again: its recorded output is sent."""
    play = on_thread(policy=replace(EXPIRES, effects=Effects.reuse)).create(wants("pay"))
    play.arm(RunTools).take(ToolDone(n=1, output=b"paid")).saw(thread_run("expired"))
    assert 2 == play.facts.run.attempts
    play.create(wants("pay").replace(b"run_1", b"run_2"))

    first, second = play.facts.calls
    assert (first.key, first.output, CallState.finished) == (
        second.key, second.output, second.state,
    )  # fmt: skip
    assert Submit(2, (2,)) == play.step


def test_a_restart_with_rerun_runs_the_tool_again() -> None:
    """Who asks for rerun gets a second effect under the same key."""
    play = on_thread(policy=replace(EXPIRES, effects=Effects.rerun)).create(wants("pay"))
    play.arm(RunTools).take(ToolDone(n=1, output=b"paid")).saw(thread_run("expired"))
    play.create(wants("pay").replace(b"run_1", b"run_2"))

    assert RunTools((2,)) == play.step


def test_restarts_by_policy_end_with_their_count() -> None:
    """Two restarts are three attempts; the third end stays."""
    play = Play(policy=EXPIRES)
    for n in range(1, 4):
        play.create(response("expired", remote_id=f"resp_{n}"))

    assert (State.expired, 3) == (play.facts.run.state, play.facts.run.attempts)
    assert [State.expired] * 3 == [attempt.outcome for attempt in play.facts.attempts]
    assert not play.facts.watched


# Ends.


def test_the_deadline_ends_a_run_and_what_is_left_upstream_is_cancelled() -> None:
    """The run's verdict does not wait for upstream; its tail is called off and settled."""
    play = Play(policy=Policy(deadline_seconds=60)).create(response())
    play.wait(60).settle()
    assert (State.expired, None) == play.state
    assert play.facts.watched
    play.arm(Cancel).saw(response("cancelled"))

    assert State.expired == play.facts.run.state
    assert not play.facts.watched


def test_a_tail_that_never_settles_is_given_up_and_listed() -> None:
    """After an hour the remote is settled as unresolved, and the run is flagged."""
    play = Play(policy=Policy(deadline_seconds=60)).create(response()).wait(60).settle()
    play.arm(Cancel)
    play.wait(TAIL_SECONDS).settle()

    assert (State.expired, Attention.tail_unsettled) == play.state
    assert not play.facts.watched


def test_a_tail_that_nobody_looked_at_for_hours_is_called_off_first() -> None:
    """No life was there when it was due: it still costs money, so it gets its cancel."""
    play = Play(policy=Policy(deadline_seconds=60)).create(response()).wait(60).settle()
    play.wait(3 * TAIL_SECONDS)
    play.arm(Cancel).saw(response("cancelled"))

    assert (State.expired, None) == play.state
    assert not play.facts.watched


def test_a_tail_that_no_cancel_can_be_sent_for_is_given_up_after_a_day() -> None:
    """As while its account is stopped."""
    play = Play(policy=Policy(deadline_seconds=60)).create(response()).wait(60).settle()
    play.wait(UNCANCELLED_SECONDS).settle()

    assert (State.expired, Attention.tail_unsettled) == play.state
    assert not play.facts.watched


def test_upstreams_expiry_is_derived_when_nobody_says_so() -> None:
    """Half a minute after expires_at the ledger gives the verdict itself, and restarts."""
    expiry = (NOW + timedelta(seconds=600)).timestamp()
    play = on_thread(policy=EXPIRES).create(thread_run("in_progress", expires_at=expiry))
    play.wait(629)
    assert Observe(1) == play.step
    play.wait(1).settle()

    assert (State.queued, 2) == (play.facts.run.state, play.facts.run.attempts)
    assert Cancel(1) == play.step


@pytest.mark.problem(16)
@pytest.mark.failure(22)
def test_a_contradiction_is_appended_and_changes_nothing() -> None:
    """Cancelled, then completed upstream: shown, never rewritten."""
    play = Play().create(response("in_progress")).command(operator.cancel(None))
    play.arm(Cancel).saw(response("cancelling"))
    play.wait(121).settle()
    assert (State.cancelled, Attention.cancel_unconfirmed) == play.state
    before = play.facts.run
    play.saw(response("completed", output=[{"type": "message"}]))

    assert EventKind.contradiction == play.kinds[-1]
    assert (before.state, before.result) == (play.facts.run.state, play.facts.run.result)
    assert not play.facts.watched


@pytest.mark.failure(20)
def test_an_unknown_status_is_kept_and_flagged_and_bounded() -> None:
    """A word that nobody knows leaves the state alone, until the next one or the deadline."""
    play = Play().create(response("meditating"))
    assert (State.queued, Attention.unknown_status) == play.state
    assert "meditating" == play.facts.remotes[0].observed_status
    assert (State.in_progress, None) == play.saw(response("in_progress")).state


@pytest.mark.problem(18)
def test_an_object_that_is_gone_fails_the_run_after_several_looks() -> None:
    """One 404 may be a lag; three in a row are an answer."""
    play = Play().create(response())
    play.take(failed(ObjectMissing(), "observe"))
    assert (State.in_progress, None) == play.state
    play.look = replace(play.look, failures=2)
    play.take(failed(ObjectMissing(), "observe"))

    assert (State.failed, Attention.remote_missing) == play.state
    assert not play.facts.watched


def test_a_cancel_before_the_create_needs_no_call() -> None:
    """What was never sent is cancelled on the spot."""
    play = Play().command(operator.cancel("changed my mind"))

    assert (State.cancelled, None) == play.state
    assert not play.facts.watched


@pytest.mark.problem(14)
def test_a_second_object_under_one_marker_is_listed() -> None:
    """A create that a proxy sent twice: what it made is named; the run goes on with the first."""
    play = Play().create(response("in_progress", remote_id="resp_first"))
    kind = play.facts.remotes[0].kind
    second = read_object(kind, response("queued", remote_id="resp_second"))

    play.file(Found(n=1, observations=(second,))).settle()

    assert Attention.contradiction == play.facts.run.needs_attention
    assert ["resp_first"] == [remote.remote_id for remote in play.facts.remotes]
    assert EventKind.contradiction in play.kinds
