"""A dead life's runs: all of them are free at once, however few one claim takes."""

from __future__ import annotations

import pytest
from support import NOW, Bench

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

    bench.committer.run(lambda c: bury(c, lives=lives, life_id="dead", now=NOW))

    assert [row.id for row in bench.store.read(lives.alive)] == []
    first = bench.committer.run(lambda c: claim(c, "me", dead=[], limit=2))
    rest = bench.committer.run(lambda c: claim(c, "me", dead=[], limit=10))
    assert len(first) + len(rest) == 5
    assert {facts.fence for facts in first + rest} == {rest[0].fence}
