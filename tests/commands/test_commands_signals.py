"""Signals from outside, to real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest
from command_line import CommandLine
from support import SQLITE
from webhook_receiver import receiving

from ledger.clock import wait_until
from ledger.simulator import Simulator

ROOT = Path(__file__).parents[2]


@SQLITE
@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", [("wait",), ("events", "--follow")], ids=["wait", "follow"])
def test_a_signal_ends_a_wait_with_its_own_code(
    runward: CommandLine,
    sim: Simulator,
    database_url: str,
    number: signal.Signals,
    verb: tuple[str, ...],
) -> None:
    """130 and 143; the run is given back, and no lock is left."""
    run = runward.submit("sim-stuck-in_progress")
    drives = verb == ("wait",)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "ledger", "-d", database_url, verb[0], run, *verb[1:]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert waiting.stdout is not None
    if drives:
        assert wait_until(lambda: len(sim.log()) > 0, seconds=20)
    else:
        # One that says nothing is ended, not waited for.
        late = threading.Timer(20, waiting.kill)
        late.start()
        assert waiting.stdout.readline()
        late.cancel()

    waiting.send_signal(number)
    _, said = waiting.communicate(timeout=20)

    assert (128 + number, b"") == (waiting.returncode, said)
    lives = runward("workers", "list", "--all", "-o", "json").json
    assert (["ended: interrupted"] if drives else []) == [life["state"] for life in lives]
    assert 0 == runward("cancel", run, "-o", "json").code
    assert [] == list(Path(database_url.removeprefix("sqlite:///")).parent.rglob("*.lock"))


def test_a_simulator_is_served_with_an_endpoint_to_begin_with() -> None:
    """What ends there is delivered, signed with the secret of the variable; a signal ends it."""
    secret = "whsec_" + "c2lt" * 8
    with receiving() as receiver:
        serving = subprocess.Popen(
            [sys.executable, "-m", "ledger", "sim", "serve", "--webhook-url", receiver.url],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_WEBHOOK_SECRET": secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert serving.stdout is not None
        try:
            client = openai.OpenAI(base_url=serving.stdout.readline().strip(), api_key="sk-test")
            response = client.responses.create(model="sim-instant", input="Hi", background=True)
            _, headers, body = receiver.next()
        finally:
            serving.send_signal(signal.SIGINT)
            out, err = serving.communicate(timeout=20)

    client.webhooks.verify_signature(body, headers, secret=secret)
    assert response.id == json.loads(body)["data"]["id"]
    assert 0 == serving.returncode, err
    assert secret not in out + err
