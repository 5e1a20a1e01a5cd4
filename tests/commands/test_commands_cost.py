"""`runward cost`: its formats, and what is said of a mistake."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear

from ledger.simulator import Simulator

OWN = "[models]\nsim-ok = { input = 250_000, cached_input = 1, output = 1_000_000 }\n"


@pytest.fixture
def spent(runward: CommandLine, sim: Simulator) -> CommandLine:
    """Two runs of one model and one of another, which failed, were paid for."""
    for team in ("risk", "search"):
        runward.done("sim-ok", "--tag", f"team={team}")
    runward.done("sim-fail-server_error")
    return runward


def test_every_format_has_the_same_numbers(spent: CommandLine) -> None:
    """JSON is one document, the others are rows."""
    report = spent("cost", "--by", "model", "-o", "json").json
    rows = {row["group"]: row for row in report["groups"]}
    lines = [json.loads(line) for line in spent("cost", "--by", "model", "-o", "ndjson").lines]
    table = list(csv.DictReader(io.StringIO(spent("cost", "--by", "model", "-o", "csv").out)))

    assert {"sim-ok": 2, "sim-fail-server_error": 1} == {g: row["runs"] for g, row in rows.items()}
    assert rows == {line["group"]: line for line in lines}
    assert {(group, str(row["calls"])) for group, row in rows.items()} == {
        (line["group"], line["calls"]) for line in table
    }
    assert sum(row["calls"] for row in rows.values()) == report["total"]["calls"]
    assert {"sim-ok", "sim-fail-server_error"} == set(
        spent("cost", "--by", "model", "-o", "name").lines
    )


def test_own_prices_are_used_and_the_unknown_is_said(
    spent: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tokens in, one out, twice, at prices of the test; the other model has none."""
    Path("own.toml").write_text(OWN)
    monkeypatch.setenv("RUNWARD_PRICES", "own.toml")
    monkeypatch.setenv("RUNWARD_CALL_PRICE_USD", "0.001")
    said = spent("cost")

    assert "4.000000" in said.out.splitlines()[1]
    assert "price unknown: 1 objects of model sim-fail-server_error, 4 tokens" in said.lines
    assert "not used, failed: 4 tokens, price unknown" in said.lines
    assert "own.toml" in said.err
    report = spent("cost", "-o", "json").json
    assert f"{report['total']['calls'] * 0.001:.6f}" == report["total"]["calls_usd"]


def test_runs_show_their_calls(spent: CommandLine) -> None:
    """In `show`, in JSON, and as a field of lists."""
    shown = spent("show", "1", "-o", "json").json
    listed = spent("list", "--fields", "id,calls", "-o", "json").json

    assert shown["calls"] == sum(shown["call_counts"].values()) > 1
    assert 4 == shown["attempts_detail"][0]["usage"]["input_tokens"]
    assert {"id": 1, "calls": shown["calls"]} == listed[-1]
    assert any(line.startswith("calls ") for line in spent("show", "1").lines)


def test_an_empty_ledger_has_cost_nothing(runward: CommandLine) -> None:
    """No run, no price, no crash."""
    report = runward("cost", "--by", "tag:team", "-o", "json").json

    assert ([], 0, None, None) == (
        report["groups"], report["total"]["runs"], report["total"]["cost_usd"],
        report["total"]["calls_per_run"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "prices", "code", "words"),
    [
        (("--by", "weather"), None, 2, "weather"),
        (("--since", "tomorrow"), None, 2, "tomorrow"),
        (("--since", "1h", "--until", "2h"), None, 2, "before"),
        (("--policies", "--by", "model"), None, 2, "--by"),
        (("--claims",), None, 2, "--policies"),
        (("--endpoint-monthly-usd", "20"), None, 2, "--policies"),
        ((), "[models]\ngpt = {input = }", 4, "line 2"),
        ((), "[models]\ngpt = {input = 1}", 4, "'gpt'"),
        ((), None, 4, "nowhere.toml"),
    ],
)
def test_mistakes_are_said(
    runward: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    prices: str | None,
    code: int,
    words: str,
) -> None:
    """What is wrong, and where."""
    if code == 4:
        monkeypatch.setenv("RUNWARD_PRICES", "own.toml" if prices else "nowhere.toml")
        Path("own.toml").write_text(prices or "")
    said = runward("cost", *arguments)

    assert code == said.code
    assert words in said.err
    assert_clear(said)


def test_polling_or_webhooks(spent: CommandLine) -> None:
    """Every format; a price and an endpoint's cost name a number of runs."""
    rows = [json.loads(line) for line in spent("cost", "--policies", "-o", "ndjson").lines]
    report = spent("cost", "--policies", "-o", "json").json
    said = spent("cost", "--policies", "--claims", "--endpoint-monthly-usd", "20")

    assert rows == report["policies"]
    assert "spent" == rows[-1]["policy"]
    assert spent("cost", "--policies", "-o", "name").lines == [row["policy"] for row in rows]
    assert "never on price alone" in said.out
    assert "10,000,000 calls at that price are $1,500.00, not $1.50" in said.out
    assert "claim" not in spent("cost", "--policies").out


@pytest.mark.parametrize("amount", ["x", "-1", "nan", "1e9"])
def test_an_endpoint_costs_an_amount(runward: CommandLine, amount: str) -> None:
    """In dollars, within bounds."""
    said = runward("cost", "--policies", "--endpoint-monthly-usd", amount)

    assert 2 == said.code
    assert_clear(said)
