"""An SQS queue, through boto3. Its calls block: they belong into a thread, never on a loop."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import ConfigurationError, QueueAway, QueueRefused

POLL_SECONDS: Final = 3
"""So long a poll waits for messages, and an end for a poll: 864,000 polls a month when idle."""
BATCH_MAX: Final = 10
"""What SQS hands out, and takes back, at once."""
CONNECT_SECONDS: Final = 5
REPLY_SECONDS: Final = 10
CONNECTIONS_MAX: Final = 16
REGION: Final = re.compile(r"^https://(?:[^/]+\.)?sqs\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com")
SLOWLY: Final = ("Throttling", "ThrottlingException", "RequestThrottled", "OverLimit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as handed out. `receipt` is what it is deleted with, for this time only."""

    id: str
    receipt: str
    body: str


class SqsQueue:
    """One queue, and the one that its dead letters go to.

    Every call raises QueueRefused when it is misconfigured, QueueAway when it may do better later.
    """

    def __init__(self, url: str, dead_letter_url: str | None = None) -> None:
        """Raises ConfigurationError without boto3, and where no region or endpoint is known."""
        self.url, self.dead_letter_url = url, dead_letter_url
        self.name = url.rstrip("/").rpartition("/")[2]
        self._client = _client(url)

    def receive(self, seconds: int | None = None) -> list[Message]:
        """Up to BATCH_MAX messages, waiting so long for the first; POLL_SECONDS by default."""
        reply = self._call(
            "receive_message",
            QueueUrl=self.url,
            MaxNumberOfMessages=BATCH_MAX,
            WaitTimeSeconds=POLL_SECONDS if seconds is None else seconds,
        )
        return [
            Message(id=item["MessageId"], receipt=item["ReceiptHandle"], body=item["Body"])
            for item in reply.get("Messages", [])
        ]

    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages off the queue, BATCH_MAX at most; what fails is handed out again."""
        entries = [{"Id": str(n), "ReceiptHandle": m.receipt} for n, m in enumerate(messages)]
        reply = self._call("delete_message_batch", QueueUrl=self.url, Entries=entries)
        if reply.get("Failed"):
            raise QueueAway(f"{len(reply['Failed'])} messages could not be deleted")

    def send_dead(self, message: Message) -> str:
        """Put a copy into the dead letter queue; its id there."""
        reply = self._call("send_message", QueueUrl=self.dead_letter_url, MessageBody=message.body)
        return str(reply["MessageId"])

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _call(self, operation: str, **given: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            reply: dict[str, Any] = getattr(self._client, operation)(**given)
        except ClientError as error:
            raise _judged(operation, error.response) from None
        except BotoCoreError as error:
            raise _unsent(operation, error) from None
        return reply


def _client(url: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ConfigurationError(
            "reading from SQS needs boto3", hint="pip install 'runward[sqs]'"
        ) from None
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=POLL_SECONDS + REPLY_SECONDS,
        max_pool_connections=CONNECTIONS_MAX,
        # Who calls waits and tries again by itself, and an end must not wait for repeats.
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    try:
        # A session of its own: the shared one keeps the credentials of its first use.
        return boto3.Session().client("sqs", region_name=_region(url), config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"SQS: {error}", hint="export AWS_REGION=…") from None


def _region(url: str) -> str | None:
    """The queue's own region, whatever the default is; boto3 reads AWS_DEFAULT_REGION alone."""
    named = REGION.match(url)
    return named[1] if named else os.environ.get("AWS_REGION")


def _judged(operation: str, reply: Any) -> QueueAway | QueueRefused:
    """What SQS answered. The code only: the text of a refused signature repeats the token."""
    code = str(reply.get("Error", {}).get("Code", ""))
    status = int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"SQS refused {operation}: {code or status}"
    if 400 <= status < 500 and status != 429 and code not in SLOWLY:
        return QueueRefused(message, hint="the queue's URL and region, and what the role may do")
    return QueueAway(message)


def _unsent(operation: str, error: Exception) -> QueueAway | QueueRefused:
    from botocore.exceptions import (
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
    )

    ours = (NoCredentialsError, PartialCredentialsError, NoRegionError, ParamValidationError)
    if isinstance(error, ours):
        return QueueRefused(f"SQS cannot be asked ({operation}): {error}")
    return QueueAway(f"SQS cannot be reached ({operation}): {type(error).__name__}")
