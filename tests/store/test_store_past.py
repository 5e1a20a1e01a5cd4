"""The ledger as it stood: what was seen then is what is answered afterwards."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from support import NOW, Bench, response, seen

from ledger.core.alphabet import Source
from ledger.core.decide import operator as commands
from ledger.core.folding import as_it_stood
from ledger.core.lifecycle import FINAL
from ledger.core.model import Run
from ledger.core.query import parse_query
from ledger.core.words import said
from ledger.errors import InvalidInput
from ledger.store import past as past_of
from ledger.store.facts import RUN
from ledger.store.finding import runs_of
from ledger.store.past import fleet_at, page_at
from ledger.store.records import Decision

SEEN = ("state", "attempts", "started_at", "finished_at", "took_seconds", "error_code",
        "error_origin", "error_message")  # fmt: skip
ENDS: tuple[dict[str, Any], ...] = (
    {"status": "completed", "output": [{"type": "message"}]},
    {"status": "failed", "error": {"code": "server_error", "message": "it broke"}},
    {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "too fast"}},
    {"status": "in_progress"},
    {"status": "in_progress"},
)
QUERIES = (
    "",
    "status:failed",
    "-status:completed",
    "status:in_progress,queued",
    "attempts:>=2",
    "error_code:rate*",
    "-error_code:server_error",
    "error_origin:remote",
    '"it broke"',
    "-broke",
    "dur:>20s",
    "finished_since:2m",
    "tag.half:even",
    "-tag.half:even status:failed",
)


def step(bench: Bench, chance: random.Random, count: int) -> None:
    """One thing that happens: a run is submitted, sent, seen, restarted or called off."""
    if count < 4 or (count < 14 and chance.random() < 0.3):
        bench.submit(tags={"half": "even" if count % 2 else "odd"})
        return
    run_id = chance.randrange(1, count + 1)
    bench.claim(only=[run_id])
    facts = bench.facts(run_id)
    if facts.run.final:
        command = commands.restart_run(None, None)
    elif chance.random() < 0.1:
        command = commands.cancel("enough")
    else:
        facts = bench.facts(run_id)
        if facts.current is not None and facts.current.remote_id is None:
            bench.arm(facts)
        body = response(remote_id=f"resp_{run_id}_{facts.run.attempts}", **chance.choice(ENDS))
        fresh = bench.facts(run_id)
        current = fresh.current
        assert current is not None
        bench.take(fresh, seen(body, n=current.n), source=Source.create)
        return
    carry_out(bench, run_id, command)


def carry_out(bench: Bench, run_id: int, command: Any) -> None:
    """An operator's command."""
    now = bench.now
    decide = lambda facts: commands.carry_out(facts, command, now=now, actor="operator:ann")  # noqa: E731
    bench.commit(Decision(run_id=run_id, decide=decide))


def present(bench: Bench) -> dict[int, Run]:
    """All runs as they are."""
    ids = bench.store.read(lambda c: c.scalars(sa.select(RUN.c.id)).all())
    return {run.id: run for run in bench.store.read(lambda c: runs_of(c, ids))}


def seen_of(run: Run) -> dict[str, Any]:
    """What can be known of a run as it stood."""
    return {name: getattr(run, name) for name in SEEN}


def stood(bench: Bench, at: datetime, query: str = "", limit: int = 1_000) -> dict[int, Run]:
    """The runs that matched then, as they stood, in order."""
    terms = parse_query(query, now=at)

    def read(connection: sa.Connection) -> dict[int, Run]:
        page = page_at(connection, terms, at, limit=limit, before=None)
        runs = {run.id: run for run in runs_of(connection, [n for n, _ in page])}
        return {n: as_it_stood(runs[n], past) if past else runs[n] for n, past in page}

    return bench.store.read(read)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(2))
def test_what_is_answered_afterwards_is_what_was_seen_then(bench: Bench, seed: int) -> None:
    """Over random histories with restarts and cancels, at every moment and between them."""
    chance = random.Random(seed)
    snapshots: list[tuple[datetime, dict[int, Run]]] = [(NOW - timedelta(seconds=1), {})]
    for _ in range(70):
        bench.now += timedelta(seconds=chance.randrange(1, 12))
        step(bench, chance, len(snapshots[-1][1]))
        snapshots.append((bench.now, present(bench)))
    restarted = [
        n for n, run in snapshots[-1][1].items()
        if any(n in then and then[n].final and then[n].attempts < run.attempts
               for _, then in snapshots)
    ]  # fmt: skip
    assert restarted
    for moment, then in chance.sample(snapshots, 12):
        at = moment + timedelta(seconds=chance.choice([0.0, 0.5]))
        found = stood(bench, at)
        assert {n: seen_of(run) for n, run in then.items()} == {
            n: seen_of(run) for n, run in found.items()
        }
        fleet = bench.store.read(lambda c, at=at: fleet_at(c, at))
        states = Counter(str(run.state) for run in then.values())
        assert {**states, "unknown": 0} == {k: v for k, v in fleet.items() if v or k == "unknown"}
        for query in QUERIES:
            terms = parse_query(query, now=at)
            wanted = {n for n, run in then.items() if matched(run, terms)}
            assert wanted == set(stood(bench, at, query)), query


def matched(run: Run, terms: Any) -> bool:
    """Whether a run as it was seen matches, told in other words than the ledger's."""
    held = {
        "status": lambda t: run.state in t.values,
        "attempts": lambda t: run.attempts >= 2,
        "error_code": lambda t: (
            run.error_code in t.values
            or any((run.error_code or "").startswith(p) for p in t.prefixes)
        ),
        "error_origin": lambda t: run.error_origin in t.values,
        "words": lambda t: t.values[0] in (run.error_message or ""),
        "dur": lambda t: (run.took_seconds or 0) > 20,
        "finished_since": lambda t: run.finished_at is not None and run.finished_at >= t.moment,
        "tag.half": lambda t: run.tags["half"] in t.values,
    }
    return all(held[term.name](term) != term.negated for term in terms)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Überlast [50%] *?", "ÜBERLAST"),
        ("ÜBERLAST [50%] *?", "überlast [50%] *"),
        ("Ошибка \\d_", "оШИБКА \\D_"),
        ("aber It Broke", "iT bROKE"),
        ("ÉT\u0130 ß \u017f \u212a", "é"),
    ],
)
def test_words_are_found_in_any_case_of_letters(bench: Bench, message: str, word: str) -> None:
    """Now, and as it stood: on either database the same, and no sign is a wildcard."""
    facts = bench.sending()
    error = {"code": "server_error", "message": message}
    bench.take(facts, seen(response("failed", error=error)), source=Source.create)
    ended, quoted = bench.now, word.replace("\\", "\\\\")
    asked = ((quoted, [facts.run.id]), (f"{quoted}x", []), (f"%{quoted}", []))
    for again in (False, True):
        if again:
            bench.now += timedelta(seconds=9)
            carry_out(bench, facts.run.id, commands.restart_run(None, None))
            bench.execute("DELETE FROM fingerprint")
        for query, found in asked:
            assert found == list(stood(bench, ended, f'"{query}"')), (query, again)


@pytest.mark.parametrize("word", ["ük", "és", "\u0130k", "é.", "é%", "é[", "é*"])
def test_a_word_that_is_not_there_is_not_found(bench: Bench, word: str) -> None:
    """Of one letter, another that looks alike is no case; signs stand for themselves."""
    facts = bench.sending()
    error = {"code": "server_error", "message": "UK \u212a \u017f ÉS e\u017f Éa"}
    bench.take(facts, seen(response("failed", error=error)), source=Source.create)
    there = said(word, error["message"])
    assert there == (word == "és")
    assert ([facts.run.id] if there else []) == list(stood(bench, bench.now, f'"{word}"'))


def test_pages_of_the_past_have_the_order_of_lists(bench: Bench) -> None:
    """Those that stand as they are and those that were under way, together."""
    chance = random.Random(7)
    for count in range(60):
        bench.now += timedelta(seconds=3)
        step(bench, chance, min(count, len(present(bench))))
    at = bench.now - timedelta(seconds=60)
    whole = list(stood(bench, at))
    pages: list[int] = []
    with bench.store.reading() as connection:
        before = None
        while page := page_at(connection, (), at, limit=3, before=before):
            pages += [n for n, _ in page]
            before = pages[-1]

    assert 4 < len(whole)
    assert whole == pages == sorted(whole, reverse=True)


def test_a_run_that_is_gone_is_counted_as_unknown(bench: Bench) -> None:
    """It was there, and nobody knows any more how it stood."""
    bench.submit()
    with bench.store.engine.execution_options(write=True).begin() as connection:
        row = {
            "run_id": 99, "key": "old", "origin_ledger": "x", "origin_run": 99, "last_seq": 3,
            "request_digest": b"x", "head": b"x", "state": "completed", "actor": "a", "counts": {},
            "reason": "old", "pruned_at": NOW, "created_at": NOW - timedelta(days=2),
            "finished_at": NOW - timedelta(days=1), "prev_hash": b"x", "salt": b"x", "attempts": 1,
            "provider": "responses",
        }  # fmt: skip
        connection.execute(sa.insert(past_of.TOMBSTONE).values(row))

    def unknown(at: datetime) -> int:
        return bench.store.read(lambda c: fleet_at(c, at))["unknown"]

    assert (0, 1) == (unknown(NOW - timedelta(days=3)), unknown(NOW - timedelta(days=2)))


def test_too_many_under_way_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    bench.submit_many(4)
    monkeypatch.setattr(past_of, "UNDER_WAY_MAX", 3)
    with pytest.raises(InvalidInput, match="ask for fewer"):
        stood(bench, NOW)
    assert 0 == len(stood(bench, NOW, "since:1h until:30m"))
    assert not FINAL & {run.state for run in present(bench).values()}
