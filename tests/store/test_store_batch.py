"""The protocol of a batch: bad, stale and moved records, and none of them harms another."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from choosing import examples
from support import NOW, Bench, context, function_call, note, response, seen

from ledger.core.alphabet import Attention, EventKind, RemoteState, Source, State, Trigger
from ledger.core.model import Change, Facts
from ledger.core.outcome import Elapsed, Observed, dump_outcome, load_outcome
from ledger.core.plan import next_step
from ledger.core.steps import Settle
from ledger.errors import BadRecord, NotAllowed, NotFound
from ledger.store.evidence import Fact, Filing
from ledger.store.queries import events_of, payloads_of
from ledger.store.records import Decision, Guard, Rejected, Stale, Written

GOOD = examples(300, all_of_them=1_000)
Spoil = Callable[[Change], Change]


def with_run(**fields: Any) -> Spoil:
    """A change whose run has these fields in the end."""
    return lambda change: replace(
        change, after=replace(change.after, run=replace(change.after.run, **fields))
    )


def with_remote(**fields: Any) -> Spoil:
    """A change whose first remote has these fields in the end."""

    def spoil(change: Change) -> Change:
        first, *rest = change.after.remotes
        return replace(
            change, after=replace(change.after, remotes=(replace(first, **fields), *rest))
        )

    return spoil


def with_event(**fields: Any) -> Spoil:
    """A change whose event has these fields."""
    return lambda change: replace(change, events=(replace(change.events[0], **fields),))


SPOILS: dict[str, Spoil] = {
    "an integer that no column holds": with_run(payload_seq=2**70),
    "an attempt count beyond 32 bits": with_remote(round=2**70),
    "the id of another run's remote": with_remote(remote_id="resp_taken"),
    "the marker of another run's remote": with_remote(marker="taken"),
    "an illegal change of state": with_run(state=State.cancelling, finished_at=NOW),
    "final without an end": with_run(state=State.completed),
    "an illegal triple": with_event(
        from_state=State.completed, trigger=Trigger.start, to_state=State.queued
    ),
    "a word that the alphabet lacks": with_run(needs_attention="nonsense"),
    "a payload that is not there": with_event(payloads=(("body", 99),)),
    "a remote id too long for an index": with_remote(remote_id=secrets.token_hex(20_000)),
}


def failing(facts: Facts) -> Change:
    """A decision that finds itself without ground."""
    raise NotAllowed(f"run {facts.run.id} cannot do that")


@pytest.mark.problem(26)
def test_bad_records_do_not_harm_the_others(bench: Bench) -> None:
    """Each bad record gets a typed error and flags its run; the good ones around it commit."""
    good = bench.submit_many(GOOD)
    holder = bench.take(
        bench.sending(), seen(response(remote_id="resp_taken")), source=Source.create
    )
    bench.execute("UPDATE remote SET marker = 'taken' WHERE run_id = :id", id=holder.run.id)
    bad = bench.submit_many(len(SPOILS))
    records = [Decision(run_id=f.run.id, decide=note, change=note(f)) for f in good]
    step = GOOD // len(SPOILS)
    for index, (facts, spoil) in enumerate(zip(bad, SPOILS.values(), strict=True)):
        change = spoil(note(facts))
        record = Decision(
            run_id=facts.run.id, decide=lambda _, change=change: change, change=change
        )
        records.insert(index * step, record)

    results = bench.commit_all(records)

    told = {r.run_id: result for r, result in zip(records, results, strict=True)}
    assert all(isinstance(told[facts.run.id], Written) for facts in good)
    for facts, why in zip(bad, SPOILS, strict=True):
        result = told[facts.run.id]
        if why == "a remote id too long for an index" and bench.store.dialect == "sqlite":
            assert isinstance(result, Written)
            continue
        assert isinstance(result, Rejected), why
        assert isinstance(result.error, BadRecord), why
        stored = bench.facts(facts.run.id)
        assert Attention.unstorable == stored.run.needs_attention, why
        assert State.queued == stored.run.state, why
    assert () == bench.verify().broken


def test_an_error_inside_a_decision_stops_that_record_alone(bench: Bench) -> None:
    """A decision that raises is told so, whatever it raises; the rest of its batch commits."""
    one, two, three = bench.submit_many(3)

    def broken(facts: Facts) -> Change:
        raise KeyError("an error of ours")

    results = bench.commit_all(
        [
            Decision(run_id=one.run.id, decide=failing),
            Decision(run_id=two.run.id, decide=broken),
            Decision(run_id=three.run.id, decide=note),
            Decision(run_id=10**9, decide=note),
        ]
    )

    refused, failed, written, missing = results
    assert isinstance(refused, Rejected)
    assert isinstance(refused.error, NotAllowed)
    assert isinstance(failed, Rejected)
    assert isinstance(failed.error, BadRecord)
    assert isinstance(written, Written)
    assert isinstance(missing, Rejected)
    assert isinstance(missing.error, NotFound)
    assert Attention.unstorable == bench.facts(two.run.id).run.needs_attention
    assert bench.facts(one.run.id).run.needs_attention is None


HOSTILE = "a\x00b\ud800c\U0001f600"


@pytest.mark.problem(26)
@pytest.mark.failure(14)
def test_text_that_no_database_takes_survives_as_a_projection(bench: Bench) -> None:
    """NULs and lone surrogates from upstream are stored, the bytes verbatim, and still verify."""
    facts = bench.sending()
    error = {"code": HOSTILE, "message": HOSTILE, "extra": {"\x00": float("inf")}}
    body = response("failed", error=error, model=HOSTILE)
    outcome = seen(body)
    observation = replace(outcome.observation, request_id=HOSTILE)

    after = bench.take(facts, Observed(n=1, observation=observation), source=Source.create)

    stored = bench.facts(after.run.id)
    assert State.failed == stored.run.state
    assert "a\ufffdb?c\U0001f600" == stored.run.error_code
    observed = stored.remotes[0].observed
    assert observed is not None
    assert (
        body == bench.store.read(lambda c: payloads_of(c, stored.run.id, [observed]))[observed].body
    )
    assert () == bench.verify().broken


@pytest.mark.problem(26)
@pytest.mark.failure(14)
def test_a_projection_that_jsonb_refuses_is_stored_without_its_oddities(bench: Bench) -> None:
    """Detail and tags with NULs, infinities and nesting are cleaned, never lost."""
    facts = bench.submit(tags={"a\x00": "b\ud800"})
    draft = note(facts)
    event = replace(draft.events[0], detail={"n": float("nan"), "t": ["\x00", {"x": 2**80}]})
    change = replace(draft, events=(event,))
    result = bench.commit(Decision(run_id=facts.run.id, decide=lambda _: change, change=change))

    assert isinstance(result, Written)
    stored = bench.store.read(lambda c: events_of(c, facts.run.id))[-1]
    assert {"n": None, "t": ["\ufffd", {"x": 2**80}]} == stored.detail
    assert {"a\ufffd": "b?"} == bench.facts(facts.run.id).run.tags


# Ownership.


@pytest.mark.problem(1, 13)
@pytest.mark.failure(25, 33)
def test_a_stale_owner_writes_nothing_and_its_outcome_reaches_the_next(bench: Bench) -> None:
    """What a life learned after it lost the run is filed once, and decided on by the next owner."""
    facts = bench.sending()
    outcome = seen(response("in_progress", remote_id="resp_late"))
    record = bench.decision(facts, outcome, source=Source.create, evidence=dump_outcome(outcome))
    [taken] = bench.claim("other", dead=["me"])
    before = bench.facts(facts.run.id)

    assert Stale() == bench.commit(record)
    assert Stale() == bench.commit(record)

    stored = bench.facts(facts.run.id)
    assert before.run == stored.run
    assert before.remotes == stored.remotes
    assert 1 == bench.scalar("SELECT count(*) FROM evidence")
    assert [outcome] == [load_outcome(item.body) for item in stored.evidence]
    after = bench.take(stored, Elapsed(), life="other")
    assert ("resp_late", RemoteState.confirmed) == (
        after.remotes[0].remote_id,
        after.remotes[0].state,
    )
    assert () == after.evidence == bench.facts(facts.run.id).evidence
    assert taken.fence == after.fence


def test_evidence_for_a_run_that_nobody_watches_brings_it_back(bench: Bench) -> None:
    """An outcome that arrives after the verdict is still read: the object may need a cancel."""
    facts = bench.sending()
    outcome = seen(response("in_progress", remote_id="resp_late"))
    record = bench.decision(facts, outcome, source=Source.create, evidence=dump_outcome(outcome))
    [other] = bench.claim("other", dead=["me"])
    doubt = bench.take(other, Elapsed(), life="other")
    bench.now = doubt.remotes[0].settle_until
    over = bench.take(doubt, Elapsed(), life="other")
    assert (State.failed, 0) == (over.run.state, bench.scalar("SELECT count(*) FROM watch"))

    assert Stale() == bench.commit(record)

    [again] = bench.claim("third")
    assert again.fence > other.fence
    assert isinstance(next_step(again, context(bench.now)), Settle)
    after = bench.take(again, Elapsed(), life="third")
    assert (RemoteState.confirmed, False) == (after.remotes[0].state, after.remotes[0].settled)
    assert 1 == bench.scalar("SELECT count(*) FROM watch")


def test_evidence_that_only_bears_on_a_settled_run_is_read_and_let_go(bench: Bench) -> None:
    """A run that evidence brought back without need leaves the watch again."""
    facts = bench.sending()
    outcome = seen(response("completed", remote_id="resp_1", output=[{"type": "message"}]))
    late = bench.decision(facts, outcome, source=Source.create, evidence=dump_outcome(outcome))
    bench.take(facts, outcome, source=Source.create)

    assert Stale() == bench.commit(late)

    [again] = bench.claim("third")
    after = bench.take(again, Elapsed(), life="third")
    assert (State.completed, 0) == (after.run.state, bench.scalar("SELECT count(*) FROM watch"))


@pytest.mark.problem(15)
@pytest.mark.failure(16)
def test_evidence_that_arrives_meanwhile_is_not_overlooked(bench: Bench) -> None:
    """Evidence filed between load and commit comes back with the facts of that commit."""
    facts = bench.sending()
    body = dump_outcome(seen(response("queued", remote_id="resp_1")))
    fact = Fact("life", "key", facts.run.id, body)
    filing = Filing(bench.store.engine.dialect)
    bench.committer.run(lambda c: filing.add(c, [fact], NOW))
    bench.operate(facts)

    after = bench.take(facts, seen(response("in_progress")), source=Source.create)

    assert [body] == [item.body for item in after.evidence]
    assert isinstance(next_step(after, context()), Settle)


def test_a_note_between_load_and_commit_loses_nothing(bench: Bench) -> None:
    """A life's decision is made again on the facts that an operator moved meanwhile."""
    facts = bench.sending()
    noted = bench.operate(facts)
    assert isinstance(noted, Written)

    after = bench.take(facts, seen(response("in_progress")), source=Source.create)

    assert ("resp_1", State.in_progress) == (after.remotes[0].remote_id, after.run.state)
    kinds = [event.kind for event in bench.store.read(lambda c: events_of(c, facts.run.id))]
    assert [EventKind.noted, EventKind.create_confirmed] == kinds[-2:]
    assert () == bench.verify().broken


def test_an_operators_record_needs_no_ownership(bench: Bench) -> None:
    """A command goes through under any owner, on the version that is there."""
    facts = bench.owned()
    for _ in range(3):
        assert isinstance(bench.operate(facts), Written)

    stored = bench.facts(facts.run.id)
    assert (facts.run.version + 3, "me", facts.fence) == (
        stored.run.version,
        stored.owner,
        stored.fence,
    )


@pytest.mark.problem(1)
@pytest.mark.failure(33)
def test_a_wrong_fence_is_as_stale_as_a_wrong_owner(bench: Bench) -> None:
    """The same life under an older fence writes nothing."""
    facts = bench.owned()
    change = note(facts)
    record = Decision(
        run_id=facts.run.id, decide=note, change=change, guard=Guard("me", facts.fence - 1)
    )

    assert Stale() == bench.commit(record)
    assert facts.run == bench.facts(facts.run.id).run


def test_a_restart_by_policy_is_one_transaction_with_both_steps(bench: Bench) -> None:
    """A run that expires with a restart left passes through its end within one commit."""
    facts = bench.sending()
    after = bench.take(facts, seen(response("expired")), source=Source.create)

    assert (State.queued, 2) == (after.run.state, after.run.attempts)
    moved = [
        (event.from_state, event.to_state)
        for event in bench.store.read(lambda c: events_of(c, facts.run.id))
        if event.to_state
    ]
    assert [(State.queued, State.expired), (State.expired, State.queued)] == moved
    assert State.expired == bench.facts(facts.run.id).attempts[0].outcome


def test_facts_after_a_commit_are_those_in_the_database(bench: Bench) -> None:
    """What a commit gives back equals what a load finds, calls and payloads included."""
    facts = bench.sending()
    body = response("completed", output=[function_call("call_0"), function_call("call_1", "g")])
    after = bench.take(facts, seen(body), source=Source.create)

    assert (State.requires_action, 2) == (after.run.state, len(after.calls))
    assert bench.facts(facts.run.id) == after
