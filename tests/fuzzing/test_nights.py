"""Nights whose truth is known: the report names what happened, when and how often, and no more."""

from __future__ import annotations

import fcntl
import os
import pickle
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import render
from ledger.fuzzing.nights import BAD, Night, Truth, play_night, report_on

MINUTE = timedelta(minutes=1)
QUIET = Night(seed=11, hours=3.0, runs=150)
Numbers = dict[str, Any]


@dataclass
class Told:
    """What a report says of a night, beside the truth."""

    truth: Truth
    numbers: Numbers

    @property
    def causes(self) -> list[str]:
        """The kinds of what may have contributed."""
        return sorted({factor["kind"] for factor in self.numbers["factors"]})


def tell(night: Night, folder: Path) -> Told:
    """Play a night and have it reported on, until everything in it was over."""
    path = folder / "night.db"
    truth = play_night(night, path)
    assert () == truth.problems
    return Told(truth, report_on(path, truth))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The bad night, played once for all the processes that test."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    kept = shared / "the-bad-night.pickle"
    with (shared / "the-bad-night.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(tell(BAD, tmp_path_factory.mktemp("bad"))))
    told: Told = pickle.loads(kept.read_bytes())
    return told


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_each_trouble_is_named_and_no_other(bad: Told) -> None:
    assert ["death", "standing_out", "storm", "tool", "webhook_gap"] == bad.causes
    summary = "\n".join(bad.numbers["summary"])
    for part in ("2026-01-01 02:10 UTC", "with 429", "02:25 UTC", "gpt-5-mini", "tool search"):
        assert part in summary


def test_the_storm_lasts_from_its_first_to_its_last_429(bad: Told) -> None:
    (storm,) = bad.numbers["headroom"]["storms"]
    first, last = bad.truth.refused[0], bad.truth.refused[-1]
    assert first - MINUTE < time(storm["start"]) <= first
    assert last < time(storm["end"]) <= last + MINUTE
    scripted = [bad.truth.at(2 + minutes / 60).isoformat() for minutes in (10, 40)]
    assert scripted == [storm["start"], storm["end"]]


def test_each_429_is_counted_but_those_of_a_dead_mans_last_minute(bad: Told) -> None:
    """Counts are written once a minute: a killed life takes the last ones with it, and the report
    says so."""
    (died,) = bad.truth.died
    lost = [at for at in bad.truth.refused if died - MINUTE <= at <= died]
    told = sum(account["refused"] for account in bad.numbers["headroom"]["accounts"])
    assert len(bad.truth.refused) - len(lost) <= told <= len(bad.truth.refused)
    assert any("last minute" in line for line in bad.numbers["unknown"])


def test_the_crash_has_its_time_and_its_takeover(bad: Told) -> None:
    (died,) = bad.truth.died
    (event,) = [e for e in bad.numbers["environment"]["events"] if e["kind"] == "died"]
    assert timedelta() <= time(event["at"]) - died < timedelta(seconds=5)
    assert 1 == bad.numbers["environment"]["counts"]["takeover"]
    assert event["detail"]["runs"] > 0


def test_the_webhook_gap_is_bounded_by_deliveries(bad: Told) -> None:
    assert bad.truth.night.outage is not None
    begins, ends = (bad.truth.at(hours) for hours in bad.truth.night.outage)
    (gap,) = bad.numbers["environment"]["webhook_gaps"]
    assert begins - 3 * MINUTE < time(gap["start"]) <= begins + timedelta(seconds=1)
    assert ends <= time(gap["closed_at"]) < ends + 3 * MINUTE


def test_the_failing_model_is_found_with_its_numbers(bad: Told) -> None:
    truth = bad.truth
    failed = truth.failing(once=False) | (truth.failing(once=True) - truth.tried_again)
    (found,) = bad.numbers["differences"]["found"]
    of_model = {key for key, model in truth.models.items() if model == truth.night.ill_model}
    assert ("model", truth.night.ill_model) == (found["attribute"], found["value"])
    assert (len(failed & of_model), len(of_model)) == (found["failed"], found["runs"])
    others = len(truth.models) - len(of_model)
    assert (len(failed - of_model), others) == (found["other_failed"], found["other_runs"])


def test_every_run_and_every_attempt_is_accounted_for(bad: Told) -> None:
    truth, impact = bad.truth, bad.numbers["impact"]
    once, always = truth.failing(once=True), truth.failing(once=False)
    recovered, failed = once & truth.tried_again, always | (once - truth.tried_again)
    attempts = len(once) + len(always) + len(always & truth.tried_again)
    assert (truth.night.runs, truth.night.runs) == (impact["started"], impact["finished"])
    assert (len(failed), 0, 0) == (impact["failed"], impact["lost"], impact["open"])
    buckets = bad.numbers["recovery"]["buckets"]
    assert attempts == bad.numbers["recovery"]["failed_attempts"]
    assert attempts == sum(bucket["attempts"] for bucket in buckets.values())
    assert len(recovered) == buckets["restarted_and_recovered"]["runs"]
    assert len(failed) == buckets["failed_for_good"]["runs"]
    (print_,) = bad.numbers["fingerprints"]["listed"]
    assert (attempts, len(once | always), "server_error") == (
        print_["attempts"], print_["runs"], print_["code"],
    )  # fmt: skip


def test_the_slow_tool_is_named_for_its_half_hour(bad: Told) -> None:
    (tool,) = bad.numbers["tools"]
    calls = sum(made == "tool" for made in bad.truth.behaviours.values())
    timeouts = bad.truth.tool_timeouts
    assert (calls, len(timeouts)) == (tool["calls"], tool["errors"]["part"])
    asked, over = time(tool["first_error"]), time(tool["last_error"])
    assert timedelta() <= timeouts[0] - asked < timedelta(seconds=1)
    assert timedelta(seconds=19) < over - timeouts[-1] < timedelta(seconds=22)
    assert {"timeout": len(timeouts)} == tool["kinds"]


def test_lags_and_tokens_are_those_of_upstream(bad: Told) -> None:
    """No verdict before upstream's end, and the tokens of all its objects."""
    assert 0 == bad.numbers["detection"]["negative"]
    assert bad.truth.night.runs == bad.numbers["detection"]["with_lag"]
    total = bad.numbers["waste"]["total"]
    assert len(bad.truth.jobs) == total["objects"]
    assert 0 == total["without_usage"]


NIGHTS = {
    "quiet": (QUIET, []),
    "quiet, too": (replace(QUIET, seed=12), []),
    "quiet again": (replace(QUIET, seed=13), []),
    "without webhooks": (replace(QUIET, seed=14, webhooks=False), []),
    "nothing fails": (replace(QUIET, seed=15, usual_share=0.0), []),
    "half of all runs fail, whoever asks": (replace(QUIET, seed=16, usual_share=0.5), []),
    "storm": (replace(QUIET, seed=17, storm=(1.0, 1.5)), ["storm"]),
    "outage": (replace(QUIET, seed=18, outage=(1.0, 2.0)), ["webhook_gap"]),
    "crash": (replace(QUIET, seed=19, crash=1.25), ["death"]),
    "one model": (replace(QUIET, seed=20, ill_model="gpt-5.1", ill_share=0.4), ["standing_out"]),
    "slow tool": (replace(QUIET, seed=21, slow_tool=(1.0, 2.0)), ["tool"]),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", NIGHTS)
def test_no_cause_is_invented_and_none_is_missed(name: str, tmp_path: Path) -> None:
    night, causes = NIGHTS[name]
    told = tell(night, tmp_path)
    assert causes == told.causes
    truth, impact = told.truth, told.numbers["impact"]
    failed = truth.failing(once=False) | (truth.failing(once=True) - truth.tried_again)
    assert (night.runs, len(failed)) == (impact["finished"], impact["failed"])
    if name == "nothing fails":
        assert told.numbers["quiet"]


def test_the_example_in_the_docs_is_this_night(bad: Told) -> None:
    """Played anew, in another process, it gives the same bytes; `make example` writes them."""
    page = Path(__file__).parents[2] / "docs" / "example-report.md"
    assert page.read_text(encoding="utf-8") == render(bad.numbers, "md")
