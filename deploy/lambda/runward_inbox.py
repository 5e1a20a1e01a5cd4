"""Puts webhook deliveries on an SQS queue, as they came: for a Lambda function URL or API Gateway.

Holds no secret and judges nothing: `runward webhook drain-sqs` checks the signature against the
time of receipt that is written here. Answers 2xx only once SQS has the message; until then upstream
sends again. Standard library only; QUEUE_URL names the queue, all else Lambda itself provides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

VERSION = 1
"""Of the message; `ledger.core.envelope` reads it."""
MESSAGE_BYTES_MAX = 256 * 1024
"""What every SQS queue takes, its envelope and base64 included."""
NEEDED = ("webhook-id", "webhook-timestamp", "webhook-signature")
KEPT = (*NEEDED, "user-agent")
TIMEOUT_SECONDS = 5.0
"""For the connection, and again for each read; give the function 15 s."""
TARGET = "AmazonSQS.SendMessage"
MEDIA = "application/x-amz-json-1.0"


class Refused(Exception):
    """The request is no delivery: upstream gets this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class NotQueued(Exception):
    """SQS did not take the message, as far as we know."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """What Lambda calls. Never raises: what is not queued is a 5xx, and comes again."""
    now = datetime.now(UTC)
    try:
        message = message_of(event, now)
        send(message, now)
    except Refused as refused:
        return _answer(refused.status, refused.reason)
    except Exception as error:
        # Never the message, nor a header: what is logged here others can read.
        known = isinstance(error, NotQueued)
        print("not queued:", error if known else type(error).__name__)
        return _answer(503, "not queued")
    return _answer(202, "queued")


def message_of(event: Mapping[str, Any], received_at: datetime) -> str:
    """The message for one request. Raises Refused."""
    headers = {
        str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()
    }
    missing = [name for name in NEEDED if not headers.get(name)]
    if missing:
        raise Refused(400, f"the header {missing[0]} is missing")
    envelope = {
        "version": VERSION,
        "received_at": received_at.isoformat(timespec="microseconds"),
        "headers": {name: headers[name] for name in KEPT if name in headers},
        "body": base64.b64encode(_raw_body(event)).decode(),
    }
    message = json.dumps(envelope, separators=(",", ":"))
    if len(message) > MESSAGE_BYTES_MAX:
        raise Refused(413, "the body is too large")
    return message


def _raw_body(event: Mapping[str, Any]) -> bytes:
    """The bytes that were signed."""
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            return base64.b64decode(body, validate=True)
        return str(body).encode()
    except ValueError:
        raise Refused(400, "the body cannot be read") from None


def send(message: str, now: datetime) -> None:
    """Send one message and see that SQS has it whole. Raises NotQueued."""
    queue = _variable("QUEUE_URL")
    payload = json.dumps({"QueueUrl": queue, "MessageBody": message}).encode()
    place = urlsplit(os.environ.get("AWS_ENDPOINT_URL_SQS") or queue)
    headers = signed(
        place.netloc,
        payload,
        now,
        region=_variable("AWS_REGION"),
        key=_variable("AWS_ACCESS_KEY_ID"),
        secret=_variable("AWS_SECRET_ACCESS_KEY"),
        token=os.environ.get("AWS_SESSION_TOKEN"),
    )
    status, reply = _post(place.scheme, place.netloc, payload, headers)
    taken = reply.get("MD5OfMessageBody")
    if status != 200 or taken != hashlib.md5(message.encode(), usedforsecurity=False).hexdigest():
        # The code only: the text of a refused signature repeats the session token.
        code = str(reply.get("__type", "")).rpartition("#")[2][:100]
        raise NotQueued(f"SQS answered {status} {code}".rstrip())


def signed(
    host: str,
    payload: bytes,
    now: datetime,
    *,
    region: str,
    key: str,
    secret: str,
    token: str | None = None,
) -> dict[str, str]:
    """The headers of a request to SQS with its signature, version 4.

    Source: AWS, "Create a signed AWS API request".
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"content-type": MEDIA, "host": host, "x-amz-date": stamp, "x-amz-target": TARGET}
    if token:
        headers["x-amz-security-token"] = token
    names = sorted(headers)
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    request = f"POST\n/\n\n{lines}\n{';'.join(names)}\n{hashlib.sha256(payload).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/sqs/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def _post(
    scheme: str, host: str, payload: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    """One POST without redirects or proxies. Raises NotQueued."""
    plain = scheme == "http"  # only where an endpoint of a test says so
    kind = http.client.HTTPConnection if plain else http.client.HTTPSConnection
    connection = kind(host, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", "/", payload, dict(headers))
        reply = connection.getresponse()
        value = json.loads(reply.read(65_536))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotQueued(f"SQS could not be asked: {type(error).__name__}") from None
    finally:
        connection.close()
    return reply.status, value if isinstance(value, dict) else {}


def _variable(name: str) -> str:
    """A variable of the environment. Raises NotQueued."""
    value = os.environ.get(name)
    if not value:
        raise NotQueued(f"{name} is not set")
    return value


def _answer(status: int, text: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"result": text}),
    }
