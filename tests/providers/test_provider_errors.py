"""Whatever goes wrong becomes a typed error that says what it proves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import pkgutil
import ssl
import traceback
from collections.abc import Iterator

import httpx2
import openai
import pytest
from scripted_upstream import CANARY, Upstream, ask, intent, response_address

from ledger.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    LocalLimit,
    MalformedReply,
    MissingCredential,
    ObjectMissing,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ReplyLost,
    ReplyTimeout,
    RequestRefused,
    Sent,
    ServerTrouble,
    ServiceGone,
    UpstreamConflict,
    UpstreamError,
    leaves,
)
from ledger.providers import wire
from ledger.providers.translate import TABLE, translate, translated

REQUEST = httpx2.Request("POST", "http://upstream.test/v1/responses")


def create_error(upstream: Upstream, **changed: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        ask(upstream, lambda provider: provider.create(intent()), **changed)
    return caught.value


def observe_error(upstream: Upstream) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        ask(upstream, lambda provider: provider.observe(response_address()))
    return caught.value


def sdk_errors() -> Iterator[type[openai.OpenAIError]]:
    """Every subclass in the installed SDK, wherever it is defined."""
    for module in pkgutil.walk_packages(openai.__path__, "openai.", onerror=lambda _: None):
        if ".types." not in module.name and ".cli" not in module.name:
            with contextlib.suppress(ImportError, openai.OpenAIError):  # an extra is missing
                importlib.import_module(module.name)

    def below(kind: type[openai.OpenAIError]) -> Iterator[type[openai.OpenAIError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    yield from below(openai.OpenAIError)


def bare(kind: type[openai.OpenAIError]) -> openai.OpenAIError:
    """An instance without its constructor, which differs from class to class."""
    error = kind.__new__(kind)
    error.message = "said"  # type: ignore[attr-defined]
    error.request = REQUEST  # type: ignore[attr-defined]
    status = getattr(kind, "status_code", 500)
    status = status if isinstance(status, int) else 500
    body = b'{"error": {"message": "said", "code": null}}'
    error.response = httpx2.Response(status, content=body, request=REQUEST)  # type: ignore[attr-defined]
    return error


EXACT = {
    "BadRequestError": RequestRefused,
    "AuthenticationError": AuthenticationRefused,
    "OAuthError": AuthenticationRefused,
    "PermissionDeniedError": PermissionRefused,
    "NotFoundError": ObjectMissing,
    "ConflictError": UpstreamConflict,
    "UnprocessableEntityError": RequestRefused,
    "RateLimitError": RateLimited,
    "InternalServerError": ServerTrouble,
    "APIStatusError": ServerTrouble,
    "APITimeoutError": ReplyTimeout,
    "APIConnectionError": ReplyLost,
    "WebSocketConnectionClosedError": ReplyLost,
    "WebSocketQueueFullError": LocalLimit,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_error_of_the_sdk_is_mapped() -> None:
    seen = {kind.__name__: kind for kind in sdk_errors()}
    assert EXACT.keys() <= seen.keys()
    for name, kind in seen.items():
        mapped = translate(bare(kind), "create")
        assert type(mapped) is EXACT.get(name, MalformedReply), name
        assert type(mapped) in leaves()


def test_no_row_of_the_table_is_hidden_by_one_above_it() -> None:
    rows = list(TABLE)
    for place, row in enumerate(rows):
        assert not any(issubclass(row, above) for above in rows[:place])


STATUSES = [
    (400, RequestRefused),
    (401, AuthenticationRefused),
    (402, RequestRefused),
    (403, PermissionRefused),
    (405, RequestRefused),
    (408, ServerTrouble),
    (409, UpstreamConflict),
    (413, RequestRefused),
    (418, MalformedReply),
    (422, RequestRefused),
    (429, RateLimited),
    (499, MalformedReply),
    (500, ServerTrouble),
    (502, ServerTrouble),
    (503, ServerTrouble),
    (529, ServerTrouble),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_with_a_json_error(
    upstream: Upstream, status: int, kind: type[UpstreamError]
) -> None:
    upstream.refuse(status, "no such luck", code="some_code")
    error = create_error(upstream)
    assert type(error) is kind
    assert error.reply.status == status
    assert error.reply.error_code == "some_code"
    assert "no such luck" in error.message
    assert json.loads(error.reply.body or b"")["error"]["code"] == "some_code"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429])
@pytest.mark.parametrize(
    "body", [b"<html>Forbidden</html>", b"", b"[]", b"null", b"{}", b'"no"', b"\xff\xfe{", b"{" * 9]
)
def test_a_refusal_that_is_no_json_error_proves_nothing(
    upstream: Upstream, status: int, body: bytes
) -> None:
    upstream.say(body, status, content_type="text/html")
    error = create_error(upstream)
    assert type(error) is MalformedReply
    assert error.sent is Sent.unknown
    assert error.reply.status == status
    assert error.reply.body == body


@pytest.mark.parametrize(
    "body", [{"error": "no"}, {"message": "no"}, {"detail": "no"}, {"detail": [{"loc": ["a"]}]}]
)
def test_gateways_spell_json_errors_otherwise(upstream: Upstream, body: object) -> None:
    assert type(create_error(upstream.say(body, 403))) is PermissionRefused


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed(upstream: Upstream, status: int) -> None:
    upstream.say(b"", status, location="http://elsewhere.test/v1/responses")
    assert type(create_error(upstream)) is MalformedReply
    assert len(upstream.requests) == 1


TRANSPORT = [
    (httpx2.ConnectError("refused"), ConnectionFailed),
    (httpx2.ConnectTimeout("slow"), ConnectionFailed),
    (httpx2.ProxyError("407"), ConnectionFailed),
    (httpx2.UnsupportedProtocol("ftp"), ConnectionFailed),
    (ssl.SSLCertVerificationError("self-signed"), ConnectionFailed),
    (httpx2.PoolTimeout("full"), LocalLimit),
    (httpx2.ReadTimeout("slow"), ReplyTimeout),
    (httpx2.WriteTimeout("slow"), ReplyTimeout),
    (TimeoutError(), ReplyTimeout),
    (httpx2.ReadError("reset"), ReplyLost),
    (httpx2.WriteError("reset"), ReplyLost),
    (httpx2.CloseError("reset"), ReplyLost),
    (httpx2.RemoteProtocolError("disconnected"), ReplyLost),
    (httpx2.LocalProtocolError("bad header"), ReplyLost),
    (ConnectionResetError("reset"), ReplyLost),
    (ssl.SSLError("eof"), ReplyLost),
    (httpx2.DecodingError("gzip"), MalformedReply),
    (json.JSONDecodeError("bad", "x", 0), MalformedReply),
    (RecursionError(), MalformedReply),
    (OverflowError(), MalformedReply),
    (AttributeError("'NoneType' object has no attribute 'id'"), MalformedReply),
]


@pytest.mark.parametrize(("cause", "kind"), TRANSPORT, ids=lambda value: str(value)[:40])
def test_a_failure_below_http(
    upstream: Upstream, cause: Exception, kind: type[UpstreamError]
) -> None:
    error = create_error(upstream.fail(cause))
    assert type(error) is kind
    assert error.message.startswith("create response: ")
    assert len(upstream.requests) == 1


def test_a_bare_timeout_of_the_sdk_is_a_timeout() -> None:
    assert type(translate(openai.APITimeoutError(REQUEST), "read")) is ReplyTimeout


@pytest.mark.problem(8)
@pytest.mark.failure(24)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_server_that_asks_for_a_retry_gets_none(upstream: Upstream, status: int) -> None:
    upstream.say({"error": {"message": "again"}}, status, x_should_retry="true", retry_after="0")
    create_error(upstream)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("field", ["code", "type"])
def test_an_exhausted_quota_is_told_from_a_rate_limit(upstream: Upstream, field: str) -> None:
    error = create_error(upstream.refuse(429, "pay first", **{field: "insufficient_quota"}))
    assert type(error) is QuotaExhausted


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": "86400"}, 600.0),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "1e999"}, None),
        ({"retry_after": "later"}, None),
        ({"retry_after": ""}, None),
        (
            {
                "retry_after": "Fri, 21 Nov 2025 10:00:30 GMT",
                "date": "Fri, 21 Nov 2025 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry_after": "Fri, 21 Nov 2025 09:00:00 GMT",
                "date": "Fri, 21 Nov 2025 10:00:00 GMT",
            },
            None,
        ),
        ({"retry_after": "Fri, 21 Nov 2025 10:00:30", "date": "x"}, None),
        ({"retry_after": "Fri, 21 Nov 2999 10:00:00 GMT"}, 600.0),
    ],
)
def test_retry_after(upstream: Upstream, headers: dict[str, str], seconds: float | None) -> None:
    error = create_error(upstream.say({"error": {"message": "slow down"}}, 429, **headers))
    assert error.reply.retry_after_seconds == seconds


def test_the_request_id_is_kept(upstream: Upstream) -> None:
    upstream.say({"error": {"message": "no"}}, 500, x_request_id="req_42")
    assert create_error(upstream).reply.request_id == "req_42"


def test_a_reply_that_trickles_in_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CREATE_SECONDS", 0.02)
    monkeypatch.setattr(wire, "SLACK_SECONDS", 0.02)

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self):
            while True:
                await asyncio.sleep(0.005)
                yield b" "

    error = create_error(lambda _: httpx2.Response(200, stream=Endless()))  # type: ignore[arg-type]
    assert type(error) is ReplyTimeout


def test_a_cancelled_task_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError), translated("read"):
        raise asyncio.CancelledError


def test_our_own_errors_pass_unchanged() -> None:
    mine = MissingCredential("KEY is not set")
    with pytest.raises(MissingCredential) as caught, translated("read"):
        raise mine
    assert caught.value is mine


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": {"message": f"Incorrect API key: {CANARY}", "code": CANARY}}),
        (500, {"error": {"message": f"Authorization: Bearer {CANARY}"}}),
        (404, {"detail": {"key": CANARY}}),
        (200, {"id": None, "echo": CANARY}),
        (200, {"id": "x", "object": CANARY}),
    ],
)
@pytest.mark.parametrize("key", [CANARY, 'odd/"key\\0123', "EXACT-key-without-shape"])
def test_the_credential_is_in_no_error(
    upstream: Upstream, answer: tuple[int, object], key: str
) -> None:
    status, body = answer
    text = json.dumps(body).replace(CANARY, json.dumps(key)[1:-1])
    error = create_error(upstream.say(text.encode(), status), key=key)
    printed = "".join(traceback.format_exception(error)) + repr(error.reply)
    assert key not in printed
    assert json.dumps(key)[1:-1] not in printed


def test_the_credential_is_in_no_transport_error(upstream: Upstream) -> None:
    odd = "EXACT-key-without-shape"
    upstream.fail(httpx2.LocalProtocolError(f"Illegal header value b'{odd}'"))
    error = create_error(upstream, key=odd)
    assert odd not in "".join(traceback.format_exception(error))


def test_text_that_no_database_takes_is_mended(upstream: Upstream) -> None:
    body = b'{"error": {"message": "a\\u0000b\\ud800c", "code": "x\\u0000\\udfffy"}}'
    error = create_error(upstream.say(body, 400))
    assert "a\ufffdb\ufffdc" in error.message
    assert error.reply.error_code == "x\ufffd\ufffdy"


def test_a_long_web_page_is_cut(upstream: Upstream) -> None:
    error = observe_error(upstream.say(b"<p>" * 100_000, 502))
    assert len(error.reply.body or b"") == 64 * 1024


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"message": "Invalid URL (POST /v1/responses)", "type": "invalid_request_error"},
            ServiceGone,
        ),
        ({"message": "Not Found", "code": 404}, ServiceGone),
        ({"message": "no model", "code": "model_not_found"}, ObjectMissing),
        ({"message": "no model", "param": "model"}, ObjectMissing),
        ({"message": "The model `gpt-5.1` does not exist.", "code": 404}, ObjectMissing),
    ],
)
def test_404_on_the_collection(
    upstream: Upstream, error: dict[str, object], kind: type[UpstreamError]
) -> None:
    assert type(create_error(upstream.say({"error": error}, 404))) is kind


def test_404_on_one_response_is_about_the_response(upstream: Upstream) -> None:
    assert type(observe_error(upstream.refuse(404, "No response found"))) is ObjectMissing
