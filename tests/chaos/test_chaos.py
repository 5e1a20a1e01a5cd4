"""Real processes, real kill -9, a faulty upstream; afterwards the accounts must be right."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos_tools import TRACES, charge, lookup, read_traces

from ledger import Ledger, NotAllowed
from ledger.clock import wait_until
from ledger.core.reading import MARKER_KEY
from ledger.simulator import Simulator
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.queries import counts, newest_ids, open_calls

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("RUNWARD_TEST_CHAOS_KILLS", "2"))
SEED = int(os.environ.get("RUNWARD_TEST_CHAOS_SEED", "20261121"))
RUNS_PER_KILL = 12
SECONDS_MAX = 60 + 2 * KILLS
ROOT = Path(__file__).parents[2]
MODELS = {
    "responses": (
        "sim-ok", "sim-tool", "sim-tools", "sim-fail-server_error", "sim-http-500-after-once",
        "sim-http-503-before-once", "sim-drop-after-once", "sim-incomplete-max_output_tokens",
        "sim-null-error", "sim-http-429", "sim-tool-chain",
    ),
    "assistants": (
        "sim-ok", "sim-tool", "sim-tools", "sim-expire-once", "sim-http-500-after-once",
        "sim-drop-after-once", "sim-drop-before-once", "sim-truncated-once", "sim-html-once",
        "sim-stale-action", "sim-repeat-action", "sim-goes-back", "sim-stuck-in_progress",
    ),
}  # fmt: skip
FAULTS = [
    {"operation": "*.retrieve", "probability": 0.04, "fault": "http-503-before"},
    {"operation": "*.retrieve", "probability": 0.02, "fault": "truncated"},
    {"operation": "*.create", "probability": 0.03, "fault": "http-429", "retry_after_s": 0.1},
    {"operation": "runs.submit", "probability": 0.05, "fault": "http-500-after"},
    {"operation": "*.cancel", "probability": 0.10, "fault": "http-500-after"},
]


class Chaos:
    """One chaos run over one database."""

    def __init__(self, url: str, folder: Path, sim: Simulator, ledger: Ledger) -> None:
        self.url, self.folder, self.sim, self.ledger = url, folder, sim, ledger
        self.rng = random.Random(SEED)
        self.submitted: list[int] = []
        self.held = 0

    def daemon(self) -> subprocess.Popen[bytes]:
        """Start a daemon as a process of its own."""
        command = [sys.executable, "-m", "ledger", "-d", self.url, "daemon"]
        command += ["--tools", "chaos_tools"]
        with (self.folder / "daemon.log").open("ab") as log:
            paths = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
            return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=log)

    def submit_some(self) -> None:
        """A random lot; two of the runs share a thread."""
        thread = self._thread()
        for number in range(RUNS_PER_KILL):
            provider = self.rng.choice(("responses", "assistants"))
            model = self.rng.choice(MODELS[provider])
            shared = thread if provider == "assistants" and number % 3 == 0 else None
            self.submitted.append(self._submit(provider, model, shared))

    def _submit(self, provider: str, model: str, thread: str | None) -> int:
        number = len(self.submitted)
        request: dict[str, Any] = {
            "key": f"chaos:{number}",
            "provider": provider,
            "input": f"What is {number}+{number}?",
            "tools": [self.rng.choice((charge, lookup))],
            "metadata": {"sim_args": json.dumps({"order_id": f"A-{number}"})},
            "settle_seconds": 1.0,
            "poll_seconds": 0.1,
            "restart": "expired=2,failed:server_error=1",
            "on_unknown": self.rng.choice(("fail", "recreate=1")),
            "deadline": 10,
        }
        if provider == "responses":
            request["model"] = model
        else:
            request |= {"assistant_id": f"asst_{model}", "thread_id": thread}
        return self.ledger.submit(**request).id

    def _thread(self) -> str:
        from openai import OpenAI

        with OpenAI(max_retries=5) as client:
            return client.post("/threads", body={}, cast_to=object)["id"]  # type: ignore[index]

    def kill_at_a_random_moment(self, daemon: subprocess.Popen[bytes]) -> None:
        """SIGKILL after a random number of events, counted from outside."""
        start, _ = self.ledger.store.read(newest_ids)
        target = start + self.rng.randrange(1, 120)
        wait_until(
            lambda: self.ledger.store.read(newest_ids)[0] >= target or daemon.poll() is not None,
            seconds=6,
            every=0.001,
        )
        assert daemon.poll() is None, (self.folder / "daemon.log").read_text()[-3000:]
        daemon.kill()
        daemon.wait()

    def meddle(self) -> None:
        """What people do in between: cancel something, whatever state it is in."""
        for run_id in self.rng.sample(self.submitted, k=2):
            try:
                self.ledger.cancel(run_id, reason="chaos")
            except NotAllowed:
                assert self.ledger.get(run_id).final

    def finished(self) -> bool:
        """Whether every run has a verdict and nothing is watched; answers held calls on the way."""
        for row in self.ledger.store.read(open_calls):
            if row.held:
                self.ledger.answer(row.run_id, row.call_id, "a person looked: it was done")
                self.held += 1
        return self.ledger.store.read(counts)["watched"] == 0

    def unfinished(self) -> list[Any]:
        """What is still watched, with the end of its history: the message of a failure."""
        shown = [self.ledger.show(run) for run in self.ledger.runs(limit=1_000)]
        left = [run for run in shown if not all(r["settled"] for r in run["remotes"])]
        return [
            (run["key"], run["status"], run["remotes"], list(self.ledger.events(run["id"]))[-4:])
            for run in left[:3]
        ]


@pytest.fixture
def chaos(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """A ledger, a faulty simulator, and traces of tools."""
    scenario = {"seed": SEED, "speed": 4.0, "faults": FAULTS}
    with Simulator.running(scenario=scenario) as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", sim.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-chaos-0000000000")
        monkeypatch.setenv(TRACES, str(tmp_path / "traces.ndjson"))
        with Ledger.open(database_url, actor="chaos") as ledger:
            yield Chaos(database_url, tmp_path, sim, ledger)


@pytest.mark.problem(8, 11)
def test_no_kill_loses_or_doubles_anything(chaos: Chaos) -> None:
    """After any number of kills every run has a verdict and the ledger agrees with upstream."""
    for _ in range(KILLS):
        chaos.submit_some()
        daemon = chaos.daemon()
        chaos.kill_at_a_random_moment(daemon)
        chaos.meddle()
    daemon = chaos.daemon()
    try:
        done = wait_until(chaos.finished, seconds=SECONDS_MAX, every=0.1)
        if not done:
            pytest.fail(json.dumps(chaos.unfinished(), indent=1))
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)

    assert [run.key for run in chaos.ledger.runs(limit=1_000) if not run.final] == []
    _database_keeps_its_promises(chaos.ledger)
    _upstream_agrees(chaos)
    _effects_are_single(chaos)
    _outputs_are_those_recorded(chaos)


def _database_keeps_its_promises(ledger: Ledger) -> None:
    """Invariants 1, 2, 4 to 9 by query."""
    for invariant in INVARIANTS:
        found = ledger.store.read(lambda c, i=invariant: broken(c, i))
        assert found == [], invariant.text
    assert ledger.verify().broken == ()


def _upstream_agrees(chaos: Chaos) -> None:
    """Each intent made at most one object, and each object is known or listed as unresolved."""
    created = Counter(
        entry["metadata"][MARKER_KEY]
        for entry in chaos.sim.log()
        if entry["operation"] in ("responses.create", "runs.create", "threads.create")
        and entry["accepted"]
        and MARKER_KEY in entry["metadata"]
    )
    assert [marker for marker, times in created.items() if times > 1] == []
    remotes = {
        remote["marker"]: remote
        for run in chaos.ledger.runs(limit=1_000)
        for remote in chaos.ledger.show(run)["remotes"]
    }
    assert set() == set(created) - set(remotes)
    unaccounted = [
        marker
        for marker in created
        if remotes[marker]["remote_id"] is None and remotes[marker]["state"] != "unknown"
    ]
    assert unaccounted == []
    invented = [m for m, remote in remotes.items() if remote["remote_id"] and m not in created]
    assert invented == []


def _effects_are_single(chaos: Chaos) -> None:
    """Invariant 5, seen from outside: no key was charged twice."""
    traces = read_traces(chaos.folder / "traces.ndjson")
    charged = Counter(trace["key"] for trace in traces if trace["tool"] == "charge")
    assert [key for key, times in charged.items() if times > 1] == []


def _outputs_are_those_recorded(chaos: Chaos) -> None:
    """Invariant 6: what upstream received is what was recorded; a thread run takes it once."""
    recorded = Counter(
        (call["call_id"], call["output"])
        for run in chaos.ledger.runs(limit=1_000)
        for call in chaos.ledger.show(run)["tool_calls"]
    )
    taken: Counter[tuple[str, str]] = Counter()
    for entry in chaos.sim.log():
        outputs = entry["detail"].get("outputs", []) if entry["accepted"] else []
        pairs = [(output["call_id"], output["output"]) for output in outputs]
        assert [] == [pair for pair in pairs if pair not in recorded]
        if entry["operation"] == "runs.submit":
            taken.update(pairs)
    assert not taken - recorded
