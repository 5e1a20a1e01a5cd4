"""What the ledger knows of its runs paces the next ones: derived from rows, so never forgotten."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from service_rig import MakeRig, Rig
from support import NOW, accepted, later

from ledger.core.pacing.experience import ENOUGH, class_of
from ledger.core.pacing.profile import USUAL, ProfilePace
from ledger.core.pacing.schedule import schedule_of
from ledger.core.pacing.worth import Aim, expected
from ledger.errors import ConfigurationError
from ledger.service.accounts import AccountRecord
from ledger.service.learning import MET_MAX, Learning
from ledger.service.paces import pace_of
from ledger.service.threads import to_its_end
from ledger.settings import load_settings
from ledger.store.durations import Spent, recent

SLOW = {"durations": {"slow": 1.0}}
MEMO = class_of("responses", "sim-slow", None, "memo")


def taught(rig: Rig, runs: int = ENOUGH) -> None:
    """Runs of one class, all with a verdict."""
    rig.finish(*(rig.submit("sim-slow", kind="memo") for _ in range(runs)))


def looks_at(rig: Rig, kind: str) -> dict[str, Any]:
    """The next looks at a new run that upstream works on."""
    run = rig.submit("sim-slow", kind=kind)
    rig.until(run, lambda facts: facts.remotes[0].remote_id is not None)
    return rig.ledger.next_looks(run)


@pytest.mark.problem(20)
def test_whoever_opens_the_ledger_knows_what_was_learned(make_rig: MakeRig) -> None:
    """A class with runs enough is paced by them; another kind of the same model leans on those."""
    rig = make_rig(SLOW, poll_seconds=None)
    before = looks_at(rig, "memo")
    taught(rig)
    memo, letter = looks_at(rig, "memo"), looks_at(rig, "letter")

    assert ("backoff", None) == (before["policy"], before["class"])
    assert {"learned"} == {look["why"] for look in memo["looks"]}
    assert ["responses", "sim-slow", "memo"] == memo["class"]["of"]
    assert ["responses", "sim-slow"] == letter["class"]["of"]
    assert 0.1 <= memo["class"]["p50_seconds"] <= 2.5
    assert [] != memo["looks"]
    chances = [look["over_by_then"] for look in memo["looks"]]
    assert sorted(chances) == chances


def test_a_life_knows_at_once_what_it_saw_itself(make_rig: MakeRig) -> None:
    """Ends are counted as they come, long before the ledger is read again."""
    rig = make_rig({"durations": {"slow": 0.2}})
    with rig.daemon() as life:
        runs = [rig.submit("sim-slow", kind="memo") for _ in range(3)]
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
        rig.expect(lambda: life.learning.experience.count(MEMO) == 3)


@pytest.mark.parametrize(("minutes", "kinds"), [(5, 1), (60, 1), (60, 100)])
def test_calls_a_minute_are_those_of_all_runs(minutes: int, kinds: int) -> None:
    """Also where the newest runs began minutes ago, and where there are very many classes."""
    account = AccountRecord(id=1, provider="responses", base_url="u", project="", profile="p")
    pace = ProfilePace(aim=Aim(calls_per_minute=3.0 * 5_000 / minutes))
    newest = [
        Spent(
            run_id=n + 1,
            n=1,
            account_id=1,
            of=class_of("responses", "m", None, str(n % kinds)),
            created_at=later(-60 * minutes * (1 - n / 5_000)),
            seconds=math.exp(3 + n * 0.618 % 1),
        )
        for n in range(5_000)
    ]
    store = SimpleNamespace(read=lambda query: newest if query is recent else {})
    learning = Learning(store, {"p": pace}, {1: account}, None, lambda: NOW)  # type: ignore[arg-type]
    asyncio.run(learning.refresh(NOW))

    density = learning.experience.density(newest[0].of, NOW)
    calls, _ = expected(density, schedule_of(density, learning.worth("p")))
    assert pytest.approx(3.0, rel=0.1) == calls


def test_however_many_classes_are_met_few_are_looked_up() -> None:
    """A `kind` of its own for each run costs neither memory nor a query each for ever."""
    reads: list[Any] = []
    store = SimpleNamespace(read=lambda query: reads.append(query) or {})
    coverage = SimpleNamespace(covers=lambda account, provider: False)
    learning = Learning(store, {}, {}, coverage, lambda: NOW)  # type: ignore[arg-type]
    facts = accepted()
    for n in range(5 * MET_MAX):
        learning.choice(replace(facts, run=replace(facts.run, kind=str(n))), NOW)

    asyncio.run(learning.refresh(NOW))

    assert MET_MAX <= len(reads) <= MET_MAX + 2


def test_a_target_finds_its_price(make_rig: MakeRig) -> None:
    """Who wants to know sooner pays more calls: the price of a second rises."""
    worths = []
    for seconds in (0.1, 5.0):
        rig = make_rig(SLOW, poll_seconds=None, pacing={"notice_within_seconds": seconds})
        taught(rig)
        worths.append(looks_at(rig, "memo")["worth"])
    assert worths[0] > 2 * worths[1]


def test_a_run_with_a_verdict_has_no_next_look(make_rig: MakeRig) -> None:
    """Nothing is planned for it, and that is an answer."""
    rig = make_rig()
    assert [] == rig.ledger.next_looks(rig.run())["looks"]


def test_how_runs_are_watched_is_configured_by_profile() -> None:
    """A profile's own table goes before the common one; what is not given keeps its default."""
    settings = load_settings(
        pacing={"policy": "backoff", "cap_seconds": 9.0},
        profiles={"slow": {"pacing": {"notice_within_seconds": 30.0}}, "other": {}},
    )
    default, slow, other = (pace_of(settings, name) for name in ("default", "slow", "other"))
    assert ("backoff", 9.0, USUAL.backoff.factor) == (
        default.policy, default.backoff.cap_seconds, default.backoff.factor
    )  # fmt: skip
    assert ("learned", 30.0) == (slow.policy, slow.aim.notice_within_seconds)
    assert default == other


@pytest.mark.parametrize(
    ("pacing", "says"),
    [
        ({"worth": 1.0, "calls_per_minute": 5.0}, "one of worth"),
        ({"worth": 0.0}, "greater than or equal"),
        ({"policy": "often"}, "learned"),
        ({"every": 3}, "every"),
    ],
)
def test_what_cannot_be_meant_is_refused(pacing: dict[str, Any], says: str) -> None:
    """Two aims, a price of nothing, a policy or key that is not there."""
    with pytest.raises(ConfigurationError, match=says):
        load_settings(pacing=pacing)


async def _cancelled(begun: threading.Event, go: threading.Event, ended: list[bool]) -> None:
    def read() -> None:
        begun.set()
        assert go.wait(20)
        ended.append(True)

    task = asyncio.create_task(to_its_end(read))
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [True] == ended


def test_a_cancelled_reading_comes_to_its_end_first() -> None:
    """Or the database would be closed under it, and its connection left open."""
    asyncio.run(_cancelled(threading.Event(), threading.Event(), []))
