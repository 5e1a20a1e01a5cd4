"""`runward demo`: simulator, ledger and daemon; kill -9 in the middle; then the accounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.commands.output import Format, say
from ledger.errors import RunwardError

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

SECONDS_MAX = 35.0
KEY = "sk-simulated"


class DemoFailed(RunwardError):
    """Something did not add up."""


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(demo)


def demo(
    keep: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep ledger and logs in this folder.")
    ] = None,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """A mixed lot of runs against a simulator, with kill -9 of the daemon in the middle.

    Needs no key and no server. Ends with 1 if anything does not add up.
    """
    from ledger.clock import monotonic
    from ledger.commands.demo_report import Report, print_report

    started = monotonic()
    with tempfile.TemporaryDirectory(prefix="runward-demo-") as temporary:
        folder = Path(keep) if keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        database = folder / "demo.db"
        if database.exists():
            raise DemoFailed(f"{database} is there already", hint="name an empty folder")
        with _simulator(folder) as url, _environment(url, folder):
            report = _play(database, url, folder, Report())
        report.seconds = round(monotonic() - started, 1)
        print_report(report, form)
        if keep:
            say(f"look around: runward -d sqlite:///{database} list")
    if not report.ok:
        raise DemoFailed(f"{len(report.problems)} checks failed: {'; '.join(report.problems)}")


@contextmanager
def _simulator(folder: Path) -> Iterator[str]:
    from ledger.commands.demo_lot import SCENARIO

    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(SCENARIO))
    command = _command("--quiet", "sim", "serve", "--scenario", str(scenario))
    with (folder / "simulator.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise DemoFailed("the simulator did not start")
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=10)


@contextmanager
def _environment(url: str, folder: Path) -> Iterator[None]:
    """What the ledger here and the daemon there are told; put back at the end."""
    from ledger.commands.demo_tools import FOLDER

    told = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY, FOLDER: str(folder)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ledger", *arguments]


class _Daemon:
    """The daemon as a process of its own, as a supervisor would start it."""

    def __init__(self, database: Path, folder: Path) -> None:
        arguments = (
            "-d",
            f"sqlite:///{database}",
            "daemon",
            "--tools",
            "ledger.commands.demo_tools",
        )
        self._log = (folder / "daemon.log").open("a")
        self.process = subprocess.Popen(_command(*arguments), stderr=self._log)  # noqa: S603

    def end(self, *, kill: bool) -> None:
        """SIGKILL, or SIGTERM and wait for the drain."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()


def _play(database: Path, url: str, folder: Path, report: Report) -> Report:
    from ledger.commands.demo_lot import LOT
    from ledger.service.ledger import Ledger

    with Ledger.open(f"sqlite:///{database}", actor="demo") as ledger:
        runs = ledger.submit_many([request for kind in LOT for request in kind.requests()])
        say(f"{len(runs)} runs are written down; the daemon starts")
        daemon = _Daemon(database, folder)
        try:
            _until("work is in flight", lambda: _in_flight(ledger))
            report.in_flight = _count_in_flight(ledger)
            daemon.end(kill=True)
            say(f"kill -9 of the daemon with {report.in_flight} runs in flight; it starts again")
            daemon = _Daemon(database, folder)
            for kind in LOT:
                if kind.cancel:
                    for request in kind.requests():
                        ledger.cancel(request["key"], reason="the demo calls it off")
            _until("all runs have a verdict", lambda: _all_done(ledger, url, folder, report))
        finally:
            daemon.end(kill=False)
        report.judge(ledger, url, folder)
    return report


def _until(what: str, ready: Callable[[], bool]) -> None:
    from ledger.clock import wait_until

    if not wait_until(ready, seconds=SECONDS_MAX, every=0.05):
        raise DemoFailed(f"after {SECONDS_MAX:g} s it is not so that {what}")


def _count_in_flight(ledger: Ledger) -> int:
    return sum(1 for run in ledger.runs("status:in_progress,requires_action,queued", limit=1_000))


def _in_flight(ledger: Ledger) -> bool:
    """Some are done, most are not, and tools are at work: the worst moment there is."""
    done = len(ledger.runs("status:completed", limit=1_000))
    return done >= 3 and bool(ledger.runs("status:requires_action", limit=10))


def _all_done(ledger: Ledger, url: str, folder: Path, report: Report) -> bool:
    _answer_held(ledger, folder, report)
    _adopt_unclear(ledger, url, report)
    return not ledger.runs("-status:completed,incomplete,failed,expired,cancelled", limit=1)


def _adopt_unclear(ledger: Ledger, url: str, report: Report) -> None:
    """A create whose reply the kill swallowed: a person finds the object upstream, and says so."""
    from ledger.commands.demo_report import created_ids

    unclear = ledger.runs("attention:true provider:responses", limit=1_000)
    ids = created_ids(url) if unclear else {}
    for run in unclear:
        for remote in ledger.facts(run).remotes:
            if remote.state == "unknown" and not remote.settled and remote.marker in ids:
                ledger.adopt(ids[remote.marker], run=run)
                report.adopted += 1


def _answer_held(ledger: Ledger, folder: Path, report: Report) -> None:
    """A call that the kill caught in the middle: a person looks at the trace, and answers."""
    from ledger.commands.demo_tools import traces
    from ledger.store.queries import open_calls

    for row in ledger.store.read(open_calls):
        if row.held:
            happened = any(trace["key"] == row.key for trace in traces(folder))
            text = "the receipt was sent" if happened else "the receipt was not sent"
            ledger.answer(row.run_id, row.call_id, text, is_error=not happened)
            report.held += 1


if TYPE_CHECKING:
    from ledger.commands.demo_report import Report
