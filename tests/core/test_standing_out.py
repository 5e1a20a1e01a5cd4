"""What stands out of failed runs: true causes are found, and quiet nights name nothing."""

from __future__ import annotations

import random

from ledger.core.standing_out import Compared, standing_out

RUNS = 1_500
WIDTHS = {
    "provider": 2, "model": 6, "profile": 3, "kind": 8, "assistant": 12, "worker": 4, "host": 3,
    "version": 2, "hour": 8, "tag.team": 20, "tag.region": 5, "tag.customer": 70,
}  # fmt: skip


def night(rng: random.Random) -> dict[str, list[str]]:
    """The attributes of a night's runs: a few values are frequent, as it is in life."""
    return {
        name: rng.choices(
            [f"{name}-{n}" for n in range(width)], [1 / (1 + n) for n in range(width)], k=RUNS
        )
        for name, width in WIDTHS.items()
    }


def test_quiet_nights_name_nothing() -> None:
    """A hundred nights on which failing depends on nothing: five false findings are to be
    expected at most, and more than eleven would come once in a hundred such hundreds."""
    named = 0
    for seed in range(100):
        rng = random.Random(seed)
        columns = night(rng)
        found = standing_out([rng.random() < 0.04 for _ in range(RUNS)], columns)
        assert 0 < found.tested
        named += bool(found.found)

    assert named <= 11


def test_a_true_cause_is_found_and_ranked_first() -> None:
    """One model fails at 25 %, the others at 3 %."""
    for seed in range(20):
        rng = random.Random(seed)
        columns = night(rng)
        failed = [rng.random() < (0.25 if m == "model-3" else 0.03) for m in columns["model"]]
        found = standing_out(failed, columns)
        first = found.found[0]
        assert ("model", "model-3") == (first.of.attribute, first.of.value)
        assert first.ratio.low > 1.2
        assert first.q < 0.05


def test_two_causes_are_two_lines() -> None:
    """What still stands out where the runs with the first are left aside is named by itself."""
    rng = random.Random(7)
    columns = night(rng)
    failed = [
        rng.random() < (0.5 if model == "model-1" else 0.4 if team == "tag.team-4" else 0.02)
        for model, team in zip(columns["model"], columns["tag.team"], strict=True)
    ]

    found = standing_out(failed, columns)

    assert [("model", "model-1"), ("tag.team", "tag.team-4")] == named(found)


def test_columns_that_say_the_same_are_one_line() -> None:
    """Each worker has its host: the failures of one are those of the other."""
    rng = random.Random(3)
    columns = night(rng)
    columns["host"] = [f"host-of-{worker}" for worker in columns["worker"]]
    failed = [rng.random() < (0.3 if w == "worker-2" else 0.03) for w in columns["worker"]]

    found = standing_out(failed, columns)

    assert [("host", "host-of-worker-2")] == named(found)
    assert (("worker", "worker-2"),) == found.found[0].also


def test_numbers_of_a_finding() -> None:
    """Twenty of forty with the value failed, ten of a hundred without it."""
    column = ["a"] * 40 + ["b"] * 100
    failed = [n < 20 for n in range(40)] + [n < 10 for n in range(100)]

    (first,) = standing_out(failed, {"kind": column}).found

    assert (20, 40, 10, 100) == (
        first.of.failed, first.of.runs, first.of.other_failed, first.of.other_runs,
    )  # fmt: skip
    assert (5.0, round(2 / 3, 9)) == (round(first.ratio.value, 9), round(first.covers, 9))


def test_few_failures_are_listed_and_not_tested() -> None:
    """Nine failures, all of one model: raw counts, and no finding."""
    found = standing_out([n < 9 for n in range(100)], {"model": ["x"] * 9 + ["y"] * 91})

    assert (0, ()) == (found.tested, found.found)
    assert [("x", 9, 9)] == [(one.value, one.failed, one.runs) for one in found.counts]


def test_what_cannot_tell_apart_is_left_out() -> None:
    """Too many values, a value that all have, a missing value."""
    failed = [n % 4 == 0 for n in range(400)]
    columns: dict[str, list[str | None]] = {
        "order": [f"order-{n}" for n in range(400)],
        "provider": ["responses"] * 399 + ["assistants"],
        "kind": [None if fell else "memo" for fell in failed],
    }

    found = standing_out(failed, columns)

    assert (("order", 400),) == found.left_out
    assert () == found.found
    assert 1 == found.tested


def test_runs_of_one_batch_are_told_of() -> None:
    """Of twenty failures with the value, fifteen are of one thread."""
    column = ["a"] * 20 + ["b"] * 80
    failed = [n < 20 or n > 97 for n in range(100)]
    groups = ["thread-1" if n < 15 else None for n in range(100)]

    (first,) = standing_out(failed, {"kind": column}, groups).found

    assert (6, 0.75) == (first.groups, first.largest_group)


def test_several_values_of_one_run() -> None:
    """A run that used two tools counts for both."""
    column = [("fetch", "send") if n < 20 else ("fetch",) if n < 60 else None for n in range(100)]

    found = standing_out([n < 15 for n in range(100)], {"tool": column})

    assert [("tool", "send")] == named(found)
    assert (("tool", "fetch"),) == found.found[0].also
    assert 20 == found.found[0].of.runs


def named(found: Compared) -> list[tuple[str, str]]:
    return [(one.of.attribute, one.of.value) for one in found.found]
