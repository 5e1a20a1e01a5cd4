"""The deterministic simulation: a slice of it here, the long form by `make fuzz`."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ledger.commands import main
from ledger.core.decide import arm
from ledger.core.record import evolve
from ledger.fuzzing.play import Played, play, shortest
from ledger.fuzzing.scenarios import SCENARIOS, killed_everywhere, stopped_everywhere
from ledger.fuzzing.schedule import Crash, Schedule, Submit, schedule_of
from ledger.service.driver import Driver
from ledger.service.housekeeping import Housekeeping
from ledger.service.reconciler import Reconciler
from ledger.store.batch import Batch
from ledger.store.records import Decision
from ledger.store.store import Store
from ledger.store.verify import _History

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("RUNWARD_TEST_FUZZ_SEEDS", "4"))
EVERY = int(os.environ.get("RUNWARD_TEST_FUZZ_EVERY", "307"))
MUTANT_SEEDS = 40


@pytest.mark.problem(1, 3)
@pytest.mark.failure(2)
@pytest.mark.parametrize("part", range(4))
def test_no_seed_breaks_a_promise(part: int) -> None:
    for seed in range(part, SEEDS, 4):
        assert () == play(schedule_of(seed)).problems, f"runward sim fuzz --seed {seed}"


@pytest.mark.sampled(3)
@pytest.mark.failure(4, 11)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_death_at_any_point_of_a_story_loses_nothing(name: str) -> None:
    plays = list(killed_everywhere(name, every=EVERY, first=1 + len(name) % EVERY))
    assert [] == [(p.schedule.acts[-1], p.problems) for p in plays if not p.ok]
    assert all(played.deaths == 1 for played in plays[1:])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stop_beyond_the_lease_at_any_point_of_a_story_loses_nothing(name: str) -> None:
    plays = stopped_everywhere(name, every=5 * EVERY, first=1 + len(name) % EVERY)
    assert [] == [(p.schedule.acts[-1], p.problems) for p in plays if not p.ok]


def test_one_seed_is_one_history() -> None:
    first, second = play(schedule_of(3)), play(schedule_of(3))
    assert (first.digest, first.points) == (second.digest, second.points)
    assert first.digest != play(schedule_of(4)).digest


@pytest.mark.sampled(4)
@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_the_history_of_a_seed_is_the_same_in_another_process(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "sim", "fuzz", "--seed", "3"],
        capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    assert f"digest  {play(schedule_of(3)).digest}" in done.stdout


def test_a_play_leaves_nothing_behind() -> None:
    """Thousands in a row must not need thousands of times the memory."""
    before = held()
    plays = list(killed_everywhere("tool-chain", every=150))
    assert len(plays) - 1 == sum(played.deaths for played in plays) > 1
    assert before == held()


def held() -> int:
    """How many stores and reconcilers are in memory."""
    for _ in range(3):
        gc.collect()
    return sum(isinstance(found, Store | Reconciler) for found in gc.get_objects())


def test_the_command_counts_what_it_played() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "sim", "fuzz", "--seeds", "1", "-o", "json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    account = json.loads(done.stdout)
    expected = [play(schedule_of(seed)) for seed in range(1)]
    assert sum(p.events for p in expected) == account["events"]
    assert (1, None) == (account["plays"], account["failed_seed"])


# Broken on purpose: what the simulation is for is to notice.


def no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lost a run writes to it all the same."""
    decide_all = Batch._decide_all

    def unguarded(self: Batch, connection: Any, records: Any, *more: Any) -> None:
        free = [evolve(r, guard=None) if isinstance(r, Decision) else r for r in records]
        decide_all(self, connection, free, *more)

    monkeypatch.setattr(Batch, "_decide_all", unguarded)


def not_armed(kind: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A step of this kind has its effect without the record before it."""

    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        armed = Driver._arm

        async def forget(self: Driver, entry: Any, step: Any, context: Any) -> bool | None:
            if type(step).__name__ != kind:
                return await armed(self, entry, step, context)
            # As a careless program would: known in memory, and not on disk.
            entry.facts = arm(entry.facts, step, context).after
            return True

        monkeypatch.setattr(Driver, "_arm", forget)

    return mutate


def never_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An effect begins on a commit of any age."""

    async def always(self: Driver, entry: Any, armed: float) -> bool:
        del self, entry, armed
        return True

    monkeypatch.setattr(Driver, "_fresh", always)


def no_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody puts what happened under a seal."""

    async def never(self: Housekeeping, now: datetime) -> None:
        del self, now

    monkeypatch.setattr(Housekeeping, "seal_if_due", never)


def seals_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever verifies takes the chains for enough."""
    fail = _History.fail

    def deaf(self: _History, seq: int, why: str) -> None:
        if "seal" not in why:
            fail(self, seq, why)

    monkeypatch.setattr(_History, "fail", deaf)
    monkeypatch.setattr("ledger.store.verify.check_seals", lambda *_: (0, []))


def killed(name: str) -> Callable[[], Iterator[Played]]:
    return lambda: killed_everywhere(name, every=3)


def stopped(name: str) -> Callable[[], Iterator[Played]]:
    return lambda: stopped_everywhere(name, every=7, first=99)


def any_seed() -> Iterator[Played]:
    return (play(schedule_of(seed)) for seed in range(MUTANT_SEEDS))


Mutant = tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], Iterator[Played]]]
MUTANTS: dict[str, Mutant] = {
    "no fence": (no_fence, stopped("two-parallel-tools")),
    "no second look before an effect": (never_asked_again, stopped("two-parallel-tools")),
    "no journalled create": (not_armed("Create"), killed("one-run")),
    "no started-before record": (not_armed("RunTools"), killed("tool-chain")),
    "no seal": (no_seal, any_seed),
    "no look at the seals": (seals_unread, any_seed),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_simulation_finds(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, plays = MUTANTS[mutant]
    mutate(monkeypatch)
    assert any(not played.ok for played in plays())


def test_the_command_plays_stories_whole_and_with_a_death_and_with_a_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: SCENARIOS[name] for name in ("one-run", "cancel-race")}
    monkeypatch.setattr("ledger.fuzzing.campaign.SCENARIOS", few)
    monkeypatch.setattr("ledger.fuzzing.scenarios.SCENARIOS", few)
    arguments = ["sim", "fuzz", "--stories", "--every", "100000", "-o", "json"]
    monkeypatch.setattr(sys, "argv", ["runward", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    account = json.loads(capsys.readouterr().out)
    assert (0, None, len(few)) == (ended.value.code, account["failed_seed"], account["deaths"])
    assert 4 * len(few) == account["plays"]


def test_a_failing_schedule_is_cut_to_what_it_takes() -> None:
    def fails(schedule: Schedule) -> bool:
        return any(isinstance(act, Crash) and act.point > 5 for act in schedule.acts)

    story = SCENARIOS["one-run"]
    long = replace(story, acts=(*story.acts, Crash(point=3), Crash(point=9), Crash(point=7)))
    assert (Crash(point=7),) == shortest(long, fails).acts


def test_a_run_that_nobody_finishes_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.fuzzing.play.LIMIT_SECONDS", 5.0)
    played: Played = play(Schedule(seed=1, acts=(Submit(at=0.1, key="a", model="sim-slow"),)))
    assert ["not over: run 1 (observe)"] == [p for p in played.problems if "not over" in p]
