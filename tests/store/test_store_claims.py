"""Ownership: one owner at a time, a fence that only rises, shares that are fair."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support import NOW, Bench, later, note, response, seen

from ledger.core.alphabet import Source, State
from ledger.core.decide.operator import carry_out, restart_run
from ledger.store.claims import claim, fair_share, owned, release, still_owned, versions
from ledger.store.lives import Life
from ledger.store.records import Decision, Guard, Stale, Written


def test_a_claim_takes_free_runs_and_gives_their_facts(bench: Bench) -> None:
    """What nobody owns is owned afterwards, under a higher fence, with all its facts."""
    accepted = bench.submit_many(3)
    claimed = bench.claim()

    assert [facts.run for facts in accepted] == [facts.run for facts in claimed]
    assert {"me"} == {facts.owner for facts in claimed}
    assert [facts.fence + 1 for facts in accepted] == [facts.fence for facts in claimed]
    assert [] == bench.claim("other")
    assert {facts.run.id for facts in claimed} == set(bench.store.read(lambda c: owned(c, "me")))


def test_the_most_urgent_runs_come_first(bench: Bench) -> None:
    """With little room a life takes what was due longest ago."""
    late, early = bench.submit_many(2)
    bench.execute("UPDATE watch SET due_at = '2020-01-01' WHERE run_id = :id", id=early.run.id)

    assert [early.run.id] == [facts.run.id for facts in bench.claim(limit=1)]
    assert [late.run.id] == [facts.run.id for facts in bench.claim(limit=1)]


@pytest.mark.problem(23)
def test_lives_that_claim_at_once_get_disjoint_sets(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """Two lives that claim in turns, at the same time, share all runs and none twice."""
    bench.submit_many(300)
    names = ["one", "two", "three"]
    benches = {name: make_bench() for name in names}
    taken: dict[str, list[int]] = {name: [] for name in names}
    barrier = threading.Barrier(len(names))

    def work(name: str) -> None:
        barrier.wait()
        while claimed := benches[name].claim(name, limit=20):
            taken[name] += [facts.run.id for facts in claimed]

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = sorted(run_id for runs in taken.values() for run_id in runs)
    assert len(set(everything)) == len(everything)
    # SKIP LOCKED may leave a run that another transaction looked at; the next sweep takes it.
    rest = [facts.run.id for facts in bench.claim("late")]
    assert 300 == len(everything) + len(rest)


@pytest.mark.problem(1, 3)
@pytest.mark.failure(2, 33)
def test_every_change_of_owner_raises_the_fence(bench: Bench) -> None:
    """Claim, death, release and claim again: each owner has a higher fence than the one before."""
    run_id = bench.submit().run.id
    fences = [bench.facts(run_id).fence]
    for life, dead in (("a", []), ("b", ["a"]), ("c", ["b"])):
        [facts] = bench.claim(life, dead=dead)
        fences.append(facts.fence)
    bench.committer.run(lambda c: release(c, "c"))
    [facts] = bench.claim("a")
    fences.append(facts.fence)

    assert sorted(set(fences)) == fences
    assert [] == bench.claim("x", dead=["b", "c"])


@pytest.mark.problem(1)
def test_the_fence_of_a_watch_made_anew_is_higher_than_any_before(bench: Bench) -> None:
    """After a verdict and a restart no old guard fits again."""
    facts = bench.owned()
    run_id = facts.run.id
    fences = [facts.fence]
    for life in ("a", "b", "c"):
        bench.committer.run(lambda c: release(c, "me"))
        [facts] = bench.claim(life, dead=["me", "a", "b"], only=[run_id])
        fences.append(facts.fence)
    armed = bench.arm(facts, life="c")
    assert isinstance(armed, Written)
    over = bench.take(armed.facts, seen(response("cancelled")), source=Source.create, life="c")
    assert (State.cancelled, 0) == (over.run.state, bench.scalar("SELECT count(*) FROM watch"))

    def again(fresh):  # type: ignore[no-untyped-def]
        return carry_out(fresh, restart_run(None, None), now=NOW, actor="operator:ann")

    restarted = bench.commit(Decision(run_id=run_id, decide=again))
    assert isinstance(restarted, Written)
    [claimed] = bench.claim("d")

    assert max(fences) < restarted.facts.fence < claimed.fence


@pytest.mark.problem(1)
@pytest.mark.failure(33)
def test_a_stale_fence_writes_nothing(bench: Bench) -> None:
    """The former owner's record leaves run, history and payloads as they were."""
    facts = bench.owned()
    bench.claim("other", dead=["me"])
    count = "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM payload)"
    before = (bench.facts(facts.run.id), bench.scalar(count))
    record = Decision(
        run_id=facts.run.id, decide=note, change=note(facts), guard=Guard("me", facts.fence)
    )

    assert Stale() == bench.commit(record)
    assert before == (bench.facts(facts.run.id), bench.scalar(count))


@pytest.mark.problem(7)
def test_ownership_can_be_asked_just_before_an_effect(bench: Bench) -> None:
    """still_owned knows owner and fence; a claim by another ends it."""
    facts = bench.owned()
    run_id, fence = facts.run.id, facts.fence
    assert bench.committer.run(lambda c: still_owned(c, "me", run_id, fence))
    assert not bench.committer.run(lambda c: still_owned(c, "me", run_id, fence - 1))
    bench.claim("other", dead=["me"])
    assert not bench.committer.run(lambda c: still_owned(c, "me", run_id, fence))


def test_released_runs_are_free_at_once(bench: Bench) -> None:
    """A life that drains gives back what is asked, and the next claim takes it."""
    one, two = bench.submit_many(2)
    bench.claim()
    bench.committer.run(lambda c: release(c, "me", run_ids=[one.run.id]))
    assert [one.run.id] == [facts.run.id for facts in bench.claim("other")]
    bench.committer.run(lambda c: release(c, "me"))
    assert [two.run.id] == [facts.run.id for facts in bench.claim("other")]


@pytest.mark.failure(11)
def test_a_fair_share_is_an_equal_part_and_a_fifth(bench: Bench) -> None:
    """Alone a life may own all; among others its part plus a fifth, whoever drains not counted."""
    bench.submit_many(100)

    def share(life: str) -> int:
        return bench.store.read(lambda c: fair_share(c, life))

    def begin(name: str, role: str = "daemon") -> None:
        life = Life(id=name, role=role, version="1")
        bench.committer.run(lambda c: bench.store.lives.begin(c, life, NOW))

    assert 100 == share("a")
    begin("a")
    begin("waiting", role="wait")
    assert 100 == share("a")
    begin("b")
    assert 60 == share("a")
    begin("c")
    assert 40 == share("a") == share("c")
    bench.execute("UPDATE worker SET drain = true WHERE id = 'c'")
    assert 60 == share("a")
    bench.committer.run(lambda c: bench.store.lives.end(c, "b", "drained", later(1)))
    assert 100 == share("a")


def test_versions_tell_which_runs_moved(bench: Bench) -> None:
    """The versions of many runs are read at once; unknown runs are left out."""
    one, two = bench.submit_many(2)
    bench.operate(two)
    ids = [one.run.id, two.run.id, 10**9]

    assert {one.run.id: 1, two.run.id: 2} == bench.store.read(lambda c: versions(c, ids))


def test_only_the_named_runs_are_claimed(bench: Bench) -> None:
    """A caller that waits for certain runs drives those alone."""
    one, _ = bench.submit_many(2)
    claimed = bench.committer.run(lambda c: claim(c, "me", dead=[], only=[one.run.id]))

    assert [one.run.id] == [facts.run.id for facts in claimed]
