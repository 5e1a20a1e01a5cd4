"""Durations as they are read for the learned policy, on both databases."""

from __future__ import annotations

from support import NOW, Bench, later, response, seen
from test_store_plans import plans

from ledger.core.pacing.experience import class_of
from ledger.store.durations import of_class, recent

OF = class_of("responses", "gpt-5.1", None, "memo")


def finished(bench: Bench, seconds: float) -> None:
    """A run whose object ended within so many seconds of its create."""
    facts = bench.sending(kind="memo", model="gpt-5.1")
    bench.now = later(seconds)
    bench.take(facts, seen(response("completed", output=[{"type": "message"}])))
    bench.now = NOW


def test_ended_and_going_objects_are_told_apart(bench: Bench) -> None:
    """Of an end the duration is known; of what goes on, since when."""
    finished(bench, 8.0)
    facts = bench.sending(kind="memo", model="gpt-5.1")
    bench.take(facts, seen(response("in_progress", remote_id="resp_2")))

    found = bench.store.read(recent)
    assert [(OF, 4.0, None), (OF, None, NOW)] == [(x.of, x.seconds, x.since) for x in found]
    assert [4.0] == [x.seconds for x in bench.store.read(lambda c: of_class(c, OF, 10))]
    assert [] == bench.store.read(lambda c: of_class(c, class_of("responses", None, None, None), 9))


def test_what_ended_while_nobody_looked_is_neither(bench: Bench) -> None:
    """Its end lies anywhere in an hour: it is no duration, and it does not go on either."""
    finished(bench, 3_600.0)
    assert [(None, None)] == [(x.seconds, x.since) for x in bench.store.read(recent)]


def test_a_class_is_found_by_its_index(bench: Bench) -> None:
    """The newest runs of a class that is seldom are not looked for among all."""
    bench.submit_many(300)
    finished(bench, 8.0)
    bench.execute("ANALYZE")
    for of in (OF, class_of("responses", None, "asst", None)):
        [(_, plan)] = plans(bench, lambda c, of=of: of_class(c, of, 10))
        assert "ix_run_" in plan
        assert "Seq Scan on run" not in plan
        assert "SCAN run" not in plan
