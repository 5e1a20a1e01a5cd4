"""What runs have cost: each call and token once, under what became of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support import Bench, later, response, seen
from test_store_plans import plans

from ledger.core.alphabet import Source
from ledger.core.counting import Spent
from ledger.core.decide import decide, operator
from ledger.core.model import Facts
from ledger.core.policy import Policy, parse_restart
from ledger.core.prices import parse_prices
from ledger.errors import InvalidInput
from ledger.service import cost
from ledger.service.cost import cost_report, judge_by
from ledger.store.costs import Window, count_calls, count_runs, count_tokens, ended_objects
from ledger.store.records import Decision, Guard, Written

PRICES = parse_prices("[models]\ngpt-a = { input = 1, cached_input = 0.1, output = 10 }", "test")
ALL = Window(since=later(-1))
CREATE: Spent = (("create.ok", 1),)
ERROR = {"code": "server_error", "message": "x"}
AGAIN = Policy(restart=parse_restart("failed:server_error=1"))


def saw(bench: Bench, facts: Facts, status: str, spent: Spent = CREATE, **fields: Any) -> Facts:
    """Commit a reading of the newest object, with the calls that led to it."""
    context = replace(bench.context(), spent=spent)
    n = facts.remotes[-1].n
    body = response(status, remote_id=f"resp_{facts.run.id}_{n}", **fields)
    outcome = seen(body, n=n)

    def make(fresh: Facts) -> Any:
        return decide(fresh, outcome, context, source=Source.create)

    guard = Guard("me", facts.fence)
    result = bench.commit(
        Decision(run_id=facts.run.id, decide=make, change=make(facts), guard=guard)
    )
    assert isinstance(result, Written), result
    return result.facts


def usage(used: int, made: int, cached: int = 0) -> dict[str, Any]:
    """Upstream's count."""
    return {
        "input_tokens": used,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": made,
    }


def completed(bench: Bench, used: dict[str, Any] | None, **fields: Any) -> Facts:
    """A run that completed at once."""
    facts = bench.sending(**{"model": "gpt-a", **fields})
    return saw(bench, facts, "completed", output=[{"type": "message"}], usage=used)


def restarted(bench: Bench, **fields: Any) -> Facts:
    """A run whose first attempt failed, with its second create under way."""
    facts = bench.sending(model="gpt-a", policy=AGAIN, **fields)
    facts = saw(bench, facts, "failed", error=ERROR, usage=usage(1_000, 100))
    armed = bench.arm(facts)
    assert isinstance(armed, Written)
    return armed.facts


def report(bench: Bench, by: str | None = None, window: Window = ALL) -> dict[str, Any]:
    """The report."""
    return bench.store.read(lambda c: cost_report(c, window, by, PRICES, Decimal("0.5")))


def test_calls_tokens_and_money(bench: Bench) -> None:
    """All of them once; a cached token has its own price; looks for nothing are told apart."""
    facts = saw(bench, bench.sending(model="gpt-a"), "in_progress")
    looks: Spent = (("observe.ok", 1), ("observe.unchanged", 6), ("observe.ReplyLost", 1))
    used = usage(1_000_000, 200_000, cached=400_000)
    saw(bench, facts, "completed", looks, output=[{"type": "message"}], usage=used)
    total = report(bench)["total"]

    assert {
        "runs": 1, "attempts": 1, "calls": 9, "calls_per_run": 9.0, "calls_usd": "4.500000",
        "operations": {"create": 1, "observe": 8}, "looks": 8, "wasted_looks": 6,
        "wasted_share": 0.75, "tokens_in": 1_000_000, "tokens_cached": 400_000,
        "tokens_out": 200_000, "cost_usd": "2.640000", "unused": [], "unused_tokens": 0,
        "unused_usd": None, "undecided_tokens": 0,
        "unknown": {"price": [], "usage_objects": 0}, "group": None,
    } == total  # fmt: skip


def test_an_attempt_that_another_followed_was_for_nothing(bench: Bench) -> None:
    """Its tokens are paid for, and stand under the cause of its end."""
    saw(bench, restarted(bench), "completed", output=[{"type": "message"}], usage=usage(10, 1))
    total = report(bench)["total"]
    [unused] = total["unused"]

    assert (1, 2, 2) == (total["runs"], total["attempts"], total["calls"])
    assert (1_010, 101, "0.002020") == (
        total["tokens_in"], total["tokens_out"], total["cost_usd"]
    )  # fmt: skip
    assert ("failed", 1_000, 100, "0.002000") == (
        unused["cause"], unused["tokens_in"], unused["tokens_out"], unused["cost_usd"]
    )  # fmt: skip
    assert (1_100, "0.002000") == (total["unused_tokens"], total["unused_usd"])


def test_a_link_that_the_next_attempt_went_on_from_was_used(bench: Bench) -> None:
    """The chain of the result reaches back over the restart."""
    facts = restarted(bench)
    run = facts.run.id
    bench.execute("UPDATE attempt SET base = 1 WHERE run_id = :run AND number = 2", run=run)
    bench.execute("UPDATE remote SET previous = 1 WHERE run_id = :run AND n = 2", run=run)
    saw(bench, bench.facts(run), "completed", output=[{"type": "message"}], usage=usage(10, 1))

    assert [] == report(bench)["total"]["unused"]


def test_what_is_not_decided_is_not_for_nothing_yet(bench: Bench) -> None:
    """An attempt that failed is; one that goes on is not."""
    facts = saw(bench, restarted(bench), "in_progress")
    call = [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]
    saw(bench, facts, "completed", output=call, usage=usage(7, 3))
    total = report(bench)["total"]

    assert (1_100, 10) == (total["unused_tokens"], total["undecided_tokens"])


def test_a_run_without_a_completed_verdict_used_nothing(bench: Bench) -> None:
    """Each end is a cause of its own, also what a cancelled object reports late."""
    saw(bench, bench.sending(model="gpt-a"), "failed", error={"code": "z"}, usage=usage(1, 0))
    saw(bench, bench.sending(model="gpt-a"), "incomplete", usage=usage(2, 0))
    facts = saw(bench, bench.sending(model="gpt-a"), "in_progress")
    bench.commit(Decision(run_id=facts.run.id, decide=operator.cancel(None)))
    saw(bench, bench.facts(facts.run.id), "cancelled", usage=usage(4, 0))
    total = report(bench)["total"]

    assert {"cancelled": 4, "failed": 1, "incomplete": 2} == {
        one["cause"]: one["tokens_in"] for one in total["unused"]
    }


def test_unknown_is_not_nothing(bench: Bench) -> None:
    """A model without a price, and an object without a count, are reported apart."""
    for _ in range(2):
        completed(bench, usage(5, 5), model="gpt-new")
    completed(bench, None)
    completed(bench, usage(10, 0))
    rows = {row["group"]: row for row in report(bench, "model")["groups"]}

    assert (None, 10) == (rows["gpt-new"]["cost_usd"], rows["gpt-new"]["tokens_in"])
    assert [{"model": "gpt-new", "objects": 2, "tokens_in": 10, "tokens_out": 10}] == rows[
        "gpt-new"
    ]["unknown"]["price"]
    assert ("0.000010", {"price": [], "usage_objects": 1}) == (
        rows["gpt-a"]["cost_usd"], rows["gpt-a"]["unknown"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("model", ["gpt-a", "gpt-b"]),
        ("provider", ["responses"]),
        ("profile", ["default"]),
        ("kind", [None, "memo"]),
        ("state", ["completed", "queued"]),
        ("tag:team", [None, "risk", "search"]),
        ("tag:other", [None]),
    ],
)
def test_groups(bench: Bench, by: str, groups: list[str | None]) -> None:
    """Every run is in one group of each kind, and the total is that of the groups."""
    completed(bench, usage(1, 1), tags={"team": "risk"}, kind="memo")
    completed(bench, usage(2, 2), tags={"team": "search"}, model="gpt-b")
    completed(bench, usage(4, 4))
    bench.submit(model="gpt-b")
    found = report(bench, judge_by(by))

    assert groups == sorted((row["group"] for row in found["groups"]), key=lambda g: g or "")
    for name in ("runs", "calls", "tokens_in", "tokens_out", "attempts"):
        assert found["total"][name] == sum(row[name] for row in found["groups"]), name
    assert (4, 7) == (found["total"]["runs"], found["total"]["tokens_in"])
    assert found == report(bench, by)


def test_the_window_is_that_of_creation(bench: Bench) -> None:
    """From the first instant, up to but without the second."""
    for second in range(3):
        bench.now = later(second)
        completed(bench, usage(10**second, 0))

    inside = report(bench, window=Window(since=later(1), until=later(2)))["total"]
    assert (1, 10) == (inside["runs"], inside["tokens_in"])
    assert 110 == report(bench, window=Window(since=later(1)))["total"]["tokens_in"]
    assert 0 == report(bench, window=Window(since=later(9)))["total"]["runs"]


def test_too_many_groups_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, whatever tags hold."""
    monkeypatch.setattr(cost, "GROUPS_MAX", 2)
    for number in range(2):
        completed(bench, None, tags={"n": str(number)})
    assert 2 == len(report(bench, "tag:n")["groups"])
    completed(bench, None)
    with pytest.raises(InvalidInput, match="more than 2"):
        report(bench, "tag:n")


@pytest.mark.parametrize("by", ["", "models", "tag:", "tag:a b", "tag:" + "x" * 65, "id"])
def test_other_groups_are_refused(by: str) -> None:
    """With those that there are."""
    with pytest.raises(InvalidInput) as raised:
        judge_by(by)

    assert "tag:NAME" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "query",
    [
        lambda c: count_runs(c, Window(since=later(1), until=later(2)), "tag:team", limit=10),
        lambda c: count_calls(c, Window(since=later(1)), "profile"),
        lambda c: count_tokens(c, Window(since=later(1)), "model"),
        lambda c: ended_objects(c, Window(since=later(1)), limit=10),
    ],
    ids=["runs", "calls", "tokens", "objects"],
)
def test_a_window_is_found_by_its_index(bench: Bench, query: Any) -> None:
    """The runs before it are not touched, nor are other runs' objects."""
    bench.submit_many(500)
    bench.execute("UPDATE run SET state = 'completed', finished_at = created_at")
    bench.execute("ANALYZE")
    [(_, plan)] = plans(bench, query)

    # That of a profile's runs has their times too.
    assert "ix_run_created_at" in plan or "ix_run_account_id" in plan
    assert "SCAN run" not in plan
    assert "SCAN remote" not in plan
