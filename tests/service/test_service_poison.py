"""A run in which life after life dies is set aside; what those lives merely owned is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support import NOW, Bench, context, function_call, later, response, seen

from ledger.core.alphabet import Attention, Source, State
from ledger.core.decide import arm, operator, poison
from ledger.core.explain import explain
from ledger.core.following import Surroundings, WaitingFor
from ledger.core.model import Facts
from ledger.core.outcome import ToolDone
from ledger.core.policy import Policy
from ledger.core.steps import Cancel, RunTools, ToolSpec
from ledger.errors import NotAllowed
from ledger.service.claiming import Claimer
from ledger.service.options import Options
from ledger.store.lives import Life
from ledger.store.records import Decision, Guard, Written
from ledger.store.writer import ThreadWriter

LOOP = ToolSpec(name="loop", idempotent=True, timeout_seconds=1)
ASKED = response("completed", output=[function_call("call_0", "loop")])


class Ward:
    """Lives that die, one after the other, and one that buries them."""

    def __init__(self, bench: Bench, writer: ThreadWriter, **options: Any) -> None:
        self.bench, self.count = bench, 0
        heart: Any = SimpleNamespace(life=SimpleNamespace(id="judge"))
        self.claimer = Claimer(bench.store, writer, heart, Options(**options))

    def patient(self) -> Facts:
        """A run whose idempotent tool is asked for."""
        return self.bench.take(self.bench.sending(), seen(ASKED), source=Source.create)

    def live(self) -> str:
        """A life that holds no lock and has not beaten for a while: it is dead already."""
        self.count += 1
        life = Life(id=f"life{self.count}", role="daemon", version="1")
        lives = self.bench.store.lives
        self.bench.committer.run(lambda c: lives.begin(c, life, NOW))
        self.bench.execute("UPDATE worker SET beat = beat - 60")
        return life.id

    def start(self, facts: Facts, life: str) -> Facts:
        """Commit that the tool starts."""
        by = context(life=life, tools=[LOOP])
        decision = Decision(
            run_id=facts.run.id,
            decide=lambda fresh: arm(fresh, RunTools((1,)), by),
            guard=Guard(life, facts.fence),
        )
        result = self.bench.commit(decision)
        assert isinstance(result, Written), result
        return result.facts

    def cancels(self, facts: Facts, life: str) -> None:
        """Commit that the object is being cancelled."""
        by = context(self.bench.now, life=life)
        decision = Decision(
            run_id=facts.run.id,
            decide=lambda fresh: arm(fresh, Cancel(1), by),
            guard=Guard(life, facts.fence),
        )
        assert isinstance(self.bench.commit(decision), Written)

    def bury(self, seconds: float = 0.0) -> None:
        """Another life finds out who is dead."""
        asyncio.run(self.claimer.judge_lives(later(seconds)))

    def dies(self, run_id: int, *, driving: bool = True) -> None:
        """A life claims everything there is, drives one run, and dies."""
        life = self.live()
        claimed = {facts.run.id: facts for facts in self.bench.claim(life)}
        if driving:
            self.start(claimed[run_id], life)
        self.bury()

    def operate(self, run_id: int, command: operator.Command) -> Facts:
        """A person's command."""

        def decide(facts: Facts) -> Any:
            return operator.carry_out(facts, command, now=later(1), actor="ann")

        result = self.bench.commit(Decision(run_id=run_id, decide=decide))
        if not isinstance(result, Written):
            raise result.error  # type: ignore[union-attr]
        return result.facts

    def deaths(self, run_id: int) -> str:
        return str(self.bench.scalar("SELECT deaths FROM watch WHERE run_id = :id", id=run_id))


@pytest.fixture
def ward(bench: Bench, writer: ThreadWriter) -> Callable[..., Ward]:
    """Makes the ward of a test."""

    def make(**options: Any) -> Ward:
        return Ward(bench, writer, **options)

    return make


def free(ward: Ward) -> None:
    ward.bench.execute("UPDATE watch SET owner = NULL")


@pytest.mark.problem(19)
@pytest.mark.failure(13)
def test_three_deaths_in_one_step_set_a_run_aside(ward: Callable[..., Ward]) -> None:
    """The others, which the lives merely owned, are claimed as ever; the event names the lives."""
    one = ward()
    run_id = one.patient().run.id
    others = {facts.run.id for facts in one.bench.submit_many(50)}
    free(one)
    for _ in range(2):
        one.dies(run_id)
    assert "life1 life2" == one.deaths(run_id)
    one.dies(run_id)
    facts = one.bench.facts(run_id)

    assert (State.requires_action, Attention.poison) == (facts.run.state, facts.run.needs_attention)
    assert others == {found.run.id for found in one.bench.claim("next")}
    detail = one.bench.scalar(
        "SELECT CAST(detail AS TEXT) FROM event WHERE kind = 'set_aside' AND run_id = :id",
        id=run_id,
    )
    assert all(f"life{n}" in detail for n in (1, 2, 3))
    assert WaitingFor.person == explain(facts, Surroundings(now=later(1))).waiting_for
    assert () == one.bench.verify().broken


@pytest.mark.problem(19)
def test_deaths_of_lives_that_only_owned_it_do_not_count(ward: Callable[..., Ward]) -> None:
    """However often a life dies beside it, a run that waits is not suspected."""
    one = ward()
    run_id = one.patient().run.id
    free(one)
    for _ in range(5):
        one.dies(run_id, driving=False)

    assert "" == one.deaths(run_id)
    assert run_id in {facts.run.id for facts in one.bench.claim("next")}


def test_a_step_that_was_committed_ends_the_count(ward: Callable[..., Ward]) -> None:
    """Two deaths, then success: the next deaths begin anew."""
    one = ward()
    run_id = one.patient().run.id
    free(one)
    one.dies(run_id)
    one.dies(run_id)
    [facts] = one.bench.claim("well")
    started = one.start(facts, "well")
    one.bench.take(started, ToolDone(n=1, output=b"42"), life="well")

    assert "" == one.deaths(run_id)


def test_the_count_is_a_setting(ward: Callable[..., Ward]) -> None:
    """One death is enough where that is wanted."""
    one = ward(poison_deaths=1)
    run_id = one.patient().run.id
    free(one)
    one.dies(run_id)

    assert Attention.poison == one.bench.facts(run_id).run.needs_attention


@pytest.mark.problem(2)
@pytest.mark.failure(5, 19)
def test_a_verdict_is_not_set_aside(ward: Callable[..., Ward]) -> None:
    """The life that called off what an expired run had left upstream died over it: the next goes
    on with the cancel, and the verdict stays as it is, without a flag."""
    one = ward(poison_deaths=1)
    facts = one.bench.sending(policy=Policy(deadline_seconds=60))
    facts = one.bench.take(facts, seen(response()), source=Source.create)
    before = one.bench.elapse(facts, 61).run
    free(one)
    life = one.live()
    [claimed] = one.bench.claim(life)
    one.cancels(claimed, life)
    one.bury(61)

    after = one.bench.facts(before.id)
    assert (State.expired, None, before.finished_at) == (
        after.run.state, after.run.needs_attention, after.run.finished_at
    )  # fmt: skip
    assert (State.expired, 1) == (after.attempt.outcome, after.run.attempts)
    assert 0 == one.bench.scalar("SELECT count(*) FROM event WHERE kind = 'set_aside'")
    assert [before.id] == [facts.run.id for facts in one.bench.claim("next")]


def aside(make: Callable[..., Ward]) -> tuple[Ward, int]:
    one = make(poison_deaths=1)
    run_id = one.patient().run.id
    free(one)
    one.dies(run_id)
    return one, run_id


@pytest.mark.problem(19)
def test_a_person_releases_it(ward: Callable[..., Ward]) -> None:
    """A remark does not; a release does, once."""
    one, run_id = aside(ward)
    one.operate(run_id, operator.note("who wrote this tool?"))
    assert [] == one.bench.claim("next")
    one.operate(run_id, poison.release("mended"))

    assert [run_id] == [facts.run.id for facts in one.bench.claim("next")]
    assert one.bench.facts(run_id).run.needs_attention is None
    with pytest.raises(NotAllowed, match="not set aside"):
        one.operate(run_id, poison.release(None))


@pytest.mark.problem(19)
@pytest.mark.failure(17)
@pytest.mark.parametrize(
    "command",
    [operator.cancel("no"), operator.answer_call("1", b"by hand", is_error=False)],
    ids=["cancel", "answer"],
)
def test_a_cancel_or_an_answer_lets_it_go_on(
    ward: Callable[..., Ward], command: operator.Command
) -> None:
    """Both take the step away that killed."""
    one, run_id = aside(ward)
    if command is not None and one.bench.facts(run_id).calls[0].held is False:
        one.bench.execute("UPDATE tool_call SET held = :yes", yes=True)
    one.operate(run_id, command)

    assert [run_id] == [facts.run.id for facts in one.bench.claim("next")]


@pytest.mark.problem(19)
@pytest.mark.failure(17)
def test_its_deadline_ends_it_all_the_same(ward: Callable[..., Ward]) -> None:
    """Every accepted run reaches a verdict: past the deadline a life takes it, to end it."""
    one, run_id = aside(ward)
    deadline = one.bench.facts(run_id).run.deadline_at

    assert [] == one.bench.claim("next", now=later(60))
    one.bench.now = deadline
    [facts] = one.bench.claim("me", now=deadline)
    assert State.expired == one.bench.elapse(facts).run.state
