"""`list` by query, facets and times past; `stats`; `tag`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import CommandLine, Said, assert_clear

from ledger.clock import utcnow
from ledger.simulator import Simulator


@pytest.fixture
def ran(runward: CommandLine, sim: Simulator) -> CommandLine:
    """Two runs of one model that completed, one of another that failed, and one not sent."""
    for team in ("risk", "search"):
        runward.done("sim-ok", "--tag", f"team={team}", "--key", f"sum:{team}")
    runward.done("sim-fail-server_error", "--key", "bad:1")
    runward(
        "submit", "--model", "sim-ok", "--input", "Later", "--key", "later", "--tag", "team=risk"
    )
    return runward


def refused(said: Said, code: int, *words: str) -> None:
    """The command ended so, and said what is wrong without a traceback."""
    assert_clear(said)
    assert code == said.code
    for word in words:
        assert word in said.err


def test_runs_are_found_by_query(ran: CommandLine) -> None:
    """By prefix, tag, number and words; what is wrong with a query is said."""

    def keys(query: str) -> list[str]:
        return [run["key"] for run in ran("list", "-q", query, "-o", "json").json]

    assert ["sum:search", "sum:risk"] == keys('key:"sum:"*')
    assert ["later", "sum:risk"] == keys("tag.team:risk")
    assert ["bad:1"] == keys("status:failed error_code:server_* attempts:1 since:today")
    assert ["bad:1"] == keys("-model:sim-ok dur:<1h calls:>=1 profile:default")
    assert ["later"] == keys("-dur:>=0s imported:false pinned:false")
    refused(ran("list", "-q", "stauts:failed"), 2, "'stauts:failed'", "did you mean status?")


def test_facets_count_what_matches(ran: CommandLine) -> None:
    """All fields unless some are named, and a tag's values."""
    found = ran("list", "--facets", "-q", "model:sim-*", "-o", "json").json
    assert (4, False) == (found["runs"], found["capped"])
    statuses = {one["value"]: one["runs"] for one in found["facets"]["status"]["values"]}
    assert {"completed": 2, "failed": 1, "queued": 1} == statuses
    rows = ran("list", "--facets", "--by", "tag:team,profile", "-o", "csv").lines
    assert ["field,value,runs", "tag:team,risk,2", "tag:team,-,1", "tag:team,search,1",
            "profile,default,4"] == rows  # fmt: skip
    refused(ran("list", "--facets", "--by", "colour"), 2, "colour", "tag:NAME")
    refused(ran("list", "--by", "status"), 2, "--facets")
    refused(ran("list", "--facets", "--as-of", "1h"), 2, "--as-of")


def test_things_as_they_stood(ran: CommandLine) -> None:
    """A restarted run had failed before; nothing was there before the ledger; no future."""
    then = datetime.fromisoformat(ran("show", "bad:1", "-o", "json").json["finished_at"])
    ran("restart", "bad:1")
    at = ("--as-of", then.isoformat())

    assert "queued" == ran("show", "bad:1", "-o", "json").json["status"]
    past = ran("show", "bad:1", *at, "-o", "json").json
    assert ("failed", 1, "server_error", None) == (
        past["status"], past["attempts"], past["error_code"], past["calls"],
    )  # fmt: skip
    assert ["bad:1"] == [
        r["key"] for r in ran("list", "-q", "status:failed", *at, "-o", "json").json
    ]
    assert [] == ran("list", "--as-of", "2020-01-01", "-o", "json").json
    stats = ran("stats", *at, "--since", "1d", "-o", "json").json
    assert {"completed": 2, "failed": 1} == stats["total"]["outcomes"]
    assert {"completed": 2, "failed": 1, "unknown": 0} == stats["fleet"]
    later = (utcnow() + timedelta(days=1)).isoformat()
    refused(ran("list", "--as-of", later), 2, "still to come")
    refused(ran("show", "bad:1", "--as-of", "2020-01-01"), 3, "there was no run")
    refused(ran("list", "-q", "calls:>1", *at), 2, "calls is not known of the past")


def test_ages_count_from_the_time_that_is_asked_about(ran: CommandLine) -> None:
    """With `--as-of`, `since:0s` is that very time: what was created then, and nothing later."""
    created = ran("show", "bad:1", "-o", "json").json["created_at"]
    asked = ("--as-of", created, "-q", "since:0s", "-o", "json")

    assert ["bad:1"] == [run["key"] for run in ran("list", *asked).json]
    assert 1 == ran("stats", *asked).json["total"]["runs"]


def test_a_chart_is_svg_and_says_so(ran: CommandLine, tmp_path: Path) -> None:
    """Whoever asks for another kind of picture is told before anything is counted."""
    refused(ran("stats", "--chart", str(tmp_path / "out.png")), 2, "out.png", "ends in .svg")
    assert [] == list(tmp_path.glob("*.png"))


def test_stats_count_and_time_by_group_and_bucket(ran: CommandLine) -> None:
    """The groups add up to the total; the longest time is the 99th of two."""
    report = ran("stats", "--by", "model", "--bucket", "1d", "-o", "json").json
    rows = {row["group"]: row for row in report["groups"]}

    assert {"sim-ok": 3, "sim-fail-server_error": 1} == {g: row["runs"] for g, row in rows.items()}
    assert {"completed": 2, "queued": 1} == rows["sim-ok"]["outcomes"]
    assert 4 == report["total"]["runs"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert {midnight.isoformat()} == {row["bucket"] for row in report["groups"]}
    run = rows["sim-ok"]["run"]
    runs = ran("list", "-q", "model:sim-ok dur:>=0s", "-o", "json").json
    times = sorted(
        (datetime.fromisoformat(r["finished_at"]) - datetime.fromisoformat(r["started_at"]))
        .total_seconds()
        for r in runs
        if r["started_at"]
    )  # fmt: skip
    assert len(times) == run["runs"]
    if times:
        assert pytest.approx(times[-1]) == run["p99"]
    assert 1 == ran("stats", "-q", "status:failed", "-o", "json").json["total"]["runs"]
    assert "total" in ran("stats", "--by", "tag:team").out
    refused(ran("stats", "--by", "colour"), 2, "colour", "error_code")
    refused(ran("stats", "--bucket", "1s"), 2, "more than 2000 buckets")
    refused(ran("stats", "--since", "1h", "--until", "2h"), 2, "ends before it begins")


def test_tags_are_set_and_removed(ran: CommandLine) -> None:
    """Found by the new tags at once; the history says who; what is so already is no event."""
    done = ran("tag", "sum:risk", "--tag", "team=ops", "--tag", "seen=yes", "-o", "json").json
    assert {"team": "ops", "seen": "yes"} == done[0]["tags"]
    ran("tag", "sum:risk", "--remove", "seen", "--tag", "team=ops")
    ran("tag", "sum:risk", "--tag", "team=ops")

    def keys(query: str) -> list[str]:
        return [run["key"] for run in ran("list", "-q", query, "-o", "json").json]

    assert (["sum:risk"], [], ["later"]) == (
        keys("tag.team:ops"), keys("tag.seen:yes"), keys("tag.team:risk"),
    )  # fmt: skip
    tagged = [e for e in ran("events", "sum:risk", "-o", "json").json if e["kind"] == "tagged"]
    assert [{"set": {"team": "ops", "seen": "yes"}, "removed": []},
            {"set": {}, "removed": ["seen"]}] == [event["detail"] for event in tagged]  # fmt: skip
    assert {"operator"} == {event["source"] for event in tagged}
    assert 0 == ran("verify").code
    refused(ran("tag", "sum:risk"), 2, "at least one tag")
    refused(ran("tag", "sum:risk", "--tag", "a=1", "--remove", "a"), 2, "both set and removed")
    refused(ran("tag", "sum:risk", "--tag", "a b=1"), 2, "a b")


@pytest.mark.parametrize("bucket", [(), ("--bucket", "1d")])
def test_stats_are_drawn(ran: CommandLine, tmp_path: Path, bucket: tuple[str, ...]) -> None:
    """By group, and over time; the file is SVG without script."""
    pytest.importorskip("vl_convert")
    path = tmp_path / "out.svg"
    done = ran("stats", "--by", "model", "--since", "1d", *bucket, "--chart", str(path))
    svg = path.read_text()
    assert "written to" in done.err
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert "Runs by outcome" in svg
    refused(ran("stats", "--chart", str(tmp_path / "no" / "folder.svg")), 2, "cannot be written")
