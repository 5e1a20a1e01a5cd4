"""What the same traffic would have cost: from the rows to the report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from support import Bench, later, response, seen

from ledger.core.alphabet import Receipt
from ledger.core.counting import Spent
from ledger.core.decide import decide
from ledger.core.pacing.worth import Aim
from ledger.service.policies import NEVER, Terms, policies_report, traffic
from ledger.store.costs import Window, ended_objects
from ledger.store.records import Decision, Guard, Written
from ledger.store.tally import add_receipts, add_usage

ALL = Window(since=later(-7_200))
FREE = Terms(aim=Aim(), call_price=Decimal(0), endpoint_monthly=None)
PAID = Terms(aim=Aim(), call_price=Decimal("0.00015"), endpoint_monthly=Decimal(2_000))


def lasted(bench: Bench, seconds: float, late: float, looks: int, **fields: Any) -> int:
    """A run that took so long, and was found so late, with so many looks."""
    begun = bench.now
    facts = bench.sending(model="gpt-a", **fields)
    ended = begun + timedelta(seconds=seconds)
    body = response(
        "completed",
        remote_id=f"resp_{facts.run.id}",
        output=[{"type": "message"}],
        created_at=begun.timestamp(),
        completed_at=ended.timestamp(),
    )
    bench.now = ended + timedelta(seconds=late)
    spent: Spent = (("observe.unchanged", looks - 1), ("observe.ok", 1), ("create.ok", 1))
    context = replace(bench.context(), spent=spent)

    def make(fresh: Any) -> Any:
        return decide(fresh, seen(body), context)

    guard = Guard("me", facts.fence)
    made = bench.commit(Decision(run_id=facts.run.id, decide=make, change=make(facts), guard=guard))
    assert isinstance(made, Written)
    return facts.run.id


def report(bench: Bench, terms: Terms = FREE, window: Window = ALL) -> dict[str, Any]:
    """The report."""
    return policies_report(bench.store.read(lambda c: traffic(c, window)), terms)


def test_what_was_really_spent_stands_beside(bench: Bench) -> None:
    """Calls and delays of the ledger itself, and those of the policies for the same runs."""
    for _ in range(4):
        lasted(bench, 20.0, late=0.0, looks=12)
    found = report(bench)
    rows = {row["policy"]: row for row in found["policies"]}

    assert ["tight loop", "1 s", "2.5 s", "backoff", "learned", "webhooks", "spent"] == list(rows)
    assert (4, 12.0, 48.0) == (
        found["objects"], rows["spent"]["calls_per_run"], rows["spent"]["calls"]
    )  # fmt: skip
    assert 0.0 <= rows["spent"]["mean_delay"] <= 1.0
    assert 19 <= rows["1 s"]["calls_per_run"] <= 21
    assert rows["2.5 s"]["calls_per_run"] < rows["1 s"]["calls_per_run"]
    assert rows["webhooks"]["calls_per_run"] < rows["backoff"]["calls_per_run"]
    assert found == report(bench)


def test_without_a_price_an_endpoint_never_pays(bench: Bench) -> None:
    """On price alone: and with one, from so many runs on."""
    lasted(bench, 100.0, late=0.0, looks=30)
    free = {row["policy"]: row for row in report(bench)["policies"]}
    paid = {row["policy"]: row for row in report(bench, PAID)["policies"]}

    assert {NEVER, None} == {row["pays_from_runs"] for row in free.values()}
    assert {"0.000000"} == {row["calls_usd"] for row in free.values()}
    assert 1 == paid["tight loop"]["pays_from_runs"] < paid["2.5 s"]["pays_from_runs"]
    seconds, saved = (
        report(bench)["run_seconds"],
        paid["2.5 s"]["calls_per_run"] - paid["webhooks"]["calls_per_run"],
    )
    month = Decimal(repr(saved / seconds)) * Decimal("0.00015") * 50 * 2_629_746
    assert abs(month - Decimal(paid["2.5 s"]["folk_runs_usd"])) < Decimal("0.5")


def test_measured_misses_and_round_trips_are_used(bench: Bench) -> None:
    """What the receiver counted, and how long looks took; without, it is said to be assumed."""
    lasted(bench, 10.0, late=0.0, looks=3)
    assumed = report(bench)
    hour = bench.now.replace(minute=0)
    bench.committer.run(lambda c: add_usage(c, [(hour, 1, "observe", "ok", 10, 4.0)]))
    told = [(hour, "default", Receipt.told, 150), (hour, "default", Receipt.missed, 49)]
    bench.committer.run(lambda c: add_receipts(c, told))
    found = report(bench)

    assert (None, 0, 0.01) == (
        assumed["round_trip_seconds"], assumed["webhooks_measured_ends"],
        assumed["webhooks_missed_share"],
    )  # fmt: skip
    assert (0.4, 199, round(50 / 299, 6)) == (
        found["round_trip_seconds"], found["webhooks_measured_ends"],
        found["webhooks_missed_share"],
    )  # fmt: skip
    notes = {row["policy"]: row["note"] for row in found["policies"]}
    assert ("every 0.50 s", False) == (notes["tight loop"], "assumed" in notes["webhooks"])


def test_the_newest_objects_are_played(bench: Bench) -> None:
    """In the order of their runs, and those of the window alone."""
    runs = [lasted(bench, 5.0 + n, late=0.0, looks=n + 1) for n in range(4)]
    bench.submit()

    def found(window: Window, limit: int) -> list[int]:
        return [
            one.run_id for one in bench.store.read(lambda c: ended_objects(c, window, limit=limit))
        ]

    assert (runs, runs[-2:]) == (found(ALL, 9), found(ALL, 2))
    created = bench.facts(runs[2]).run.created_at
    assert runs[2:] == found(Window(since=created), 9)


def test_an_empty_window_has_no_policies(bench: Bench) -> None:
    """And no crash; the arithmetic of the claim stands."""
    found = report(bench)

    assert ([], 0) == (found["policies"], found["objects"])
    assert "$1,500.00, not $1.50" in found["claims"][0]["arithmetic"]


def test_a_target_of_the_profile_finds_its_price(bench: Bench) -> None:
    """What the learned policy is played at is what the profile asks for, not the usual price."""
    for _ in range(8):
        lasted(bench, 20.0, late=0.0, looks=12)
    asked = Terms(aim=Aim(notice_within_seconds=60.0), call_price=Decimal(0), endpoint_monthly=None)
    assert report(bench, asked)["worth"] < report(bench)["worth"] == Aim().worth
