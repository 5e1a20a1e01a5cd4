"""`runward postmortem` and `incidents`: forms, files, and what is said of a mistake."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear

from ledger.service.rendering.support import COLUMNS, support_csv
from ledger.simulator import Simulator


@pytest.fixture
def ended(runward: CommandLine, sim: Simulator) -> CommandLine:
    """One run completed, one failed."""
    runward.done("sim-ok")
    runward.done("sim-fail-server_error")
    return runward


def test_a_report_in_every_form(ended: CommandLine) -> None:
    """Markdown by default; all of them from the same numbers."""
    markdown = ended("postmortem", "--since", "1h")
    html = ended("postmortem", "--since", "1h", "-o", "html")
    numbers = ended("postmortem", "--since", "1h", "-o", "json", "--baseline", "week").json

    assert markdown.out.startswith("# Incident report ")
    assert "2 runs ended in the window, 1 of them failed (50.0%" in markdown.out
    assert html.out.startswith("<!doctype html>")
    assert "2 runs ended in the window, 1 of them failed (50.0%" in html.out
    assert (2, 1) == (numbers["impact"]["finished"], numbers["impact"]["failed"])
    assert ["week", "previous"] == [past["name"] for past in numbers["comparison"]]


def test_a_report_goes_into_a_file(ended: CommandLine) -> None:
    """And says where; a folder that is not there is named."""
    said = ended("postmortem", "--since", "1h", "--output", "night.md")

    assert ("", 0) == (said.out, said.code)
    assert "night.md" in said.err
    assert Path("night.md").read_text().startswith("# Incident report ")
    assert_clear(ended("postmortem", "--since", "1h", "--output", "nowhere/night.md"))


def test_a_table_for_the_support_of_upstream(ended: CommandLine) -> None:
    """Beside the report: one line a failed attempt, with the ids that upstream knows it by."""
    found = ended("postmortem", "--since", "1h", "-o", "json", "--support", "support.csv").json
    (known,) = found["evidence"]["listed"]
    with Path("support.csv").open() as file:
        (row,) = csv.DictReader(file)

    assert {name: str(value) for name, value in known.items()} == row
    assert row["upstream_id"].startswith("resp_")
    assert_clear(ended("postmortem", "--run", "2", "--support", "support.csv"))


def test_no_spreadsheet_reckons_with_a_message() -> None:
    """A cell that would be a formula is a text; what is not known is empty."""
    row = dict.fromkeys(COLUMNS) | {"message": '=HYPERLINK("http://x")', "code": "a,b"}
    (told,) = csv.DictReader(io.StringIO(support_csv({"evidence": {"listed": [row]}})))
    assert ("'" + str(row["message"]), "a,b", "") == (told["message"], told["code"], told["at"])


def test_a_report_on_one_run(ended: CommandLine) -> None:
    said = ended("postmortem", "--run", "2")
    numbers = ended("postmortem", "--run", "2", "-o", "json").json

    assert said.out.startswith("# Report on run 2")
    assert "server" in said.out
    assert "failed" == numbers["run"]["state"]


def test_only_the_runs_of_a_query(ended: CommandLine) -> None:
    found = ended("postmortem", "--since", "1h", "-q", "model:sim-ok", "-o", "json").json

    assert (1, 0) == (found["impact"]["finished"], found["impact"]["failed"])
    assert "model:sim-ok" in found["impact"]["queries"]["failed"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--since or --run"),
        (("--run", "1", "--since", "1h"), 2, "one run"),
        (("--since", "soon"), 2, "soon"),
        (("--since", "1h", "--until", "3h"), 2, "before"),
        (("--run", "77"), 3, "77"),
    ],
)
def test_mistakes(runward: CommandLine, arguments: tuple[str, ...], code: int, words: str) -> None:
    said = runward("postmortem", *arguments)

    assert code == said.code
    assert words in said.err
    assert_clear(said)


def test_incidents(ended: CommandLine) -> None:
    """A quiet ledger has none; a name that nobody knows is an error."""
    assert [] == json.loads(ended("incidents", "list", "-o", "json").out)
    said = ended("incidents", "show", "storm-20260101T0000-default")
    assert 3 == said.code
    assert_clear(said)


def test_incidents_of_long_ago_are_found(ended: CommandLine) -> None:
    """A window of any time may be asked for; ages count from where it ends."""
    asked = ended("incidents", "list", "--since", "30d", "--until", "300 days ago", "-o", "json")
    assert (0, []) == (asked.code, asked.json)
    said = ended("incidents", "list", "--since", "200d")
    assert 2 == said.code
    assert "92 days" in said.err
    assert "--until" in said.err
    missing = ended("incidents", "show", "storm-20260101T0000-default", "--until", "2026-01-02")
    assert 3 == missing.code
    assert "--until" in missing.err
