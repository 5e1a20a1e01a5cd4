"""Accepting runs: one key is one run, for ever and from everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support import NOW, Bench, later

from ledger.core.alphabet import EventKind, RemoteState, State
from ledger.core.policy import Policy
from ledger.errors import Conflict
from ledger.store.queries import events_of
from ledger.store.records import Rejected, Result, Written


def test_a_new_run_is_stored_whole(bench: Bench) -> None:
    """A submission gives a queued run with its request, first attempt, intent, event and watch."""
    facts = bench.submit(key="k", tags={"team": "search"}, policy=Policy(deadline_seconds=60))

    stored = bench.facts(facts.run.id)
    assert facts == stored
    assert (State.queued, NOW, later(60)) == (
        stored.run.state,
        stored.run.created_at,
        stored.run.deadline_at,
    )
    assert {"team": "search"} == stored.run.tags
    assert [RemoteState.intended] == [remote.state for remote in stored.remotes]
    events = bench.store.read(lambda c: events_of(c, facts.run.id))
    assert [EventKind.accepted] == [event.kind for event in events]
    assert 1 == bench.scalar("SELECT count(*) FROM watch WHERE owner IS NULL")


@pytest.mark.problem(13)
@pytest.mark.failure(25)
def test_the_same_key_and_request_give_the_same_run(bench: Bench) -> None:
    """Submitting again is harmless: the existing run comes back, not created."""
    record = bench.submission(key="k")
    first, second = bench.commit(record), bench.commit(record)

    assert isinstance(first, Written)
    assert isinstance(second, Written)
    assert (True, False) == (first.created, second.created)
    assert first.facts.run.id == second.facts.run.id
    assert 1 == bench.scalar("SELECT count(*) FROM run")


def test_a_taken_key_with_another_request_is_a_conflict(bench: Bench) -> None:
    """Another request under a used key is refused, and the run that has it is named."""
    facts = bench.submit(key="k")
    result = bench.commit(bench.submission(key="k", request=b'{"input":"other"}'))

    assert isinstance(result, Rejected)
    assert isinstance(result.error, Conflict)
    assert f"run {facts.run.id}" in result.error.message


def test_the_key_of_a_pruned_run_stays_taken(bench: Bench) -> None:
    """A tombstone keeps its key: the same request does not come to life again."""
    bench.tombstone(77, "k", 3)
    result = bench.commit(bench.submission(key="k"))

    assert isinstance(result, Rejected)
    assert isinstance(result.error, Conflict)


def test_a_thousand_submissions_are_one_batch(bench: Bench) -> None:
    """A thousand runs commit together, each with its own number and a verified history."""
    results = bench.commit_all([bench.submission() for _ in range(1_000)])

    ids = {result.facts.run.id for result in results if isinstance(result, Written)}
    assert 1_000 == len(ids)
    assert 1 == bench.scalar("SELECT count(*) FROM batch")
    checked = bench.verify()
    assert (1_000, 1_000, ()) == (checked.runs, checked.events, checked.broken)


def test_one_key_twice_in_one_batch_is_one_run(bench: Bench) -> None:
    """Two callers whose submissions meet in one batch get the same run."""
    record = bench.submission(key="k")
    first, second, other = bench.commit_all([record, record, bench.submission()])

    assert isinstance(first, Written)
    assert isinstance(second, Written)
    assert isinstance(other, Written)
    assert first.facts.run.id == second.facts.run.id != other.facts.run.id
    assert [True, False] == [first.created, second.created]


@pytest.mark.problem(13, 23)
def test_two_connections_that_submit_one_key_at_once_make_one_run(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """Of several processes that submit one key at the same moment, exactly one creates the run."""
    benches = [bench, *(make_bench() for _ in range(3))]
    record = bench.submission(key="k")
    barrier = threading.Barrier(len(benches))
    results: list[Result] = []

    def submit(one: Bench) -> None:
        barrier.wait()
        results.append(one.commit_all([record, one.submission()])[0])

    threads = [threading.Thread(target=submit, args=(one,)) for one in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    written = [result for result in results if isinstance(result, Written)]
    assert len(benches) == len(written)
    assert 1 == sum(result.created for result in written)
    assert 1 == len({result.facts.run.id for result in written})
    assert len(benches) + 1 == bench.scalar("SELECT count(*) FROM run")
