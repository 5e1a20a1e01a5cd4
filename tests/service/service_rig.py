"""A ledger beside a simulator, driven to its verdicts; afterwards both accounts are compared."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from forked import Forked

from ledger import Ledger, Run
from ledger.clock import wait_until
from ledger.core.model import Facts
from ledger.core.reading import MARKER_KEY
from ledger.service.workers import make_reconciler
from ledger.simulator import Simulator
from ledger.store.facts import load_facts
from ledger.store.invariants import INVARIANTS, broken

ROOT = Path(__file__).parents[2]
KEY = "sk-rig-0123456789abcdef"
SECONDS_MAX = 20.0
CREATES = ("responses.create", "runs.create", "threads.create")
Item = dict[str, Any]


class Rig:
    """One ledger and one simulator."""

    def __init__(self, url: str, sim: Simulator, ledger: Ledger) -> None:
        self.url, self.sim, self.ledger = url, sim, ledger

    # Driving.

    def submit(self, model: str = "sim-ok", provider: str = "responses", **fields: Any) -> Run:
        """Write one run down, asking for a sum, with all tools of this process."""
        fields.setdefault("tools", list(self.ledger.toolbox) or None)
        return self.ledger.submit(**request(model, provider, **fields))

    def finish(self, *runs: Run, seconds: float = SECONDS_MAX) -> list[Run]:
        """Drive these runs to their verdicts."""
        self.ledger.wait_for([run.id for run in runs], timeout=seconds)
        return [self.ledger.get(run) for run in runs]

    def run(self, model: str = "sim-ok", provider: str = "responses", **fields: Any) -> Run:
        """Submit one run and drive it to its verdict."""
        return self.finish(self.submit(model, provider, **fields))[0]

    def until(
        self, run: Run, holds: Callable[[Facts], bool], *, seconds: float = SECONDS_MAX
    ) -> Facts:
        """Drive a run until its facts are as wished."""
        store = self.ledger.store

        def done(_: Mapping[int, Run]) -> bool:
            return holds(store.read(lambda c: load_facts(c, [run.id]))[run.id])

        self.ledger.wait_for([run.id], timeout=seconds, done=done)
        return self.ledger.facts(run)

    def settle(self, *runs: Run, seconds: float = SECONDS_MAX) -> list[Run]:
        """Drive runs until nothing upstream is left to watch, tails included."""
        for run in runs:
            self.until(run, lambda facts: not facts.watched, seconds=seconds)
        return [self.ledger.get(run) for run in runs]

    @contextmanager
    def daemon(self, **options: Any) -> Iterator[Any]:
        """A life of this process, in a thread of its own, until the end of the block."""
        ready, ended = threading.Event(), threading.Event()
        held: dict[str, Any] = {}

        async def work() -> None:
            reconciler = make_reconciler(self.ledger, role="daemon", **options)
            held["reconciler"], held["loop"] = reconciler, asyncio.get_running_loop()
            held["stop"] = asyncio.Event()
            await reconciler.begin()
            ready.set()
            await reconciler.run(held["stop"])

        def body() -> None:
            try:
                asyncio.run(work())
            except BaseException as error:
                held["error"] = error
            finally:
                ready.set()
                ended.set()

        thread = threading.Thread(target=body, name="rig-daemon")
        thread.start()
        assert ready.wait(SECONDS_MAX)
        try:
            assert "error" not in held, held["error"]
            yield held["reconciler"]
        finally:
            if not ended.is_set():
                held["loop"].call_soon_threadsafe(held["stop"].set)
            thread.join(SECONDS_MAX)
        assert "error" not in held, held["error"]

    def expect(self, ready: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
        """Wait for something that another life brings about."""
        assert wait_until(ready, seconds=seconds)

    # Reading.

    def kinds(self, run: Run) -> list[str]:
        """The kinds of a run's events, in order."""
        return [event["kind"] for event in self.ledger.events(run)]

    def event(self, run: Run, kind: str) -> Item:
        """The only event of a kind."""
        (found,) = [event for event in self.ledger.events(run) if event["kind"] == kind]
        return found

    def moves(self, run: Run) -> list[str]:
        """The states that a run entered, in order."""
        return [event["to"] for event in self.ledger.events(run) if event["to"]]

    def calls(self, run: Run) -> list[Item]:
        """A run's tool calls."""
        return list(self.ledger.show(run)["tool_calls"])

    def remotes(self, run: Run) -> list[Item]:
        """A run's remotes."""
        return list(self.ledger.show(run)["remotes"])

    def made(self, run: Run, operation: str = "") -> list[Item]:
        """What upstream accepted as a create of this run."""
        markers = {remote["marker"] for remote in self.remotes(run)}
        return [
            entry
            for entry in self.sim.log()
            if entry["accepted"]
            and entry["operation"] in ((operation,) if operation else CREATES)
            and entry["metadata"].get(MARKER_KEY) in markers
        ]

    def received(self, run: Run) -> list[tuple[str, str]]:
        """The outputs that upstream took for this run: (call id, output), in order."""
        ids = {remote["remote_id"] for remote in self.remotes(run)}
        return [
            (output["call_id"], output["output"])
            for entry in self.sim.log()
            if entry["accepted"] and entry["object_id"] in ids
            for output in entry["detail"].get("outputs", [])
        ]

    def scalar(self, statement: str, **values: Any) -> Any:
        """One value, by SQL."""
        with self.ledger.store.reading() as connection:
            return connection.execute(sa.text(statement), values).scalar()

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Rows, by SQL."""
        with self.ledger.store.reading() as connection:
            return list(connection.execute(sa.text(statement), values).all())

    def execute(self, statement: str, **values: Any) -> None:
        """One statement, by SQL, committed."""
        with self.ledger.store.engine.execution_options(write=True).begin() as connection:
            connection.execute(sa.text(statement), values)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.scalar(f"SELECT COUNT(*) FROM {table}"))

    # Comparing.

    def audit(self) -> None:
        """The ledger keeps its promises, and upstream's account agrees with it."""
        for invariant in INVARIANTS:
            found = self.ledger.store.read(lambda c, i=invariant: broken(c, i))
            assert [] == found, invariant.text
        assert () == self.ledger.verify().broken
        accepted = Counter(
            entry["metadata"][MARKER_KEY]
            for entry in self.sim.log()
            if entry["operation"] in CREATES
            and entry["accepted"]
            and MARKER_KEY in entry["metadata"]
        )
        assert [] == [marker for marker, times in accepted.items() if times > 1]
        shown = [self.ledger.show(run) for run in self.ledger.runs(limit=1_000)]
        remotes = {remote["marker"]: remote for run in shown for remote in run["remotes"]}
        assert set() == set(accepted) - set(remotes)
        recorded = {(c["call_id"], c["output"]) for run in shown for c in run["tool_calls"]}
        for entry in self.sim.log():
            if entry["accepted"] and MARKER_KEY in entry["metadata"]:
                sent = {(o["call_id"], o["output"]) for o in entry["detail"].get("outputs", [])}
                assert set() == sent - recorded


@contextmanager
def rigs(patch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Makes rigs on databases: `scenario` for the simulator, tools and settings for the ledger.
    Afterwards each ledger is compared with upstream's account."""
    with ExitStack() as stack:

        def make(
            url: str,
            scenario: Item | None = None,
            *,
            speed: float = 10,
            key: str = KEY,
            **options: Any,
        ) -> Rig:
            sim = stack.enter_context(Simulator.running(scenario=scenario, speed=speed))
            patch.setenv("OPENAI_BASE_URL", sim.url)
            patch.setenv("OPENAI_API_KEY", key)
            given = {"settle_seconds": 0.3, "poll_seconds": 0.05} | options
            ledger = stack.enter_context(Ledger.open(url, **given))
            made.append(Rig(url, sim, ledger))
            return made[-1]

        made: list[Rig] = []
        yield make
        for rig in made:
            rig.audit()


def request(model: str = "sim-ok", provider: str = "responses", **fields: Any) -> Item:
    """What a caller submits: a question that the simulated model can answer."""
    asked: Item = {"provider": provider, "input": "What is 2+2?"}
    asked |= {"model": model} if provider == "responses" else {"assistant_id": f"asst_{model}"}
    return asked | fields


def shorten(patch: pytest.MonkeyPatch, name: str, seconds: float) -> None:
    """Set one of the core's intervals, wherever a module of it holds the name."""
    holders = [
        m for n, m in sys.modules.items() if n.startswith("ledger.core") and hasattr(m, name)
    ]
    assert holders, name
    for holder in holders:
        patch.setattr(holder, name, seconds)


def verdict(run: Run) -> tuple[str, int, str | None, str | None, str | None]:
    """State, attempts, error code, error origin and attention: what a person asks first."""
    return (
        str(run.state),
        run.attempts,
        run.error_code,
        None if run.error_origin is None else str(run.error_origin),
        None if run.needs_attention is None else str(run.needs_attention),
    )


class Daemon:
    """`runward daemon` as a process of its own, with `paths` to find tools on."""

    paths = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))

    def __init__(
        self, url: str, log: Path, *arguments: str, module: str = "ledger", **environment: str
    ) -> None:
        self.log = log
        given = {**os.environ, **environment, "PYTHONPATH": self.paths}
        self.process = Forked(module, ["-d", url, "daemon", *arguments], log, given, log.parent)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(SECONDS_MAX)

    def drain(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(SECONDS_MAX)

    def end(self) -> None:
        """Whatever it takes."""
        if self.process.poll() is None:
            self.kill()

    def expect(self, what: str, ready: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
        """Wait for something that the daemon brings about."""
        held = wait_until(lambda: ready() or self.process.poll() is not None, seconds=seconds)
        said = f"not so: {what}\n{self.log.read_text()[-3000:]}"
        assert held, said
        assert ready(), said


MakeRig = Callable[..., Rig]
StartDaemon = Callable[..., Daemon]
