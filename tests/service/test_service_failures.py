"""Failures grouped: counted, named, told from new ones, and regrouped by the user's rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from service_rig import MakeRig, Rig
from support import NOW, Bench, later, response, seen

from ledger import Ledger
from ledger.clock import utcnow
from ledger.core.failures import trend
from ledger.core.policy import Policy, parse_restart
from ledger.errors import InvalidInput, NotFound
from ledger.store.failures import Span, compared, fingerprints, outcomes, runs_hit, samples
from ledger.store.records import Written

CODES = ("server_error", "rate_limit_exceeded")


def test_attempts_that_fail_alike_are_one_group(rig: Rig) -> None:
    """Three attempts of one run, and one of another: the message holds another id each time."""
    for restart in ("failed:server_error=2", "none"):
        rig.run("sim-fail-server_error", restart=restart)
    rig.run("sim-fail-rate_limit_exceeded", restart="none")
    rig.run("sim-ok")

    report = rig.ledger.errors(since="1h")

    counted = {row["code"]: (row["attempts"], row["runs"]) for row in report["groups"]}
    assert {"server_error": (4, 2), "rate_limit_exceeded": (1, 1)} == counted
    assert [4, 1] == [row["attempts"] for row in report["groups"]]
    assert 5 == report["attempts"] == sum(sum(row["counts"]) for row in report["groups"])
    (first, second) = report["groups"]
    assert {"new"} == {row["trend"] for row in (first, second)}
    assert "remote" == first["origin"]
    assert first["first_seen_at"] <= first["first_at"] <= first["last_at"]


def test_a_failure_that_recovered_counts_and_its_run_is_shown_as_it_stands(rig: Rig) -> None:
    failed = rig.run("sim-fail-server_error", restart="none")
    (row,) = rig.ledger.errors()["groups"]

    by_id, digits = row["fingerprint"], row["fingerprint"].partition(":")[2][:6]
    shown = [rig.ledger.error(name) for name in (by_id, digits, by_id[:8])]

    assert shown[0] == shown[1] == shown[2]
    assert {"failed": 1} == shown[0]["states"]
    (sample,) = shown[0]["samples"]
    assert (failed.id, 1, "sim-fail-server_error") == (
        sample["id"], sample["attempt"], sample["model"],
    )  # fmt: skip
    assert rig.ledger.get(failed).fingerprint == by_id
    with pytest.raises(NotFound, match="errors list"):
        rig.ledger.error("v1:ffffffffffffffff")
    with pytest.raises(NotFound):
        rig.ledger.error(by_id, until=utcnow() - timedelta(days=6))


def test_rules_regroup_what_fingerprints_tell_apart(make_rig: MakeRig) -> None:
    rules = {
        "upstream": {"origin": "remote", "message": "server"},
        "all": {"provider": "responses"},
    }
    rig = make_rig(error_groups=rules)
    for code in CODES:
        rig.run(f"sim-fail-{code}", restart="none")
    names = {row["fingerprint"] for row in rig.ledger.errors()["groups"]}
    assert names <= {"upstream", "all"}
    assert 2 == sum(row["attempts"] for row in rig.ledger.errors()["groups"])
    assert "all" == rig.ledger.error("all")["fingerprint"]


def test_a_run_that_failed_in_two_ways_of_one_group_is_one_run(bench: Bench) -> None:
    """Two attempts, two fingerprints, one group: one run was hit."""
    facts = bench.sending(policy=Policy(restart=parse_restart("failed:server_error=1")))
    for number, code in enumerate(CODES, 1):
        body = response("failed", remote_id=f"resp_{number}", error={"code": code, "message": code})
        facts = bench.take(facts, seen(body, n=number))
        if number == 1:
            armed = bench.arm(facts)
            assert isinstance(armed, Written)
            facts = armed.facts
    rules = {"all": {"provider": "responses"}}
    with Ledger.open(bench.store.url, error_groups=rules) as ledger:
        window = {"since": NOW, "until": later(9_000)}
        (group,) = ledger.errors(**window)["groups"]
        shown = ledger.error("all", **window)

    assert ("all", 2, 1) == (group["fingerprint"], group["attempts"], group["runs"])
    assert 1 == shown["runs"] == sum(shown["states"].values())


def test_a_group_may_have_more_fingerprints_than_a_statement_has_parameters(bench: Bench) -> None:
    """Messages that no mask makes one: as many as fit into a ledger."""
    ending(bench, failed=True)
    (known,) = bench.store.read(lambda c: list(fingerprints(c)))
    names = [*(f"v1:{n:016x}" for n in range(300_000)), known]
    span = Span(since=NOW, until=later(9_000))
    with bench.store.reading() as connection:
        assert 1 == runs_hit(connection, names, span)
        assert {"failed": 1} == outcomes(connection, names, span)
        assert 1 == len(samples(connection, names, span))
        assert [True] == [hit for hit, _ in compared(connection, names, span)]


def test_a_window_that_ends_before_it_begins_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidInput, match="ends before it begins"):
        rig.ledger.errors(since="1h", until=utcnow() - timedelta(hours=2))
    with pytest.raises(InvalidInput, match="still to come"):
        rig.ledger.errors(since=utcnow() + timedelta(hours=2))


@pytest.mark.parametrize(
    ("now", "before", "new", "word"),
    [
        (1, 0, True, "new"),
        (4, 1, False, "rising"),
        (2, 1, False, "steady"),
        (3, 0, False, "rising"),
        (5, 5, False, "steady"),
        (1, 4, False, "falling"),
        (1, 2, False, "steady"),
    ],
)
def test_a_trend_is_more_than_chance(now: int, before: int, new: bool, word: str) -> None:
    assert word == trend(now, before, new=new)
    certain = word if word in ("new", "falling") else "unknown"
    assert certain == trend(now, before, new=new, whole=False)


def test_a_trend_against_a_time_that_is_not_all_known_is_unknown(bench: Bench) -> None:
    """Before the first run, and where failed runs of that time were pruned; fewer are fewer."""
    trends = []

    def ask(ledger: Ledger, hours: int) -> None:
        until = NOW + timedelta(hours=2)
        report = ledger.errors(since=until - timedelta(hours=hours), until=until)
        trends.append((report["before_whole"], *(row["trend"] for row in report["groups"])))

    with Ledger.open(bench.store.url) as ledger:
        ending(bench, failed=True, tags={"old": "yes"})
        bench.completed()
        bench.now = NOW + timedelta(minutes=90)
        for _ in range(4):
            ending(bench, failed=True)
        ask(ledger, 1)
        bench.execute("UPDATE fingerprint SET first_seen_at = '2020-01-01 00:00:00+00:00'")
        ask(ledger, 2)
        assert 1 == ledger.prune("1d", query="status:completed").runs
        ask(ledger, 1)
        assert 1 == ledger.prune("1d", query="tag.old:yes").runs
        ask(ledger, 1)

    assert [(True, "rising"), (False, "unknown"), (True, "rising"), (False, "unknown")] == trends


def test_what_the_runs_that_were_hit_have_in_common_is_named(bench: Bench) -> None:
    """Of sixty runs that ended, twelve failed, all of one model and team but two."""
    for number in range(60):
        failed = number < 12
        ill = number < 10
        model, team = ("ill", "red") if ill else ("sim-ok", "blue" if number % 2 else "green")
        ending(bench, failed, model=model, tags={"team": team})
    with Ledger.open(bench.store.url) as ledger:
        (group,) = ledger.errors(since=NOW, until=later(9_000))["groups"]
        found = ledger.error(group["fingerprint"], since=NOW, until=later(9_000))
    (first, *_) = found["over_represented"]
    said = [first[name] for name in ("attribute", "value", "hit", "runs")]
    assert ["model", "ill", 10, 10] == said
    assert (2, 50) == (first["other_hit"], first["other_runs"])
    assert first["low"] > 1.2


def ending(bench: Bench, failed: bool, **fields: Any) -> None:
    """One run, driven to its end."""
    if not failed:
        bench.completed(**fields)
        return
    facts = bench.sending(**fields)
    error = {"code": "server_error", "message": "x"}
    bench.take(facts, seen(response("failed", remote_id=f"resp_{facts.run.id}", error=error)))
