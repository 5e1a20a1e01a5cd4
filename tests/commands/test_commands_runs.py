"""The verbs on runs: submit, wait, result, list, show, events, cancel, restart, adopt."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from support import SQLITE

from ledger.simulator import Simulator

pytestmark = pytest.mark.usefixtures("sim")
FORMS = ("table", "json", "ndjson", "csv", "name")


def rows(text: str) -> list[dict[str, str]]:
    """A CSV document as rows."""
    return list(csv.DictReader(io.StringIO(text)))


def test_the_whole_way_on_the_command_line(runward: CommandLine) -> None:
    """Submit, wait, result, list, events and verify agree with one another on both databases."""
    number = runward.submit("sim-ok", "--key", "memo", "--tag", "team=risk")

    assert 8 == runward("result", "memo").code
    assert 0 == runward("wait", "memo", "--timeout", "20s").code
    assert "4\n" == runward("result", number).out
    (row,) = runward("list", "-q", "status:completed tag.team:risk", "-o", "json").json
    assert (int(number), "memo", "completed") == (row["id"], row["key"], row["status"])
    events = runward("events", "memo", "-o", "json").json
    assert list(range(1, len(events) + 1)) == [event["seq"] for event in events]
    assert [] == runward("verify", "-o", "json").json["broken"]
    assert 0 == runward("db", "check").code
    assert "current" == runward("db", "current", "-o", "json").json["fit"]


@SQLITE
@pytest.mark.parametrize("command", [("list",), ("tools", "list"), ("workers", "list")])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_of_nothing_is_valid(
    runward: CommandLine, command: tuple[str, ...], form: str
) -> None:
    """An empty list is `[]` in JSON, no line in the line formats and a header in the others."""
    said = runward(*command, "-o", form)

    assert (0, "") == (said.code, said.err)
    if form == "json":
        assert "[]\n" == said.out
    elif form in ("ndjson", "name"):
        assert "" == said.out
    else:
        assert 1 == len(said.lines)


@SQLITE
def test_every_format_of_a_list(runward: CommandLine) -> None:
    """Table, JSON, NDJSON, CSV and names say the same."""
    first, second = runward.submit("sim-ok"), runward.submit("sim-slow")

    said = {form: runward("list", "-o", form) for form in FORMS}

    assert [second, first] == said["name"].lines
    assert [int(second), int(first)] == [row["id"] for row in said["json"].json]
    assert said["json"].json == [json.loads(line) for line in said["ndjson"].lines]
    assert [second, first] == [row["id"] for row in rows(said["csv"].out)]
    assert 3 == len(said["table"].lines)
    assert {0} == {one.code for one in said.values()}


@SQLITE
def test_every_format_of_one_run(runward: CommandLine) -> None:
    """`show`, `events` and `wait` know every format; JSON holds the fields of upstream."""
    number = runward.done("sim-ok")
    remote = runward("show", number, "-o", "json").json["upstream"]["id"]

    for form in FORMS:
        assert 0 == runward("show", number, "-o", form).code
        assert 0 == runward("events", number, "-o", form).code
        assert 0 == runward("wait", number, "-o", form).code
    assert number == runward("show", remote, "-o", "name").out.strip()
    assert "resp_" in runward("show", number).out
    shown = runward("show", number, number, "-o", "json").json
    assert [int(number)] * 2 == [run["id"] for run in shown]


@SQLITE
def test_list_chooses_fields_and_pages(runward: CommandLine) -> None:
    """`--fields`, `--limit` and `--before` bound what is printed."""
    first, second = runward.submit("sim-ok"), runward.submit("sim-slow")

    chosen = runward("list", "--fields", "model,id", "-o", "csv")

    assert ["model,id", f"sim-slow,{second}", f"sim-ok,{first}"] == chosen.lines
    assert [second] == runward("list", "--limit", "1", "-o", "name").lines
    assert [first] == runward("list", "--before", second, "-o", "name").lines
    assert f"more: --before {second}\n" == runward("list", "--limit", "1").err
    bad = runward("list", "--fields", "nonsense")
    assert 2 == bad.code
    assert_clear(bad)


QUERIES = {
    "status:completed": [0],
    "status:failed": [1],
    "-status:completed": [1, 2],
    "model:sim-s*": [2],
    "error_code:server_error": [1],
    "attention:true": [],
    "since:2h": [0, 1, 2],
    "tag.n:0": [0],
    "provider:assistants": [],
}


@SQLITE
def test_list_queries(runward: CommandLine) -> None:
    """The query grammar chooses runs."""
    numbers = [
        runward.done("sim-ok", "--tag", "n=0"),
        runward.done("sim-fail-server_error"),
        runward.submit("sim-slow"),
    ]

    found = {query: set(runward("list", "-q", query, "-o", "name").lines) for query in QUERIES}

    assert {query: {numbers[n] for n in known} for query, known in QUERIES.items()} == found


@SQLITE
def test_submit_from_a_file_and_from_stdin(runward: CommandLine, tmp_path: Path) -> None:
    """One request in JSON, many in NDJSON, and both through a pipe."""
    asked = {"model": "sim-ok", "input": "What is 2+2?"}
    single, many = tmp_path / "one.json", tmp_path / "many.ndjson"
    single.write_text(json.dumps(asked, indent=2))
    lines = "\n".join(json.dumps(asked | {"key": f"k{n}"}) for n in range(3)) + "\n\n"
    many.write_text(lines)

    assert 1 == len(runward("submit", "-f", str(single), "-o", "name").lines)
    assert ["k0", "k1", "k2"] == [
        row["key"] for row in runward("submit", "-f", str(many), "-o", "json").json
    ]
    assert 3 == len(runward("submit", "-f", "-", "-o", "name", stdin=lines).lines)
    piped = runward("submit", "-f", "-", "--key", "p", "-o", "json", stdin=single.read_text())
    assert "p" == piped.json["key"]
    listed = runward("submit", "-f", "-", "-o", "name", stdin=json.dumps([asked, asked]))
    assert 2 == len(listed.lines)
    assert 7 == len(runward("list", "-o", "name").lines)


@SQLITE
def test_submit_flags_win_over_the_file(runward: CommandLine, tmp_path: Path) -> None:
    """What is given on the line replaces what the file says; tags are joined."""
    path = tmp_path / "r.json"
    path.write_text('{"model": "sim-slow", "input": "x", "tags": {"a": "1"}, "deadline": "1h"}')

    said = runward("submit", "-f", str(path), "--model", "sim-ok", "--tag", "b=2", "-o", "json")

    assert ("sim-ok", {"a": "1", "b": "2"}) == (said.json["model"], said.json["tags"])


@SQLITE
def test_submit_and_wait_prints_the_answer(runward: CommandLine) -> None:
    """`--wait` ends with the text, 5 for another end and 6 for a timeout."""
    asked = ("submit", "--input", "What is 2+2?", "--wait", "--model")

    said = runward(*asked, "sim-ok")

    assert (0, "4\n") == (said.code, said.out)
    assert 5 == runward(*asked, "sim-fail-server_error").code
    assert 5 == runward(*asked, "sim-fail-server_error", "-o", "json").code
    assert 6 == runward(*asked, "sim-slow", "--timeout", "100ms").code


@SQLITE
def test_dry_run_of_submit_writes_nothing(runward: CommandLine) -> None:
    """A request is judged, and nothing is kept."""
    good = runward("submit", "--model", "m", "--input", "x", "--dry-run")

    assert (0, "") == (good.code, good.out)
    assert "nothing was written" in good.err
    assert 2 == runward("submit", "--model", "m", "--dry-run").code
    assert [] == runward("list", "-o", "json").json


@SQLITE
def test_two_submits_with_one_key(runward: CommandLine) -> None:
    """The same request is the same run; another one is a conflict with exit 1."""
    first = runward.submit("sim-ok", "--key", "memo")

    assert first == runward.submit("sim-ok", "--key", "memo")
    other = runward("submit", "--model", "sim-ok", "--input", "other", "--key", "memo")
    assert 1 == other.code
    assert_clear(other)
    assert [first] == runward("list", "-o", "name").lines


@SQLITE
def test_wait_for_a_state_any_and_all(runward: CommandLine) -> None:
    """`--for` counts a state that passed, `--any` ends with the first, `--timeout` with 6."""
    done, stuck = runward.done("sim-ok"), runward.submit("sim-stuck-in_progress")

    assert 0 == runward("wait", done, stuck, "--any", "--timeout", "20s").code
    assert 6 == runward("wait", done, stuck, "--timeout", "100ms").code
    assert 0 == runward("wait", stuck, "--for", "in_progress", "--timeout", "20s").code
    assert 0 == runward("wait", done, "--for", "completed").code
    assert 6 == runward("wait", stuck, "--timeout", "0.1", "--drive", "never").code
    assert 2 == runward("wait", stuck, "--for", "nonsense").code
    assert 2 == runward("wait", stuck, "--drive", "maybe").code
    assert 0 == runward("wait", "-", stdin=f"{done}\n\n{done}\n").code
    assert 2 == runward("wait", "-", stdin="").code


@SQLITE
def test_wait_ends_with_5_for_another_end(runward: CommandLine) -> None:
    """A run that failed makes `wait` end with 5, with the command that says more."""
    number = runward.submit("sim-fail-server_error")

    said = runward("wait", number, "--timeout", "20s", "-o", "name")

    assert (5, f"{number}\n") == (said.code, said.out)
    assert f"  try: runward show {number}\n" in said.err
    failed = runward("result", number)
    assert 5 == failed.code
    assert_clear(failed)


@SQLITE
def test_cancel_asks_before_many(runward: CommandLine) -> None:
    """`--dry-run` changes nothing; more than one needs `--yes` off a terminal; one does not."""
    first, second, third = (runward.submit("sim-slow") for _ in range(3))

    dry = runward("cancel", first, second, "--dry-run", "-o", "name")
    refused = runward("cancel", first, second)
    agreed = runward("cancel", first, second, "--yes", "--reason", "enough", "-o", "json")
    alone = runward("cancel", third, "-o", "json")

    assert (0, [first, second]) == (dry.code, dry.lines)
    assert "would cancel 2 runs; nothing was changed" in dry.err
    assert 2 == refused.code
    assert_clear(refused)
    assert ["cancelled", "cancelled"] == [row["status"] for row in agreed.json]
    assert ["cancelled"] == [row["status"] for row in alone.json]
    events = runward("events", first, "-o", "json").json
    assert {"reason": "enough"} in [event["detail"] for event in events]
    again = runward("cancel", first)
    assert 1 == again.code
    assert_clear(again)


@SQLITE
def test_a_restart_is_shown_before_it_is_done(runward: CommandLine) -> None:
    """`restart --dry-run` says what would happen, in every format, and nothing does."""
    number = runward.done("sim-fail-server_error")
    plan = runward("restart", number, "--dry-run", "-o", "json")
    many = runward("restart", number, number, "--dry-run", "-o", "name")

    assert (0, int(number), True, None, []) == (
        plan.code, plan.json["id"], plan.json["allowed"], plan.json["refusal"], plan.json["calls"]
    )  # fmt: skip
    assert "would restart 1 runs; nothing was changed" in plan.err
    assert [number, number] == many.lines
    assert 0 == runward("restart", number, "--dry-run").code
    assert "failed" == runward("show", number, "-o", "json").json["status"]


@SQLITE
def test_a_flag_is_resolved_and_nothing_accepted_without_a_contradiction(
    runward: CommandLine,
) -> None:
    """A reason is asked for; what cannot be done says why and what to try."""
    number = runward.done("sim-empty")
    refused = runward("accept", number, "--reason", "x")
    done = runward("resolve", number, "--reason", "seen", "-o", "json")

    assert 2 == runward("resolve", number).code
    assert 1 == refused.code
    assert_clear(refused)
    assert f"runward resolve {number}" in refused.err
    assert (0, [None]) == (done.code, [row["needs_attention"] for row in done.json])


@SQLITE
def test_restart_note_and_recheck(runward: CommandLine) -> None:
    """A failed run is restarted, a remark is kept, a recheck is written down."""
    number = runward.done("sim-fail-server_error-once")

    restarted = runward("restart", number, "--reason", "again", "-o", "json").json
    noted = runward("note", number, "as agreed", "-o", "json").json
    checked = runward("recheck", number, "-o", "json").json

    assert [("queued", 2)] == [(row["status"], row["attempts"]) for row in restarted]
    assert [int(number)] * 2 == [noted[0]["id"], checked[0]["id"]]
    assert 0 == runward("wait", number, "--timeout", "20s").code
    details = [event["detail"] for event in runward("events", number, "-o", "json").json]
    assert {"text": "as agreed"} in details
    assert 1 == runward("restart", number).code
    assert 2 == runward("restart", number, "--effects", "maybe").code


@SQLITE
def test_adopt_watches_and_resolves(runward: CommandLine, sim: Simulator) -> None:
    """An upstream id begins a run of its own, or resolves one whose create is unclear."""
    number = runward.submit("sim-http-500-after")
    for _ in range(100):
        if [number] == runward("list", "-q", "attention:true", "-o", "name").lines:
            break
        assert 6 == runward("wait", number, "--timeout", "200ms").code
    else:
        pytest.fail("the create was never found to be unclear")
    (made,) = [entry["object_id"] for entry in sim.log() if entry["accepted"]]

    resolved = runward("adopt", made, "--run", number, "-o", "json")
    foreign = runward("adopt", "run_1", "--provider", "assistants", "--thread", "thread_1")

    assert (0, 0) == (resolved.code, foreign.code)
    assert 0 == runward("wait", number, "--timeout", "20s").code
    assert "4\n" == runward("result", number).out
    assert 2 == runward("adopt", "run_1", "--provider", "assistants").code


@SQLITE
def test_watch_follows_a_run(runward: CommandLine) -> None:
    """`watch` and `events --follow` end with the verdict."""
    number = runward.done("sim-ok")

    assert "completed" == runward("watch", number).lines[-1]
    assert 0 == runward("events", number, "--follow").code
    assert ["3"] == runward("events", number, "--after", "2", "-o", "name").lines[:1]


@SQLITE
def test_tools_are_listed_shown_and_answered(runward: CommandLine, tmp_path: Path) -> None:
    """Calls that wait for somebody are found, and answered by text, by file or from stdin."""
    numbers = [runward.submit("sim-tool") for _ in range(3)]
    for number in numbers:
        assert 0 == runward("wait", number, "--for", "requires_action", "--timeout", "20s").code
    listed = runward("tools", "list", "-o", "json").json
    calls = {str(row["run_id"]): row["call_id"] for row in listed}
    file = tmp_path / "out.txt"
    file.write_text("from a file")

    assert 0 == runward("tools", "submit", numbers[0], calls[numbers[0]], "--output", "text").code
    assert 0 == runward("tools", "submit", numbers[1], "1", "--file", str(file)).code
    assert 0 == runward("tools", "submit", numbers[2], "1", "--output", "-", stdin="piped").code
    assert 0 == runward("wait", *numbers, "--timeout", "20s").code
    assert ["The tools said: text", "The tools said: from a file", "The tools said: piped"] == [
        runward("result", number).out.strip() for number in numbers
    ]
    for form in FORMS:
        assert 0 == runward("tools", "show", numbers[0], "-o", form).code
    assert 2 == runward("tools", "submit", numbers[0], "1").code
    assert 2 == runward("tools", "submit", numbers[0], "1", "--file", "nowhere").code
    gone = runward("tools", "submit", numbers[0], "1", "--output", "late")
    assert 1 == gone.code
    assert_clear(gone)
