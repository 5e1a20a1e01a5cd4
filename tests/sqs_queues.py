"""SQS on loopback, as moto serves it; queues on it; and the Lambda handler that sends to them."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ledger.clock import utcnow, wait_until
from ledger.providers.sqs import Message

HANDLER = Path(__file__).parents[1] / "deploy" / "lambda" / "runward_inbox.py"
REGION = "eu-central-1"
VISIBILITY_SECONDS = "30"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "a/secret+of/the+tests",
    "AWS_SESSION_TOKEN": "a+token/of+the/tests==",
    "AWS_REGION": REGION,
}
Delivered = tuple[Mapping[str, str], bytes]


@contextmanager
def sqs_server() -> Iterator[str]:
    """The URL of a server that any number of tests share."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def load_handler() -> ModuleType:
    """The module that is uploaded to Lambda, from its file."""
    spec = importlib.util.spec_from_file_location("runward_inbox", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function_event(headers: Mapping[str, str], body: bytes | str) -> dict[str, Any]:
    """What a function URL hands over: text as it is, anything else in base64."""
    text = body if isinstance(body, str) else base64.b64encode(body).decode()
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": {"host": "abc.lambda-url.eu-central-1.on.aws", **headers},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": text,
        "isBase64Encoded": not isinstance(body, str),
    }


class Queues:
    """A queue and its dead letters, both empty; `lambda_` answers as the deployed function does."""

    def __init__(self, server: str, patch: pytest.MonkeyPatch) -> None:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_SQS", server)
        # A developer's own profile must not be read.
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        import boto3

        self._patch = patch
        self._client = boto3.client("sqs", region_name=REGION)
        self.url, self.dead_url = self._make("inbox"), self._make("dead")
        patch.setenv("QUEUE_URL", self.url)
        self.handler = load_handler()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _make(self, name: str) -> str:
        made = self._client.create_queue(
            QueueName=f"{name}-{uuid.uuid4().hex[:12]}",
            Attributes={"VisibilityTimeout": VISIBILITY_SECONDS},
        )
        return str(made["QueueUrl"])

    def deliver(self, delivered: Delivered, *, at: datetime | None = None) -> int:
        """Have the function take one request, at a time; the status that upstream sees."""
        moment = at or utcnow()

        class Standing(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return moment.astimezone(tz)

        self._patch.setattr(self.handler, "datetime", Standing)
        return int(self.handler.handler(function_event(*delivered), None)["statusCode"])

    def put(self, body: str) -> None:
        """Put anything on the queue."""
        self._client.send_message(QueueUrl=self.url, MessageBody=body)

    def bodies(self, url: str | None = None) -> list[str]:
        """The messages that can be received now; they become invisible by it."""
        found: list[str] = []
        while True:
            reply = self._client.receive_message(QueueUrl=url or self.url, MaxNumberOfMessages=10)
            if not reply.get("Messages"):
                return found
            found += [message["Body"] for message in reply["Messages"]]

    def envelopes(self) -> list[dict[str, Any]]:
        """What is on the queue, read."""
        return [json.loads(body) for body in self.bodies()]

    def counts(self, url: str | None = None) -> tuple[int, int]:
        """How many messages wait, and how many are handed out and not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        reply = self._client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        waiting, out = (int(reply["Attributes"][name]) for name in names)
        return waiting, out

    def empty(self) -> bool:
        """Whether nothing is left, not even handed out."""
        return self.counts() == (0, 0)

    def handed_out_again(self, messages: Iterable[Message]) -> None:
        """Let the time pass after which what was handed out and not deleted comes again."""
        for message in messages:
            self._client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message.receipt, VisibilityTimeout=0
            )

    def expect_empty(self, seconds: float = 20.0) -> None:
        """Wait until everything has been deleted."""
        assert wait_until(self.empty, seconds=seconds, every=0.05), self.counts()
