"""Lives share the work, take over from the dead, and use what a stale one still learned."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger import Ledger, Run, RunFailed
from ledger.clock import utcnow
from ledger.core.decide import arm, decide
from ledger.core.model import Facts
from ledger.core.outcome import Failed, Observed, Outcome, dump_outcome
from ledger.core.pacing import Look
from ledger.core.plan import next_step
from ledger.core.reading import read_object
from ledger.core.steps import Context, Create
from ledger.errors import RequestRefused
from ledger.service import driver
from ledger.store.claims import claim, release
from ledger.store.records import Decision, Guard, Result, Stale, Written

DONE = ("completed", 1, None, None, None)


class Hand:
    """A life that is driven by hand."""

    def __init__(self, rig: Rig, life: str) -> None:
        self.rig, self.life = rig, life

    def claim(self, run: Run, *, dead: tuple[str, ...] = ()) -> Facts:
        """Take a run, from the dead if need be; this raises its fence."""
        taken = self.rig.ledger.writer.run(
            lambda c: claim(c, self.life, dead=dead, limit=1, only=[run.id])
        )
        return taken.result()[0]

    def context(self) -> Context:
        """This life, now."""
        now = utcnow()
        return Context(now=now, life=self.life, tools={}, look=Look(next_at=now))

    def arm(self, facts: Facts) -> Facts:
        """Commit what must be durable before the next step."""
        context = self.context()
        step = next_step(facts, context)
        assert isinstance(step, Create)
        written = self._commit(facts, lambda fresh: arm(fresh, step, context), None)
        assert isinstance(written, Written)
        return written.facts

    def take(self, facts: Facts, outcome: Outcome) -> Result:
        """Report what the call brought."""
        context = self.context()
        evidence = dump_outcome(outcome)
        return self._commit(facts, lambda fresh: decide(fresh, outcome, context), evidence)

    def _commit(self, facts: Facts, make: Any, evidence: bytes | None) -> Result:
        record = Decision(
            run_id=facts.run.id,
            decide=make,
            change=make(facts),
            guard=Guard(self.life, facts.fence),
            evidence=lambda: evidence,
        )
        return self.rig.ledger.writer.put(record).result()

    def release(self) -> None:
        """Give everything back."""
        self.rig.ledger.writer.run(lambda c: release(c, self.life)).result()


def create_upstream(facts: Facts) -> Observed:
    """The POST that the first life had under way."""
    remote = facts.remotes[0]
    with OpenAI() as client:
        made = client.responses.with_raw_response.create(
            model="sim-ok",
            input="What is 2+2?",
            background=True,
            metadata={"runward": remote.marker},
        )
    return Observed(n=1, observation=read_object(remote.kind, made.content))


@pytest.mark.problem(1, 8)
@pytest.mark.failure(24, 33)
def test_what_a_stale_life_learned_is_used(make_rig: MakeRig) -> None:
    """A create's reply that reaches a life which has lost the run changes nothing by itself; the
    new owner reads it, and sends no second create."""
    rig = make_rig(settle_seconds=60)
    run = rig.submit("sim-ok")
    first, second = Hand(rig, "a" * 32), Hand(rig, "b" * 32)
    armed = first.arm(first.claim(run))
    taken = second.claim(run, dead=(first.life,))

    late = first.take(armed, create_upstream(armed))

    assert isinstance(late, Stale)
    assert armed.fence < taken.fence
    assert None is rig.remotes(run)[0]["remote_id"]
    assert 1 == rig.count("evidence")
    second.release()
    done = rig.finish(run)[0]
    assert DONE == verdict(done)
    assert "4" == rig.ledger.result(run)
    assert 1 == len(rig.made(run))
    assert 1 == rig.kinds(run).count("create_sending")


@SQLITE
def test_a_stale_refusal_is_used_too(make_rig: MakeRig) -> None:
    """A refusal that a stale life brings spares the settle window: nothing was made."""
    rig = make_rig(settle_seconds=60)
    run = rig.submit("sim-ok")
    first, second = Hand(rig, "a" * 32), Hand(rig, "b" * 32)
    armed = first.arm(first.claim(run))
    second.claim(run, dead=(first.life,))
    first.take(armed, Failed.of(1, "create", RequestRefused("no such model")))
    second.release()

    done = rig.finish(run)[0]

    assert ("failed", "remote") == (done.state, done.error_origin)


@pytest.mark.problem(8)
@pytest.mark.failure(24)
@SQLITE
def test_a_create_left_by_a_dead_life_is_in_doubt(rig: Rig) -> None:
    """Armed, and nothing ever heard: the create is not sent again blindly."""
    run = rig.submit("sim-ok")
    first = Hand(rig, "a" * 32)
    first.arm(first.claim(run))
    first.release()

    done = rig.finish(run)[0]

    assert ("failed", "create_unknown") == (done.state, done.error_code)
    assert [] == rig.sim.log()


@pytest.mark.problem(30)
def test_two_lives_share_the_work(rig: Rig) -> None:
    """Two lives on one database drive all runs to their end, each run by one of them at a time."""
    runs = [rig.submit("sim-goes-back") for _ in range(12)]

    with Ledger.open(rig.url, poll_seconds=0.05) as ledger:
        other = Rig(rig.url, rig.sim, ledger)
        with rig.daemon(), other.daemon():
            more = [rig.submit("sim-ok", "assistants") for _ in range(6)]
            rig.expect(lambda: all(rig.ledger.get(run).final for run in runs + more))

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs + more}
    assert {1} == {len(rig.made(run, "responses.create")) for run in runs}
    assert ["drained", "drained"] == [row[0] for row in rig.rows('SELECT "end" FROM worker')]


@SQLITE
def test_a_waiter_reads_where_a_daemon_drives(rig: Rig) -> None:
    """While a daemon is at work, `wait` starts no life of its own."""
    with rig.daemon():
        run = rig.submit("sim-ok")
        rig.ledger.wait(run, timeout=10)

    assert ["daemon"] == [row[0] for row in rig.rows("SELECT role FROM worker")]


@SQLITE
def test_a_command_reaches_the_owner_at_once(rig: Rig) -> None:
    """A cancel is carried out by the daemon that owns the run, without waiting for a sweep."""
    with rig.daemon(sweep_seconds=30.0):
        run = rig.submit("sim-stuck-in_progress")
        rig.expect(lambda: rig.ledger.get(run).state == "in_progress")
        rig.ledger.cancel(run)
        rig.expect(lambda: rig.ledger.get(run).final, seconds=5)

    assert "cancelled" == rig.ledger.get(run).state


@SQLITE
def test_a_poisonous_run_does_not_stop_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of ours over one run leaves the others on their way, and is logged."""
    poisonous = rig.submit("sim-ok")
    runs = [rig.submit("sim-ok") for _ in range(3)]
    step = driver.next_step

    def next_step(facts: Facts, context: Context) -> Any:
        if facts.run.id == poisonous.id:
            raise RuntimeError("poison")
        return step(facts, context)

    monkeypatch.setattr(driver, "next_step", next_step)
    with rig.daemon():
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))

    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert "queued" == rig.ledger.get(poisonous).state
    assert "poison" in caplog.text


@SQLITE
def test_results_of_others_are_raised_as_they_are(rig: Rig) -> None:
    """A run that another life failed raises RunFailed here."""
    with rig.daemon():
        run = rig.submit("sim-fail-server_error")
        rig.expect(lambda: rig.ledger.get(run).final)

    with pytest.raises(RunFailed, match="server_error"):
        rig.ledger.result(run)
