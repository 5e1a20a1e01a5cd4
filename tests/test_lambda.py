"""The Lambda function: what it puts on the queue, what it refuses, and how it signs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqs_queues import CREDENTIALS, Queues, function_event, load_handler
from webhook_receiver import receiving

AT = datetime(2026, 3, 1, 23, 59, 59, 250_000, tzinfo=UTC)
HEADERS = {"webhook-id": "wh_1", "webhook-timestamp": "1772409599", "webhook-signature": "v1,AAAA"}
BODY = b'{"type": "response.completed", "data": {"id": "resp_1"}}'


@pytest.mark.parametrize(
    "body",
    [b"", BODY, b"\xff\xfe\x00 not text", '{"name": "J\u00fcrgen \U0001f680"}', '{"a":\r\n 1 }'],
    ids=["none", "text", "bytes", "UTF-8 as text", "line ends"],
)
def test_the_exact_bytes_are_queued(queues: Queues, body: bytes | str) -> None:
    """Whatever the encoding of the event: the signature is about these bytes."""
    assert 202 == queues.deliver((HEADERS, body), at=AT)  # type: ignore[arg-type]

    (envelope,) = queues.envelopes()
    raw = body.encode() if isinstance(body, str) else body
    assert raw == base64.b64decode(envelope["body"])


def test_an_envelope_holds_what_is_needed_and_no_more(queues: Queues) -> None:
    """Its version, the time of receipt, the headers that count; no other header."""
    more = {"User-Agent": "OpenAI", "cookie": "session=1", "authorization": "Bearer x"}
    shouted = {name.title(): value for name, value in HEADERS.items()}

    assert 202 == queues.deliver((shouted | more, BODY), at=AT)

    (envelope,) = queues.envelopes()
    assert {
        "version": 1,
        "received_at": "2026-03-01T23:59:59.250000+00:00",
        "headers": {**HEADERS, "user-agent": "OpenAI"},
        "body": base64.b64encode(BODY).decode(),
    } == envelope


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [None, ""])
def test_a_request_without_the_headers_is_refused(
    queues: Queues, name: str, value: str | None
) -> None:
    """It cannot be a delivery, and costs no message."""
    headers = {k: v for k, v in HEADERS.items() if k != name} | (
        {} if value is None else {name: ""}
    )

    assert 400 == queues.deliver((headers, BODY))
    assert (0, 0) == queues.counts()


def test_what_is_no_base64_is_refused(queues: Queues) -> None:
    """The event says base64, and it is none."""
    event = function_event(HEADERS, b"") | {"body": "%%%"}
    assert 400 == queues.handler.handler(event, None)["statusCode"]
    assert 400 == queues.handler.handler({}, None)["statusCode"]
    assert (0, 0) == queues.counts()


def test_the_largest_message_fits_and_one_more_byte_does_not(queues: Queues) -> None:
    """What is too large for the queue is told to upstream, and not tried."""
    empty = len(queues.handler.message_of(function_event(HEADERS, b""), AT))
    fits = (256 * 1024 - empty) // 4 * 3

    assert 202 == queues.deliver((HEADERS, b"x" * fits))
    assert 413 == queues.deliver((HEADERS, b"x" * (fits + 1)))
    assert (1, 0) == queues.counts()


@pytest.mark.parametrize("token", [CREDENTIALS["AWS_SESSION_TOKEN"], None])
def test_the_signature_is_the_one_that_botocore_makes(
    monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """The same request, at the same time, signed by AWS's own library."""
    from botocore import auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    key, secret = CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    host, payload = (
        "sqs.eu-central-1.amazonaws.com",
        b'{"QueueUrl": "q", "MessageBody": "\xc3\xbc"}',
    )
    ours = load_handler().signed(
        host, payload, AT, region="eu-central-1", key=key, secret=secret, token=token
    )
    bare = {k: ours[k] for k in ("content-type", "host", "x-amz-target")}
    request = AWSRequest("POST", f"https://{host}/", headers=bare, data=payload)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: AT.replace(tzinfo=None))
    auth.SigV4Auth(Credentials(key, secret, token), "sqs", "eu-central-1").add_auth(request)

    assert request.headers["Authorization"] == ours["authorization"]
    assert "20260301T235959Z" == request.headers["X-Amz-Date"] == ours["x-amz-date"]
    assert token == request.headers.get("X-Amz-Security-Token")
    assert token == ours.get("x-amz-security-token")


def test_the_request_is_signed_with_what_lambda_gives(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, token and region are those of the environment; a 200 that is not SQS's is no receipt."""
    with receiving() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", endpoint.url)

        assert 503 == queues.deliver((HEADERS, BODY), at=AT)

        path, headers, payload = endpoint.next()
    signed = queues.handler.signed(
        endpoint.url.removeprefix("http://"),
        payload,
        AT,
        region=CREDENTIALS["AWS_REGION"],
        key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        token=CREDENTIALS["AWS_SESSION_TOKEN"],
    )
    assert "/" == path
    assert signed == {name: headers[name] for name in signed}
    assert queues.url == json.loads(payload)["QueueUrl"]


TROUBLE = {
    "no queue of that name": {"QUEUE_URL": "http://127.0.0.1:9/123456789012/nowhere"},
    "nobody listens": {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"},
    "no address": {"AWS_ENDPOINT_URL_SQS": "nonsense"},
    "no queue": {"QUEUE_URL": ""},
    "no credential": {"AWS_ACCESS_KEY_ID": ""},
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_is_not_queued_is_to_be_sent_again(
    queues: Queues, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 5xx, and one line that says why without a word of the delivery."""
    for variable, value in TROUBLE[name].items():
        monkeypatch.setenv(variable, value)

    assert 503 == queues.deliver((HEADERS, BODY))

    said = capsys.readouterr().out
    assert said.startswith("not queued: ")
    hidden: list[Any] = [*HEADERS.values(), *CREDENTIALS.values(), "resp_1"]
    assert [] == [text for text in hidden if text in said and text != CREDENTIALS["AWS_REGION"]]


def test_an_answer_with_another_digest_is_no_receipt(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQS says it took must be what was sent."""
    answer = (200, {"MessageId": "1", "MD5OfMessageBody": "0" * 32})
    monkeypatch.setattr(queues.handler, "_post", lambda *_: answer)

    assert 503 == queues.deliver((HEADERS, BODY))
