"""Reports on what a simulator did: the numbers are those of its own log, and stay the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from service_rig import KEY, ROOT, MakeRig, Rig

from ledger import InvalidInput, Ledger, NotFound, render, tool
from ledger.clock import utcnow

NASTY = "<script>alert('x')</script> | `tick` **bold**"


@tool(idempotent=True, timeout_seconds=0.05)
async def slow(x: int = 0) -> dict[str, Any]:
    """Never done in time."""
    await asyncio.sleep(5)
    return {}


@pytest.fixture
def night(make_rig: MakeRig) -> Rig:
    """Twelve runs that complete, eleven that fail, one of them with a restart, one cancelled."""
    rig = make_rig()
    runs = [rig.submit("sim-ok", tags={"team": "search"}) for _ in range(12)]
    runs += [
        rig.submit(
            "sim-fail-server_error",
            tags={"team": NASTY},
            key=f"{NASTY}-{n}",
            restart="failed:server_error=1" if n == 0 else None,
        )
        for n in range(11)
    ]
    rig.finish(*runs)
    return rig


def window(rig: Rig, **fields: Any) -> dict[str, Any]:
    """The numbers of the last hour, as of now."""
    return rig.ledger.postmortem(since="1h", **fields)


def test_the_numbers_are_those_of_the_simulator(night: Rig) -> None:
    """Creates, ends and failures, counted there and here."""
    found = window(night)
    creates = [e for e in night.sim.log() if e["operation"] == "responses.create" and e["accepted"]]
    models = Counter(entry["model"] for entry in creates) if "model" in creates[0] else None

    assert (23, 23, 11) == tuple(found["impact"][n] for n in ("started", "finished", "failed"))
    assert len(creates) == 24 == found["waste"]["total"]["objects"]
    assert 12 == found["recovery"]["failed_attempts"]
    assert 12 == found["recovery"]["buckets"]["failed_for_good"]["attempts"]
    assert 1 == found["recovery"]["restarts_by_policy"]
    assert models is None or {"sim-ok": 12, "sim-fail-server_error": 12} == models
    (kind,) = found["fingerprints"]["listed"]
    assert (12, 11, "server_error") == (kind["attempts"], kind["runs"], kind["code"])
    assert 23 == found["detection"]["with_lag"] == found["detection"]["verdicts"]
    (first,) = found["differences"]["found"]
    assert "sim-fail-server_error" in (first["value"], *(one["value"] for one in first["also"]))
    assert {one["upstream_id"] for one in found["evidence"]["listed"]} <= {
        entry["object_id"] for entry in night.sim.log()
    }


def test_the_printed_commands_list_what_was_counted(night: Rig) -> None:
    """Of the impact, of the fingerprint, of the value that stands out, also within a query."""
    for query in ("", "tag.team:search,other -kind:none"):
        found = window(night, query=query)
        impact, queries = found["impact"], found["impact"]["queries"]
        counted = {queries[name]: impact[name] for name in ("started", "finished", "failed")}
        for one in found["fingerprints"]["listed"]:
            asked = shlex.split(one["query"])
            if asked[:3] == ["runward", "errors", "show"]:
                group = night.ledger.error(asked[3], since=asked[5], until=asked[7])
                assert (one["attempts"], one["runs"]) == (group["attempts"], group["runs"])
        named = [one for one in found["differences"]["found"] if one["query"]]
        counted |= {one["query"]: one["failed"] for one in named}
        for command, number in counted.items():
            program, verb, option, asked = shlex.split(command)
            assert ("runward", "list", "-q") == (program, verb, option)
            assert number == len(night.ledger.runs(asked)), asked


def test_the_commands_of_what_became_of_failures_show_what_was_counted(night: Rig) -> None:
    """Each bucket, each waste, the latest verdicts: the runs that are shown are those counted."""
    found, runs = window(night), night.ledger
    buckets = {name: one for name, one in found["recovery"]["buckets"].items() if one["runs"]}
    for one in (*buckets.values(), *found["waste"]["by_cause"].values()):
        shown = [runs.show(n) for n in named(one["query"])]
        assert one["runs"] == len({run["id"] for run in shown})
        assert {"failed"} == {run["status"] for run in shown}
    failed = sum(len(runs.show(n)["attempts_detail"]) for n in named(one["query"]))
    assert found["recovery"]["failed_attempts"] == failed
    latest = found["detection"]["latest"]
    assert [one["run"] for one in latest] == [n for one in latest for n in named(one["query"])]
    asked = shlex.split(found["detection"]["query"])[3]
    assert found["detection"]["verdicts"] == len(runs.runs(asked))
    asked = shlex.split(found["waste"]["failed_query"])[3]
    assert found["waste"]["calls_of_failed_runs"] == sum(run.calls for run in runs.runs(asked))


def named(command: str) -> list[int]:
    """The runs that a printed command shows."""
    program, verb, *numbers = shlex.split(command)
    assert ("runward", "show") == (program, verb)
    return [int(number) for number in numbers]


def test_a_tool_that_times_out_is_named(make_rig: MakeRig) -> None:
    """Six calls, six timeouts."""
    rig = make_rig(tools=[slow])
    rig.finish(*(rig.submit("sim-tool") for _ in range(6)))

    found = window(rig)

    (one,) = found["tools"]
    assert ("slow", {"timeout": 6}, 6) == (one["tool"], one["kinds"], one["errors"]["part"])
    calls = [call for n in named(one["query"]) for call in rig.ledger.show(n)["tool_calls"]]
    assert 6 == sum(call["is_error"] for call in calls)
    assert any("tool slow gave an error in 6 of 6 calls" in text for text in found["summary"])


PROGRAM_RUN = """
import sys
from ledger import Ledger, render
with Ledger.open(sys.argv[1]) as ledger:
    run = next(run for run in ledger.runs() if run.attempts == 2)
    sys.stdout.write(render(ledger.postmortem_run(run, as_of="{as_of}"), "html"))
"""
PROGRAM = """
import sys
from ledger import Ledger, render
with Ledger.open(sys.argv[1]) as ledger:
    found = ledger.postmortem(since=sys.argv[2], until=sys.argv[3], as_of=sys.argv[4])
    sys.stdout.write(chr(0).join(render(found, form) for form in ("md", "html", "json")))
"""


def test_a_report_on_one_run_says_what_changed_in_upstreams_object(night: Rig) -> None:
    """As `events --diff` does, in short; nothing of later, and nothing with hidden names."""
    run = next(run for run in night.ledger.runs() if run.attempts == 2)
    shown = {e["seq"]: e["diff"] for e in night.ledger.events(run, diff=True) if e.get("diff")}

    changes = night.ledger.postmortem_run(run)["changes"]

    assert {seq: len(of) for seq, of in shown.items()} == Counter(c["seq"] for c in changes)
    assert '"failed"' in {one["value"] for one in changes if one["path"] == "/status"}
    assert all(len(one["value"] or "") <= 80 for one in changes)
    created = night.ledger.get(run).created_at
    assert [] == night.ledger.postmortem_run(run, as_of=created)["changes"]
    assert [] == night.ledger.postmortem_run(run, redact=True)["changes"]
    assert "| /status | " in render(night.ledger.postmortem_run(run), "md")


def test_a_chart_of_one_run_is_the_same_in_every_time_zone(night: Rig) -> None:
    """The library told the day of an end in the zone of the machine."""
    pytest.importorskip("vl_convert")
    now = utcnow().isoformat()
    program = PROGRAM_RUN.format(as_of=now)

    def made(zone: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, night.url],
            capture_output=True,
            check=True,
            env={**os.environ, "TZ": zone, "OPENAI_API_KEY": KEY},
            cwd=ROOT,
        )
        return done.stdout.decode()

    first = made("Pacific/Kiritimati")

    assert "attempt 2, queued: " in first
    assert first == made("Pacific/Pago_Pago")


def test_the_same_window_gives_the_same_bytes(night: Rig) -> None:
    """In every form; in processes that hash differently, and after the world has gone on."""
    now = utcnow()
    since = now.replace(hour=0, minute=0).isoformat()
    given = (night.url, since, now.isoformat(), now.isoformat())

    def made(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *given],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed, "OPENAI_API_KEY": KEY},
            cwd=ROOT,
        )
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout.decode().split("\0")

    first = made("1")
    night.run("sim-fail-other")

    assert first == made("4711")
    assert 3 == len(first)
    assert min(map(len, first)) > 3_000


def test_what_runs_say_is_text(night: Rig) -> None:
    """A tag with mark-up in it: in HTML it is escaped, in Markdown it is no mark-up."""
    found = window(night)
    html, markdown = render(found, "html"), render(found, "md")

    assert "<script" not in html
    assert "&lt;script&gt;alert" in html
    assert "https://" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", html)
    escaped = re.sub(r"\\.", "", markdown)
    plain = re.sub(r"`` .* ``|`[^`\n]*`", "", escaped)
    assert "<script" not in plain
    assert "**bold**" not in plain
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    heads = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    ours = [n for n, row in enumerate(rows) if "alert" in row]
    assert ours
    assert all(heads[n] in heads[:n] for n in ours)


def test_json_holds_all_numbers_and_the_charts(night: Rig) -> None:
    found = window(night)
    made = json.loads(render(found, "json"))

    assert found == {name: part for name, part in made.items() if name != "charts"}
    assert {"ends", "fingerprints", "recovery", "headroom"} == set(made["charts"])
    assert "runward-postmortem/1" == made["schema"]


def test_charts_are_drawn_without_script(night: Rig) -> None:
    """Inline SVG, where the extra is installed."""
    pytest.importorskip("vl_convert")

    html = render(window(night), "html")

    assert 3 <= html.count("<svg")
    assert "<script" not in html
    assert 1 == html.count("<style>")


def test_names_can_be_left_out(night: Rig) -> None:
    """No key, tag, upstream id, host or life in any form."""
    found = window(night, redact=True)
    ids = {entry["object_id"] for entry in night.sim.log() if entry["object_id"]}
    lives = {row.id for row in night.rows("SELECT id FROM worker")}

    for form in ("md", "html", "json"):
        text = render(found, form)
        assert "alert" not in text
        assert "search" not in text.replace("searched", "")
        assert [] == [name for name in ids | lives if name in text]
        assert [] == [name for name in lives if name[:8] in text]
    assert 11 == found["impact"]["failed"]


def test_a_report_on_one_run(night: Rig) -> None:
    """The restarted one: two attempts, the timeline that `show` has too, its siblings."""
    run = next(run for run in night.ledger.runs() if run.attempts == 2)
    found = night.ledger.postmortem_run(run)
    phases = found["timeline"]["phases"]

    assert ["failed", "failed"] == [one["outcome"] for one in found["attempts"]]
    assert found["timeline"] == night.ledger.show(run)["timeline"]
    assert all(a["until"] == b["since"] for a, b in pairwise(phases))
    assert 10 == found["siblings"]["same_failure"]
    assert (10, 10) == tuple(found["siblings"][n] for n in ("same_hour", "same_hour_failed"))
    assert len(found["events"]) == night.ledger.get(run).event_seq
    markdown = render(found, "md")
    assert f"# Report on run {run.id}" in markdown
    assert "attempt 2 " in markdown
    assert "failed: server_error" in markdown
    assert "<script" not in render(found, "html")
    hidden = render(night.ledger.postmortem_run(run, redact=True), "json")
    assert "alert" not in hidden
    assert all(remote["upstream_id"] not in hidden for remote in found["remotes"])


def test_a_run_as_of_an_earlier_time(night: Rig) -> None:
    """When its first attempt had just failed, the second was not over."""
    run = next(run for run in night.ledger.runs() if run.attempts == 2)
    first = night.ledger.facts(run).attempts[0]
    assert first.ended_at is not None

    found = night.ledger.postmortem_run(run, as_of=first.ended_at)

    assert ["failed", None] == [one["outcome"] for one in found["attempts"]]
    assert "queued" == found["run"]["state"]
    assert "queued" == found["timeline"]["phases"][-1]["name"]
    assert [1] == [one["n"] for one in found["remotes"]]


def test_nothing_of_later_is_in_a_run_as_of_an_earlier_time(rig: Rig) -> None:
    """Just after it was sent: no verdict, no end, no tokens, no failure like it."""
    rig.run("sim-fail-server_error", restart="none")
    run = rig.run("sim-fail-server_error", restart="none")
    facts = rig.ledger.facts(run)
    assert facts.remotes[0].sent_at is not None

    found = rig.ledger.postmortem_run(run, as_of=facts.remotes[0].sent_at)

    (remote,) = found["remotes"]
    names = ("upstream_id", "request_id", "status", "upstream_ended_at", "noticed_at", "tokens_in")
    assert [None] * len(names) == [remote[name] for name in names]
    assert 0 == found["siblings"]["same_failure"]
    later = rig.ledger.postmortem_run(run)
    assert "failed" == later["remotes"][0]["status"]
    assert 1 == later["siblings"]["same_failure"]


def test_a_model_that_somebody_named_is_hidden(rig: Rig) -> None:
    """Of a window, and of one run."""
    run = rig.submit("ft:gpt-5:acme-corp::abc")

    found = rig.ledger.postmortem_run(run, redact=True)

    assert "acme" not in json.dumps(found)
    assert "acme" not in json.dumps(rig.ledger.postmortem(since="1h", redact=True))
    assert "acme" in json.dumps(rig.ledger.postmortem_run(run))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"since": "1h", "until": "2h"}, "before it begins"),
        ({"since": "200d"}, "longer than 92 days"),
        ({"since": "1h", "as_of": "2999-01-01T00:00:00+00:00"}, "future"),
        ({"since": "1h", "baseline": "month"}, "previous, week"),
        ({"since": "soon"}, "soon"),
        ({"since": "1h", "query": "colour:red"}, "colour"),
    ],
)
def test_what_cannot_be_meant_is_refused(rig: Rig, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        rig.ledger.postmortem(**fields)


def test_incidents_are_found_and_shown(night: Rig) -> None:
    """Twelve failed attempts in a ledger that has no other day: proposed, and found by name."""
    found = night.ledger.incidents()

    assert [] == [one for one in found if one["kind"] not in ("failures", "storm")]
    for one in found:
        assert one == night.ledger.incident(one["id"])
    with pytest.raises(NotFound, match="no incident"):
        night.ledger.incident("failures-19990101T0000")


def test_the_example_of_the_module(tmp_path: Path) -> None:
    """A base install makes Markdown of an empty ledger."""
    with Ledger.open(f"sqlite:///{tmp_path / 'empty.db'}", migrate=True) as ledger:
        text = render(ledger.postmortem(since="8h"))

    assert "No run was created and none ended in this window." in text
