"""What befalls lives is in the ledger: reports months later name it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support import NOW, Bench, later

from ledger.clock import utcnow
from ledger.core.alphabet import LifeEventKind
from ledger.store.claims import bury, bury_overdue
from ledger.store.life_events import life_events, note, note_settings
from ledger.store.lives import Life
from ledger.store.schema import HEAD


def told(bench: Bench, kind: str | None = None) -> list[tuple[str, str | None, dict[str, Any]]]:
    rows = bench.store.read(lambda c: life_events(c, NOW, utcnow() + timedelta(days=1)))
    return [(str(r.kind), r.life, r.detail) for r in rows if kind is None or r.kind == kind]


def begin(bench: Bench, name: str) -> Life:
    life = Life(id=name, role="daemon", version="1")
    bench.committer.run(lambda c: bench.store.lives.begin(c, life, NOW))
    return life


def test_the_schema_is_brought_up_to_date(bench: Bench) -> None:
    assert [("migrated", None, {"from": None, "to": HEAD})] == told(bench, "migrated")


def test_a_life_starts_and_stops(bench: Bench) -> None:
    begin(bench, "a")
    for how in ("drained", "interrupted"):
        bench.committer.run(lambda c, how=how: bench.store.lives.end(c, "a", how, later(9)))
    (started,) = told(bench, "started")
    assert ("a", "daemon", "1") == (started[1], started[2]["role"], started[2]["version"])
    assert [("stopped", "a", {"how": "drained"})] == told(bench, "stopped")


def test_a_death_is_told_once_by_the_life_that_finds_it(bench: Bench) -> None:
    begin(bench, "dead")
    bench.submit_many(3)
    bench.claim("dead")
    lives = bench.store.lives
    for at in (5, 6):
        bench.committer.run(
            lambda c, at=at: bury(c, lives=lives, life_id="dead", now=later(at), by="me")
        )
    (died,) = told(bench, "died")
    assert ("dead", 3, "me") == (died[1], died[2]["runs"], died[2]["by"])
    assert NOW.isoformat() == died[2]["heartbeat_at"]
    assert [("takeover", "me", {"from": "dead", "runs": 3})] == told(bench, "takeover")


def test_a_life_that_hangs_is_has_no_takeover_without_runs(bench: Bench) -> None:
    begin(bench, "hangs")
    lives = bench.store.lives
    bench.execute("UPDATE worker SET lease_until = 0")
    over = bench.committer.run(
        lambda c: bury_overdue(c, lives=lives, life_id="hangs", now=later(40), by="me")
    )
    assert over
    assert [("hangs", 0)] == [(life, d["runs"]) for _, life, d in told(bench, "overdue")]
    assert [] == told(bench, "takeover")


def test_a_rebirth_names_who_it_was(bench: Bench) -> None:
    life = Life(id="b", role="daemon", version="1")
    bench.committer.run(lambda c: bench.store.lives.begin(c, life, NOW, "a"))
    assert [("b", "a")] == [(who, detail["was"]) for _, who, detail in told(bench, "reborn")]
    assert [] == told(bench, "started")


def test_settings_are_told_when_they_change_and_what_changed(bench: Bench) -> None:
    def begins(**settings: object) -> None:
        bench.committer.run(lambda c: note_settings(c, settings, at=NOW, life="a"))

    begins(concurrency=64, redact=["a"])
    begins(concurrency=64, redact=["a"])
    begins(concurrency=8, redact=["a"], seal_seconds=1)
    first, second = (detail for _, _, detail in told(bench, "configured"))
    assert {"settings": {"concurrency": 64, "redact": ["a"]}} == first
    assert ["concurrency", "seal_seconds"] == second["changed"]


def test_they_are_read_by_time_in_order(bench: Bench) -> None:
    for at in (3, 1, 2, 1):
        bench.committer.run(
            lambda c, at=at: note(c, LifeEventKind.stalled, at=later(at), detail={"n": at})
        )
    rows = bench.store.read(lambda c: life_events(c, later(1), later(3)))
    assert [1, 1, 2] == [row.detail["n"] for row in rows]
