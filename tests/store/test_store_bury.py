"""A dead life's runs: all of them are free at once, however few one claim takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support import NOW, POSTGRESQL, Bench

from ledger.clock import wait_until
from ledger.store.claims import bury, claim
from ledger.store.lives import Life


@pytest.mark.failure(7, 11)
def test_what_a_dead_life_owned_is_nobodys(bench: Bench) -> None:
    """An ended life is never judged again: what one claim leaves over must not stay its own."""
    lives = bench.store.lives
    life = Life(id="dead", role="daemon", version="1")
    bench.committer.run(lambda c: lives.begin(c, life, NOW))
    bench.submit_many(5)
    assert len(bench.claim("dead")) == 5

    bench.committer.run(lambda c: bury(c, lives=lives, life_id="dead", now=NOW, by="me"))

    assert [row.id for row in bench.store.read(lives.alive)] == []
    first = bench.committer.run(lambda c: claim(c, "me", dead=[], limit=2))
    rest = bench.committer.run(lambda c: claim(c, "me", dead=[], limit=10))
    assert len(first) + len(rest) == 5
    assert {facts.fence for facts in first + rest} == {rest[0].fence}


@pytest.mark.failure(3, 7)
def test_a_life_that_was_ended_takes_nothing_more(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """It stood still, was buried and went on before it heard of that: what it took under its old
    name nobody would ever find, for an ended life is not judged again."""
    lives = bench.store.lives
    life = Life(id="buried", role="daemon", version="1")
    bench.committer.run(lambda c: lives.begin(c, life, NOW))
    runs = [facts.run.id for facts in bench.submit_many(3)]
    make_bench().committer.run(lambda c: bury(c, lives=lives, life_id="buried", now=NOW, by="me"))

    assert [] == bench.claim("buried")
    assert runs == [facts.run.id for facts in bench.claim("me")]


@POSTGRESQL
@pytest.mark.failure(7)
def test_who_buries_a_life_waits_for_what_it_is_claiming(
    bench: Bench, make_bench: Callable[[], Bench]
) -> None:
    """The claim was first: its runs are freed with the others."""
    lives, other = bench.store.lives, make_bench()
    life = Life(id="claiming", role="daemon", version="1")
    bench.committer.run(lambda c: lives.begin(c, life, NOW))
    runs = [facts.run.id for facts in bench.submit_many(3)]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"

    def end() -> None:
        other.committer.run(lambda c: bury(c, lives=lives, life_id="claiming", now=NOW, by="me"))

    burying = threading.Thread(target=end)
    with bench.store.engine.begin() as connection:
        assert 3 == len(claim(connection, "claiming", dead=[]))
        burying.start()
        assert wait_until(lambda: bench.scalar(waiting) > 0, seconds=10)
    burying.join(10)

    assert runs == [facts.run.id for facts in bench.claim("me")]
