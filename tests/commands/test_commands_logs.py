"""The log of what runs for long: its form, what it says of runs, and no secret in it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from support import SQLITE

from ledger.clock import wait_until
from ledger.commands.logs import hail, logging_on
from ledger.commands.output import State
from ledger.errors import DatabaseError, SchemaMismatch
from ledger.settings import load_settings
from ledger.simulator import Simulator

sys.path.append(str(Path(__file__).parents[1] / "service"))

from service_rig import Daemon

KEY = "canary/key/of/no/known/shape"
WEBHOOK = "whsec_" + "Y2FuYXJ5" * 5
OUTBOUND = "whsec_" + "b3V0Ym91" * 5
PASSWORD = "canary-passw0rd"
DIRECT = "canary%3Adirect"
TOKEN = "rw_" + "canary0" * 6 + "x"
CANARIES = (KEY, WEBHOOK, OUTBOUND, PASSWORD, DIRECT, "canary:direct", TOKEN)


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of all kinds, of which the log must not say one."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", WEBHOOK)
    monkeypatch.setenv("OUR_SECRET", OUTBOUND)
    monkeypatch.setenv("RUNWARD_OUTBOUND__HOOK__URL", "http://127.0.0.1:9/hook")
    monkeypatch.setenv("RUNWARD_OUTBOUND__HOOK__SECRET_VARIABLE", "OUR_SECRET")
    monkeypatch.setenv("RUNWARD_DIRECT_URL", f"postgresql://runward:{DIRECT}@127.0.0.1:9/runs")


def lines_of(text: str) -> list[dict[str, Any]]:
    """Every line as the JSON object that it has to be."""
    return [json.loads(line) for line in text.splitlines()]


def silent(text: str) -> bool:
    """Whether no secret is in it."""
    return not any(canary in text for canary in CANARIES)


@SQLITE
def test_a_daemon_says_what_becomes_of_its_runs(
    sim: Simulator, runward: CommandLine, canaries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each change of state, off a terminal as JSON; looks and calls at debug only."""
    run = runward.submit("sim-ok")
    info = runward("daemon", "--drain")
    runward.submit("sim-fail-server_error", "--restart", "failed:server_error=1")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    debug = runward("daemon", "--drain")

    assert (0, 0) == (info.code, debug.code), info.err + debug.err
    said, all_said = lines_of(info.err), lines_of(debug.err)
    assert "runward daemon" in said[0]["event"]
    of_runs = [line for line in said if "run_id" in line]
    assert ["run in_progress", "run completed"][-len(of_runs) :] == [i["event"] for i in of_runs]
    end = of_runs[-1]
    keys = ["ts", "level", "event", "logger", "run_id", "attempt", "remote_id", "worker"]
    assert keys == list(end)[:8]
    assert ("info", "runward") == (end["level"], end["logger"])
    assert (int(run), 1) == (end["run_id"], end["attempt"])
    assert end["remote_id"].startswith("resp_")
    assert end["ts"].endswith("Z")
    assert end["dur_s"] > 0

    ended = [line for line in all_said if line["event"] == "attempt ended in failed"]
    failed = [line for line in all_said if line["event"] == "run failed"]
    assert [(1, "server_error")] == [(i["attempt"], i["error_code"]) for i in ended]
    assert [(2, "server_error")] == [(i["attempt"], i["error_code"]) for i in failed]
    calls = [line for line in all_said if line["event"] == "call: observe"]
    assert {("debug", "ok")} == {(line["level"], line["result"]) for line in calls}
    assert silent(info.err + debug.err)


@SQLITE
@pytest.mark.parametrize("form", ["json", "logfmt", "console"])
def test_secrets_are_masked_wherever_they_stand(
    runward: CommandLine,
    canaries: None,
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In words, in what stands beside them under any name, and in tracebacks."""
    monkeypatch.setenv("RUNWARD_LOG_FORMAT", form)
    url = f"postgresql://runward:{PASSWORD}@127.0.0.1/runs"
    everything = f"{KEY} {WEBHOOK} {OUTBOUND} {TOKEN} {url} {DIRECT} canary:direct"
    with logging_on(load_settings(database_url=url)):
        log = logging.getLogger("runward.test")
        log.warning("the words %s", everything, extra={"api_key": "plain", "held": [everything]})
        logging.getLogger("uvicorn.error").error("theirs", extra={"body": {"deep": everything}})
        try:
            raise ValueError(everything)
        except ValueError:
            log.exception("it failed")
        with pytest.raises(SystemExit, match="1"), logging_on(load_settings(database_url=url)):
            raise KeyError(everything)
    said = capsys.readouterr().err

    assert silent(said), said
    assert 0 == said.count("plain")
    assert "Traceback" in said
    if form == "json":
        lines = lines_of(said)
        assert "the words [redacted] " in lines[0]["event"]
        assert "[redacted]" == lines[0]["api_key"]
        assert "uvicorn.error" == lines[1]["logger"]
        assert "ValueError: [redacted]" in lines[2]["exception"]
        assert "ended by an error of ours" in lines[-1]["event"]


@SQLITE
@pytest.mark.parametrize("quiet", [False, True])
def test_what_ends_it_is_a_line_like_any_other(
    runward: CommandLine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    quiet: bool,
) -> None:
    """Once it runs; before that it is told in words, as other commands tell it."""
    monkeypatch.setattr(State, "quiet", quiet)
    monkeypatch.setattr(State, "running", True)
    settings = load_settings(database_url="sqlite:///runs.db")
    with pytest.raises(DatabaseError), logging_on(settings):
        raise DatabaseError("not yet")
    assert "" == capsys.readouterr().err

    def run() -> None:
        hail("runward daemon")
        raise SchemaMismatch("gone", hint="do this")

    with pytest.raises(SystemExit, match="7"), logging_on(settings):
        run()

    lines = lines_of(capsys.readouterr().err)
    assert ("critical", "gone", "do this") == tuple(
        lines[-1][key] for key in ("level", "event", "hint")
    )
    assert len(lines) == (1 if quiet else 2)


@SQLITE
def test_a_short_command_says_no_secret_either(
    sim: Simulator, runward: CommandLine, canaries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is asked, and with everything in its log."""
    monkeypatch.delenv("RUNWARD_DIRECT_URL")
    nowhere = f"postgresql://runward:{PASSWORD}@127.0.0.1:9/runs"
    said = [
        runward("--debug", "submit", "--model", "sim-ok", "--input", "Hi", "--wait"),
        runward("doctor"),
        runward("config", "show"),
        runward("--debug", "list", url=nowhere),
        runward("daemon", url=nowhere),
        runward("token", "list"),
        runward("healthcheck", "--daemon", url=nowhere),
    ]

    assert [0, 0, 1, 1, 0, 1] == [one.code for one in said[:1] + said[2:]]
    assert silent("".join(one.out + one.err for one in said))


@SQLITE
def test_the_level_is_read_again_on_sighup(
    sim: Simulator, runward: CommandLine, database_url: str, tmp_path: Path
) -> None:
    """From the file, while it runs; a file that is wrong changes nothing."""
    settings = tmp_path / "runward.toml"
    settings.write_text('log_level = "WARNING"\n')
    daemon = Daemon(database_url, tmp_path / "daemon.log")
    log = daemon.log
    try:
        daemon.expect("it is at work", lambda: bool(runward("workers", "list", "-o", "name").out))
        runward.done()
        settings.write_text('log_level = "LOUD"\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect("it refuses", lambda: "log_level" in log.read_text())
        settings.write_text('log_level = "DEBUG"\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect("it obeys", lambda: "the log level is DEBUG" in log.read_text())
        runward.submit()
        assert wait_until(lambda: "run completed" in log.read_text(), seconds=20)
    finally:
        daemon.end()

    said = lines_of(log.read_text())
    levels = [line["level"] for line in said]
    assert ["error", "warning"] == levels[:2]
    assert "debug" in levels[2:]
    assert 1 == sum(line["event"] == "run completed" for line in said)
