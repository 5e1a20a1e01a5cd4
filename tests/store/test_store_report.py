"""Reading a window for a report, on both databases: what counts for it, and by which indexes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from support import NOW, Bench, later, response, seen
from test_store_costs import PRICES, completed, restarted, saw, usage
from test_store_plans import plans

from ledger.core.alphabet import LifeEventKind, Source, State
from ledger.core.outcome import Observed
from ledger.core.postmortem.cases import cases_of
from ledger.core.postmortem.material import Material, Span
from ledger.core.postmortem.numbers import numbers
from ledger.core.postmortem.surroundings import storms
from ledger.core.query import parse_query
from ledger.service.cost import cost_report
from ledger.store import incidents, report
from ledger.store.costs import Window
from ledger.store.incidents import ended_runs, failed_attempts, late_starts
from ledger.store.life_events import note
from ledger.store.limits import MinuteRow, add_minutes
from ledger.store.lives import WORKER
from ledger.store.report import read_window
from ledger.store.siblings import same_failure, same_hour

SPAN = Span(since=later(-60), until=later(3_600))
BEFORE = [("previous", SPAN.moved(-SPAN.length))]


def read(bench: Bench, span: Span = SPAN, query: str = "", **fields: Any) -> Material:
    """What is read of a window."""
    given: dict[str, Any] = {"query": query, "schema": "0001", "before": BEFORE} | fields
    terms = parse_query(query, now=NOW)
    return bench.store.read(lambda c: read_window(c, span, later(7_200), terms, **given))


def reported(bench: Bench, **fields: Any) -> dict[str, Any]:
    """The numbers of the window."""
    return numbers(read(bench, **fields), PRICES, (), version="1")


def test_a_window_holds_what_was_created_open_or_ended_in_it(bench: Bench) -> None:
    """Created and ended before, before and open, before and within, within, later: those that
    ended before it or began after it are not of it."""
    for seconds, ends in (
        (-900, -800),
        (-900, None),
        (-900, 10),
        (10, 20),
        (10, 5_000),
        (5_000, None),
    ):
        bench.now = later(seconds)
        facts = bench.sending(model="gpt-a")
        if ends is not None:
            bench.now = later(ends)
            saw(bench, facts, "completed", output=[{"type": "message"}])

    found = reported(bench)["impact"]

    assert [2, 3, 4, 5] == [run.id for run in read(bench).runs]
    assert (2, 2, 2) == (found["started"], found["finished"], found["open"])


def test_rows_come_as_the_core_knows_them(bench: Bench) -> None:
    """Times in UTC, words of the alphabet, tags as a mapping: alike on both databases."""
    bench.now = NOW
    facts = completed(bench, usage(10, 2), tags={"team": "risk"}, kind="memo")
    found = read(bench)

    assert {"team": "risk"} == found.runs[0].tags
    assert (NOW, "memo", "gpt-a") == (
        found.runs[0].created_at, found.runs[0].kind, found.runs[0].model,
    )  # fmt: skip
    assert found.attempts[0].outcome is State.completed
    assert (True, 10, NOW) == (
        found.remotes[0].settled, found.remotes[0].tokens_in, found.remotes[0].observed_at,
    )  # fmt: skip
    assert timedelta(0) == found.remotes[0].observed_at.utcoffset()
    assert [State.completed] == [event.to_state for event in found.events]
    assert facts.run.id == found.runs[0].id


def test_only_the_runs_of_the_query_count(bench: Bench) -> None:
    completed(bench, None, tags={"team": "risk"})
    completed(bench, None, tags={"team": "search"})

    assert 1 == reported(bench, query="tag.team:risk")["impact"]["finished"]


def test_failures_bring_their_fingerprint(bench: Bench) -> None:
    """A restart that is under way: one failed attempt, in the bucket of what is open."""
    restarted(bench)
    found = reported(bench)

    (kind,) = found["fingerprints"]["listed"]
    assert ("server_error", True, 1) == (kind["code"], kind["new"], kind["attempts"])
    assert 1 == found["recovery"]["buckets"]["open"]["attempts"]
    assert (0, 1) == (found["impact"]["finished"], found["impact"]["hit"])


def test_waste_is_what_cost_says_of_the_same_runs(bench: Bench) -> None:
    """Used, restarted, a link that was gone on from, failed, cut short: both accounts agree."""
    completed(bench, usage(1_000, 50, cached=100))
    facts = restarted(bench)
    saw(bench, bench.facts(facts.run.id), "completed", output=[{"type": "message"}],
        usage=usage(7, 3))  # fmt: skip
    linked = restarted(bench).run.id
    bench.execute("UPDATE attempt SET base = 1 WHERE run_id = :run AND number = 2", run=linked)
    bench.execute("UPDATE remote SET previous = 1 WHERE run_id = :run AND n = 2", run=linked)
    saw(bench, bench.facts(linked), "completed", output=[{"type": "message"}], usage=usage(9, 1))
    saw(bench, bench.sending(model="gpt-a"), "failed", error={"code": "z"}, usage=usage(11, 0))
    saw(bench, bench.sending(model="gpt-b"), "incomplete", usage=usage(13, 1))

    cost = bench.store.read(
        lambda c: cost_report(c, Window(since=later(-60)), None, PRICES, Decimal(0))
    )["total"]
    found = reported(bench)["waste"]

    assert cost["unused_tokens"] == sum(found["unused"][n] for n in ("tokens_in", "tokens_out"))
    assert cost["unused_usd"] == found["unused"]["cost_usd"]
    assert (cost["tokens_in"], cost["cost_usd"]) == (
        found["total"]["tokens_in"], found["total"]["cost_usd"],
    )  # fmt: skip
    assert {one["cause"]: one["tokens_in"] for one in cost["unused"]} == {
        cause: of["tokens_in"] for cause, of in found["by_cause"].items()
    }


def test_the_window_before_is_read_too(bench: Bench) -> None:
    bench.now = later(-1_000)
    completed(bench, usage(5, 1))
    restarted(bench)
    (before,) = read(bench).before

    assert [State.completed] == [end.state for end in before.ends]
    assert (1, [("gpt-a", 5)]) == (
        before.failed_attempts,
        [(row.model, row.tokens_in) for row in before.spent],
    )


def test_minutes_of_the_window_alone(bench: Bench) -> None:
    rows = [MinuteRow(minute=later(60 * n), account_id=1, limit_seen=None, lowest_left=None,
                      refused=n) for n in (-5, 0, 59, 60)]  # fmt: skip
    with bench.store.engine.execution_options(write=True).begin() as connection:
        add_minutes(connection, rows)

    assert [0, 59] == [row.refused for row in read(bench).minutes]


def test_counts_by_ten_minutes(bench: Bench) -> None:
    """Failed attempts and verdicts, under the ten minutes in which they fell."""
    for seconds in (0, 599, 600):
        bench.now = later(seconds)
        saw(bench, bench.sending(model="gpt-a"), "failed", error={"code": "z"})
    bench.now = later(900)
    completed(bench, None)

    failed = bench.store.read(lambda c: failed_attempts(c, SPAN))
    ended = bench.store.read(lambda c: ended_runs(c, SPAN))

    assert {NOW: 2, later(600): 1} == failed
    assert {NOW: 2, later(600): 2} == ended


def test_late_starts(bench: Bench) -> None:
    """Sent after 30 s and after 90 s; the second is late."""
    for wait in (30, 90):
        bench.now = NOW
        run_id = bench.submit(model="gpt-a").run.id
        bench.now = later(wait)
        facts = bench.claim(only=[run_id])[0]
        bench.arm(facts)

    sent, late = bench.store.read(lambda c: late_starts(c, SPAN, 60.0))

    assert ({NOW: 2}, {NOW: 1}) == (sent, late)


def test_siblings(bench: Bench) -> None:
    """Two more failed the same way; of the same model and hour there are three others."""
    failed = [
        saw(bench, bench.sending(model="gpt-a"), "failed", error={"code": "z"}) for _ in range(3)
    ]
    completed(bench, None)
    run = failed[0].run
    assert run.fingerprint is not None

    count, listed = bench.store.read(
        lambda c: same_failure(c, run, run.fingerprint or "", SPAN.since, SPAN.until)
    )
    others = bench.store.read(lambda c: same_hour(c, run, SPAN.since, SPAN.until))

    assert (2, [3, 2]) == (count, listed)
    assert [State.failed, State.failed, State.completed] == [one[0] for one in others]


def test_a_window_is_read_by_indexes(bench: Bench) -> None:
    """No table is read from end to end, but those that hold a few rows."""
    bench.submit_many(300)
    bench.execute("UPDATE run SET state = 'completed', finished_at = created_at")
    bench.execute("ANALYZE")
    small = ("account", "ledger", "fingerprint", "worker", "gap", "tombstone", "chosen",
             "CONSTANT ROW", "(subquery")  # fmt: skip

    def query(connection: sa.Connection) -> None:
        read_window(connection, SPAN, later(7_200), (), query="", schema="0001", before=BEFORE)

    found = plans(bench, query)

    assert len(found) > 10
    for statement, plan in found:
        scans = [line for line in plan.splitlines() if "SCAN" in line or "Seq Scan" in line]
        bad = [line for line in scans if not any(name in line for name in small)]
        assert [] == bad, (statement, plan)


def test_lives_that_only_waited_crowd_out_no_daemon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their coming and going is not told of, their death is; a daemon is read before them."""
    monkeypatch.setattr(report, "EVENTS_MAX", 3)
    blank = {"host": "h", "boot_id": "b", "pid": 1, "pid_started": "1", "version": "1", "beat": 0.0}
    blank |= {"heartbeat_at": later(40), "lease_until": 0.0, "drain": False}
    told = LifeEventKind
    with bench.store.engine.execution_options(write=True).begin() as connection:
        for n, role in enumerate(("wait", "wait", "wait", "wait", "daemon")):
            row = {**blank, "id": f"life-{n}", "role": role, "started_at": later(10 * n)}
            connection.execute(sa.insert(WORKER), row)
            note(connection, told.started, at=later(10 * n), life=f"life-{n}")
            note(
                connection, told.stopped if n else told.died, at=later(10 * n + 1), life=f"life-{n}"
            )

    found = read(bench)

    assert ["life-0", "life-1", "life-4"] == [life.id for life in found.lives]
    assert [("died", "life-0"), ("started", "life-4"), ("stopped", "life-4")] == [
        (event.kind, event.life) for event in found.life_events
    ]


def test_of_too_many_events_of_lives_the_newest_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, as rules want them: the last night counts, and not the first."""
    monkeypatch.setattr(incidents, "READ_MAX", 3)

    with bench.store.engine.execution_options(write=True).begin() as connection:
        for second in range(5):
            note(connection, LifeEventKind.died, at=later(second), life="one")

    found = bench.store.read(lambda c: incidents.around(c, SPAN, later(7_200)))

    assert [later(2), later(3), later(4)] == [event.at for event in found["events"]]


def test_a_storm_is_told_alike_by_incidents_and_by_a_report(bench: Bench) -> None:
    """With the calm minutes between its 429s, and without those that not all have written."""
    counted = {0: (5, 5), 1: (300, 0), 2: (7, 7), 3: (40, 0), 30: (9, 9), 58: (20, 20)}
    seen: dict[str, Any] = {"account_id": bench.account, "limit_seen": None, "lowest_left": None}
    with bench.store.engine.execution_options(write=True).begin() as connection:
        for n, (calls, refused) in counted.items():
            row = MinuteRow(minute=later(60 * n), calls=calls, refused=refused, **seen)
            add_minutes(connection, [row])
    given: dict[str, Any] = {"query": "", "schema": "0001", "before": BEFORE}
    for as_of in (later(3_600), later(7_200)):
        made = bench.store.read(lambda c, at=as_of: read_window(c, SPAN, at, (), **given))
        around = bench.store.read(lambda c, at=as_of: incidents.around(c, SPAN, at))
        assert storms(made.minutes) == storms(around["minutes"])
        assert [20] * (as_of > later(3_600)) == [one.calls for one in storms(made.minutes)]


def named(body: bytes, request_id: str) -> Observed:
    """An outcome with the id of the call that saw it."""
    outcome = seen(body)
    return replace(outcome, observation=replace(outcome.observation, request_id=request_id))


def test_an_earlier_report_knows_no_later_look_at_an_object(bench: Bench) -> None:
    """Its ids and its status are those of then: the same report, whenever it is made."""
    bench.now = later(0)
    facts = bench.sending(model="gpt-a")
    bench.now = later(10)
    facts = bench.take(facts, named(response("queued"), "req_1"), source=Source.create)
    bench.now = later(100)
    given: dict[str, Any] = {"query": "", "schema": "0001", "before": ()}

    def then() -> Any:
        made = bench.store.read(lambda c: read_window(c, SPAN, later(100), (), **given))
        (case,) = cases_of(made)
        return case.remotes

    before = then()
    bench.now = later(200)
    bench.take(facts, named(response("failed"), "req_2"))

    assert ("queued", "req_1") == (before[0].observed_status, before[0].request_id)
    assert before == then()
