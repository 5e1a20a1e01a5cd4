"""What a careful newcomer tried: each was accepted, lost or a traceback once."""

from __future__ import annotations

import pytest
from command_line import CommandLine, assert_clear
from support import SQLITE

from ledger import InvalidInput, Ledger
from ledger.errors import ConfigurationError
from ledger.simulator import Simulator

HUGE = str(10**20)
pytestmark = [SQLITE, pytest.mark.usefixtures("sim")]


@pytest.mark.parametrize(
    "flags", [("--drive", "zz"), ("--timeout", "zz"), ("--timeout", "-1")], ids=" ".join
)
def test_a_wait_is_judged_before_the_run_is_written(
    runward: CommandLine, flags: tuple[str, ...]
) -> None:
    """Else correcting the typing error would pay for a second run."""
    said = runward("submit", "--model", "sim-ok", "--input", "x", "--wait", *flags)

    assert 2 == said.code
    assert_clear(said)
    assert [] == runward("list", "-o", "name").lines


def test_the_last_line_of_stdin_needs_no_newline(runward: CommandLine) -> None:
    """Two requests, one newline between them."""
    lines = '{"model":"sim-ok","input":"x"}\n{"model":"sim-ok","input":"y"}'

    assert ["1", "2"] == runward("submit", "-f", "-", "-o", "name", stdin=lines).lines


@pytest.mark.parametrize("command", [("list", "--before", HUGE), ("events", "1", "--after", HUGE)])
def test_a_number_that_no_database_holds(runward: CommandLine, command: tuple[str, ...]) -> None:
    """Refused, not passed on to the driver."""
    runward.submit()
    said = runward(*command)

    assert 2 == said.code
    assert_clear(said)


@pytest.mark.parametrize("flags", [("--provider", "nope"), ("--provider", "assistants")])
def test_adopt_judges_its_arguments(runward: CommandLine, flags: tuple[str, ...]) -> None:
    """An unknown provider is named as such, and a thread run needs its thread."""
    said = runward("adopt", "run_1", *flags)

    assert 2 == said.code
    assert_clear(said)


def test_a_key_that_looks_like_a_number_can_be_named(runward: CommandLine) -> None:
    """`#2` is the number, `key:2` the key, and `2` alone is refused."""
    keyed, second = runward.submit("sim-ok", "--key", "2"), runward.submit()
    assert ("1", "2") == (keyed, second)

    assert 2 == runward("show", "2").code
    assert [2, 1] == [runward("show", name, "-o", "json").json["id"] for name in ("#2", "key:2")]
    assert 3 == runward("show", "02").code


def test_a_variable_that_nobody_reads_is_an_error(
    runward: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name that was meant."""
    monkeypatch.setenv("RUNWARD_CONCURENCY", "1")
    said = runward("list")

    assert 4 == said.code
    assert "RUNWARD_CONCURRENCY" in said.err
    assert_clear(said)


def test_python_arguments_of_the_wrong_type(database_url: str, sim: Simulator) -> None:
    """One kind of error for all of them, and nothing written."""
    assert sim.url
    with Ledger.open(database_url) as ledger:
        run = ledger.submit(model="sim-ok", input="x")
        wrong = (
            lambda: ledger.restart(run, effects="zz"),
            lambda: ledger.get(True),
            lambda: ledger.get(None),  # type: ignore[arg-type]
            lambda: ledger.runs(before="x"),  # type: ignore[arg-type]
            lambda: ledger.runs(limit=-1),
            lambda: list(ledger.events(run, after=10**30)),
            lambda: ledger.submit_many(None),  # type: ignore[arg-type]
            lambda: ledger.submit_many([1]),  # type: ignore[list-item]
            lambda: ledger.submit(provider=[], model="m", input="x"),
            lambda: ledger.adopt("resp_1", bogus=5),
            lambda: ledger.adopt("run_1", provider="assistants", thread=5),  # type: ignore[arg-type]
            lambda: ledger.wait(run, timeout=[]),  # type: ignore[arg-type]
        )
        for call in wrong:
            with pytest.raises(InvalidInput):
                call()
        assert [run.id] == [found.id for found in ledger.runs()]
    with pytest.raises(ConfigurationError, match="bogus"):
        Ledger.open(database_url, bogus=1)
