"""`runward webhook drain-sqs`, and the queue beside `daemon` and `up`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from sqs_queues import Queues

from ledger.clock import utcnow, wait_until
from ledger.simulator import Simulator

ROOT = Path(__file__).parents[2]
KEY = b"a secret for the tests, 32 bytes"
SECONDS_MAX = 60.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "whsec_" + base64.b64encode(KEY).decode())
    monkeypatch.setattr("ledger.providers.sqs.POLL_SECONDS", 0)


@pytest.fixture
def start(database_url: str) -> Iterator[Start]:
    """Starts `runward` as a process, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger", "-d", database_url, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def deliver(queues: Queues, object_id: str = "batch_1", *, key: bytes = KEY) -> None:
    """Have upstream call the function."""
    now = str(int(utcnow().timestamp()))
    event = {"type": "response.completed", "data": {"id": object_id}}
    body = json.dumps(event).encode()
    digest = hmac.digest(key, f"wh_{object_id}.{now}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    headers = {
        "webhook-id": f"wh_{object_id}",
        "webhook-timestamp": now,
        "webhook-signature": signature,
    }
    assert 202 == queues.deliver((headers, body))


def test_a_queue_is_drained_once(runward: CommandLine, queues: Queues) -> None:
    """It says what became of the messages, and ends when the queue is empty."""
    deliver(queues)
    deliver(queues)
    deliver(queues, "forged_1", key=b"?" * 32)

    said = runward(
        "webhook", "drain-sqs", "--queue-url", queues.url, "--dead-letter-url", queues.dead_url,
        "-o", "json",
    )  # fmt: skip

    assert 0 == said.code, said.err
    assert {"accepted": 1, "duplicate": 1, "refused": 1, "left": 0} == said.json
    assert f"from the queue {queues.url.rpartition('/')[2]}" in said.err
    assert queues.empty()
    assert (1, 0) == queues.counts(queues.dead_url)
    (row,) = runward("webhook", "list", "-o", "json").json
    assert ("batch_1", "sqs") == (row["object_id"], row["via"])


def test_the_queue_may_be_configured(
    runward: CommandLine, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its URL in the environment is enough; one that is none is refused."""
    monkeypatch.setenv("RUNWARD_SQS_QUEUE_URL", queues.url)
    deliver(queues)
    assert 0 == runward("webhook", "drain-sqs").code
    assert queues.empty()

    for url in ("inbox", "sqs://host/inbox", "https://host"):
        said = runward("webhook", "drain-sqs", "--queue-url", url)
        assert (4, True) == (said.code, "sqs_queue_url" in said.err)
        assert_clear(said)


def test_what_is_missing_is_said(
    runward: CommandLine, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No queue, no library, no such queue, no credential, no secret: each is named. Nor may a
    queue be its own dead letters."""

    def refused(*arguments: str) -> str:
        said = runward("webhook", "drain-sqs", *arguments)
        assert 4 == said.code, said.err
        return said.err

    assert "--queue-url" in refused()
    assert "for ever" in refused("--queue-url", queues.url, "--dead-letter-url", queues.url)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "boto3", None)
        assert "pip install 'runward[sqs]'" in refused("--queue-url", queues.url)
    assert "NonExistentQueue" in refused("--queue-url", queues.url + "x")
    with monkeypatch.context() as patch:
        patch.delenv("AWS_REGION")
        assert "AWS_REGION" in refused("--queue-url", queues.url)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert "credentials" in refused("--queue-url", queues.url)
    with monkeypatch.context() as patch:
        patch.delenv("OPENAI_WEBHOOK_SECRET")
        assert "OPENAI_WEBHOOK_SECRET" in refused("--queue-url", queues.url)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.us-west-2.amazonaws.com/123456789012/inbox", "us-west-2"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/inbox", "cn-north-1"),
        ("https://vpce-1a-2b.sqs.us-east-1.vpce.amazonaws.com/123456789012/inbox", "us-east-1"),
        ("http://localhost:4566/000000000000/inbox", "eu-central-1"),
    ],
)
def test_a_queue_is_asked_in_its_own_region(queues: Queues, url: str, region: str) -> None:
    """The URL says it; only where it does not, the environment does."""
    from ledger.providers.sqs import SqsQueue

    queue = SqsQueue(url)
    assert region == queue._client.meta.region_name
    queue.close()


COMMANDS = (
    ("daemon", "--sqs-queue"),
    ("up", "--port", "0", "--sqs-queue"),
    ("webhook", "drain-sqs", "--follow", "--queue-url"),
)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("dialect", ["sqlite"])
def test_it_goes_on_until_a_signal_and_ends_cleanly(
    start: Start, sim: Simulator, queues: Queues, command: tuple[str, ...]
) -> None:
    """What comes is taken in; SIGTERM ends it within a poll, with nothing left behind."""
    for n in range(12):
        deliver(queues, f"batch_{n}")
    process = start(*command, queues.url)
    queues.expect_empty(SECONDS_MAX)
    assert process.poll() is None, process.communicate()

    process.terminate()

    out, err = process.communicate(timeout=20)
    assert 0 == process.returncode, err
    assert "Traceback" not in err
    assert queues.empty()
    assert ("accepted" in out) == (command[0] == "webhook")


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_daemon_outlives_a_queue_that_fails(
    start: Start, sim: Simulator, queues: Queues, runward: CommandLine
) -> None:
    """Webhooks only make us look sooner: runs go on, and the log says what is wrong."""
    number = runward.submit("sim-ok")

    process = start("daemon", "--sqs-queue", queues.url + "-not")

    def done() -> bool:
        return number == runward("list", "-q", "status:completed", "-o", "name").out.strip()

    assert wait_until(done, seconds=SECONDS_MAX, every=0.1)
    assert process.poll() is None
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert 0 == process.returncode, err
    assert "webhook inbox: SQS refused receive_message" in err
