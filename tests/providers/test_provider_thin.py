"""The thin read says what the SDK's stack says: the same object, and the same error."""

from __future__ import annotations

import asyncio
import socket
import ssl
import traceback
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from loopback_upstream import STACKS, Loopback, look, observe, open_stack, packed, reply
from scripted_upstream import CANARY, response, response_address, run, run_address, thread_address

from ledger.clock import utcnow
from ledger.core.outcome import Observation
from ledger.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    LocalLimit,
    MalformedReply,
    ObjectMissing,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ReplyLost,
    ReplyTimeout,
    RequestRefused,
    ServerTrouble,
    UpstreamError,
)
from ledger.providers import open_provider, thin, wire
from ledger.providers.assistants import AssistantsProvider
from ledger.simulator import Simulator

both = pytest.mark.parametrize("stack", STACKS)
REFUSED = {"error": {"message": "no such luck", "code": "some_code"}}
GOOD = response(status="in_progress", usage=None)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def look_error(upstream: Loopback, stack: str, **changed: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        observe(upstream, stack, **changed)
    return caught.value


def test_both_stacks_read_the_same_object() -> None:
    said = reply(GOOD, x_request_id="req_1", openai_poll_after_ms="250")
    seen = [observe(Loopback(said), stack) for stack in STACKS]
    assert seen[0] == seen[1]
    assert seen[1].request_id == "req_1"
    assert seen[1].poll_after_seconds == 0.25


@pytest.mark.parametrize(
    ("address", "said"), [(run_address(), run()), (thread_address("thread_1"), {"id": "thread_1"})]
)
def test_threads_and_their_runs_are_read_thinly_too(address: object, said: object) -> None:
    for stack in STACKS:
        upstream = Loopback(reply(said))
        seen = observe(upstream, stack, lambda p: p.observe(address), kind=AssistantsProvider)
        assert said["id"] == seen.remote_id  # type: ignore[index]
        assert "assistants=v2" == upstream.headers()["openai-beta"]


def test_a_harvested_response_is_the_body_that_upstream_sent() -> None:
    upstream = Loopback(reply(GOOD))
    bodies = [observe(upstream, stack, lambda p: p.harvest(response_address())) for stack in STACKS]
    assert bodies[0] == bodies[1]
    assert upstream.said.endswith(bodies[1])


def test_a_thin_read_sends_what_the_client_of_the_sdk_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: team-7")
    upstream = Loopback(reply(GOOD))
    named = {"organization": "org_1", "project": "proj_1"}
    for stack in STACKS:
        observe(upstream, stack, **named)
    lines = [head.split("\r\n")[0] for head in upstream.heads]
    assert ["GET /v1/responses/resp_1 HTTP/1.1"] * 2 == lines
    sdk, ours = upstream.headers(0), upstream.headers(1)
    own = {"host", "connection", "accept-encoding"}
    of_its_retries = {"x-stainless-read-timeout", "x-stainless-retry-count"}
    assert ours.keys() - own == sdk.keys() - own - of_its_retries
    assert {name: sdk[name] for name in ours.keys() - own} == {
        name: ours[name] for name in ours.keys() - own
    }
    assert f"Bearer {CANARY}" == ours["authorization"]
    assert ("org_1", "proj_1") == (ours["openai-organization"], ours["openai-project"])
    assert "team-7" == ours["x-gateway"]
    assert ours["user-agent"].startswith("AsyncOpenAI/")


def test_an_id_stays_one_segment() -> None:
    odd = "a/../b?c#d %2F ü"
    for stack in STACKS:
        upstream = Loopback(reply(response(id=odd)))
        observe(upstream, stack, lambda p: p.observe(response_address(odd)))
        assert upstream.heads[0].startswith(
            "GET /v1/responses/a%2F..%2Fb%3Fc%23d%20%252F%20%C3%BC HTTP/1.1\r\n"
        )


STATUSES = [
    (400, RequestRefused), (401, AuthenticationRefused), (403, PermissionRefused),
    (404, ObjectMissing), (408, ServerTrouble), (418, MalformedReply), (429, RateLimited),
    (500, ServerTrouble), (503, ServerTrouble),
]  # fmt: skip


@both
@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_with_a_json_error(stack: str, status: int, kind: type[UpstreamError]) -> None:
    error = look_error(Loopback(reply(REFUSED, status, x_request_id="req_1")), stack)
    assert kind is type(error)
    assert f"read response: upstream answered {status} (some_code): no such luck" == error.message
    assert (status, "some_code", "req_1") == (
        error.reply.status, error.reply.error_code, error.reply.request_id
    )  # fmt: skip


@both
def test_retry_after_and_an_exhausted_quota(stack: str) -> None:
    error = look_error(Loopback(reply(REFUSED, 429, retry_after="7")), stack)
    assert 7.0 == error.reply.retry_after_seconds
    said = {"error": {"message": "pay first", "code": "insufficient_quota"}}
    assert QuotaExhausted is type(look_error(Loopback(reply(said, 429)), stack))


PAGE = b"<html>Bad gateway</html>"
HOSTILE: dict[str, tuple[Loopback, type[UpstreamError]]] = {
    "nothing at all": (Loopback(b"", hang_up=True), ReplyLost),
    "no HTTP": (Loopback(b"220 mail.test ESMTP\r\n", hang_up=True), ReplyLost),
    "half a head": (Loopback(b"HTTP/1.1 200 OK\r\nconte", hang_up=True), ReplyLost),
    "truncated": (Loopback(reply(GOOD, length=9_000), hang_up=True), ReplyLost),
    "truncated JSON": (Loopback(reply(b'{"id": "resp_1", ')), MalformedReply),
    "half a chunk": (
        Loopback(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}", hang_up=True),
        ReplyLost,
    ),
    "a page": (Loopback(reply(PAGE, content_type="text/html")), MalformedReply),
    "a page for 502": (Loopback(reply(PAGE, 502, content_type="text/html")), ServerTrouble),
    "a page for 403": (Loopback(reply(PAGE, 403, content_type="text/html")), MalformedReply),
    "null": (Loopback(reply(b"null", content_type="application/json")), MalformedReply),
    "empty": (Loopback(reply(b"")), MalformedReply),
    "204": (Loopback(b"HTTP/1.1 204 No Content\r\n\r\n"), MalformedReply),
    "a redirect": (Loopback(reply(b"", 302, location="/v1/elsewhere")), MalformedReply),
    "307": (Loopback(reply(GOOD, 307, location="http://127.0.0.1:9/v1")), MalformedReply),
    "no gzip": (Loopback(reply(b"{}" * 9, content_encoding="gzip")), MalformedReply),
    "another object": (Loopback(reply(response(id="resp_2"))), MalformedReply),
    "a head without end": (Loopback(reply(GOOD, x_long="x" * 200_000)), ReplyLost),
}


@both
@pytest.mark.parametrize(("upstream", "kind"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_reply(stack: str, upstream: Loopback, kind: type[UpstreamError]) -> None:
    upstream.heads.clear()
    error = look_error(upstream, stack)
    assert kind is type(error)
    assert error.message.startswith("read response: ")
    assert 1 == len(upstream.heads), "nothing is followed or repeated"


@both
def test_a_compressed_body_is_unpacked(stack: str) -> None:
    assert "in_progress" == observe(Loopback(packed(GOOD)), stack).status


@both
@pytest.mark.parametrize("odd", ["caf\xe9", "\x80\xff", "\u00a0"])
def test_headers_of_odd_bytes_harm_nothing(stack: str, odd: str) -> None:
    said = reply(GOOD, x_request_id=f"req{odd}", openai_poll_after_ms=odd, retry_after=odd)
    seen: Observation = observe(Loopback(said), stack)
    assert (seen.request_id or "").startswith("req")
    assert (seen.request_id or "").encode()
    assert seen.poll_after_seconds is None
    refused = reply(REFUSED, 429, x_request_id=odd, retry_after=odd, date=odd)
    assert look_error(Loopback(refused), stack).reply.retry_after_seconds is None


@both
def test_a_port_that_nobody_listens_on(stack: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"

        async def main() -> None:
            provider = open_stack(stack, url)
            try:
                await look(provider)
            finally:
                await provider.close()

        with pytest.raises(ConnectionFailed, match="read response: "):
            asyncio.run(main())


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "nobody.invalid"])
def test_a_connection_that_cannot_be_made(stack: str, host: str) -> None:
    """No TLS is spoken there, or there is no such host."""
    upstream = Loopback(reply(GOOD))

    async def main() -> None:
        async with upstream.serving():
            port = upstream.url.rsplit(":", 1)[1]
            provider = open_stack(stack, f"https://{host}:{port}")
            try:
                await look(provider)
            finally:
                await provider.close()

    with pytest.raises(ConnectionFailed):
        asyncio.run(main())


@both
@pytest.mark.parametrize("trusted", [False, True])
def test_certificates_are_verified_as_the_sdk_does(
    stack: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = own_certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    upstream = Loopback(reply(GOOD))

    async def main() -> Observation:
        async with upstream.serving(ssl=context):
            provider = open_stack(stack, upstream.url.replace("http:", "https:"))
            try:
                return await look(provider)
            finally:
                await provider.close()

    if trusted:
        assert "in_progress" == asyncio.run(main()).status
    else:
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            asyncio.run(main())


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream.test")])
    begins = utcnow() - timedelta(hours=1)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    written = (folder / "certificate.pem", folder / "key.pem")
    written[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    written[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return written


@both
def test_a_reply_that_stalls_ends(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (thin, wire):
        monkeypatch.setattr(module, "READ_SECONDS", 0.05)
        monkeypatch.setattr(module, "SLACK_SECONDS", 0.05)
    assert ReplyTimeout is type(look_error(Loopback(reply(GOOD, length=9_000)), stack))


@both
def test_a_reply_that_trickles_in_for_ever_ends(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (thin, wire):
        monkeypatch.setattr(module, "READ_SECONDS", 0.2)
        monkeypatch.setattr(module, "SLACK_SECONDS", 0.0)
    upstream = Loopback(reply(b"", length=10**9), trickle=b" ")
    assert ReplyTimeout is type(look_error(upstream, stack))


@pytest.mark.parametrize(
    "said", [reply(b" " * 100_000), packed(" " * 100_000)], ids=["plain", "compressed"]
)
def test_a_body_larger_than_any_reply_is_not_read_to_its_end(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's stack takes any body into memory before it is judged."""
    monkeypatch.setattr(thin, "BODY_BYTES_MAX", 50_000)
    error = look_error(Loopback(said), "thin")
    assert MalformedReply is type(error)
    assert "larger than 50000 bytes" in error.message


def test_connections_are_kept_and_given_back() -> None:
    upstream = Loopback(reply(GOOD))

    async def main() -> None:
        async with upstream.serving():
            provider = open_stack("thin", upstream.url)
            for _ in range(5):
                await look(provider)
            assert 1 == upstream.connections
            assert 0 == upstream.closed
            await provider.close()
            async with asyncio.timeout(5):
                while not upstream.closed:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_pool_that_is_full_is_our_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thin, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(thin, "CONNECT_SECONDS", 0.05)
    upstream = Loopback(b"")

    async def main() -> None:
        async with upstream.serving():
            provider = open_stack("thin", upstream.url)
            first = asyncio.create_task(look(provider))
            await asyncio.sleep(0)
            with pytest.raises(LocalLimit):
                await look(provider)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await provider.close()

    asyncio.run(main())


def test_a_cancelled_look_stays_cancelled() -> None:
    upstream = Loopback(b"")

    async def main() -> None:
        async with upstream.serving():
            provider = open_stack("thin", upstream.url)
            looking = asyncio.create_task(look(provider))
            await asyncio.sleep(0.05)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            await provider.close()

    asyncio.run(main())


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from below(child)


BEFORE = {
    "ClientConnectorError", "ClientConnectorDNSError", "ClientProxyConnectionError",
    "UnixClientConnectorError", "ClientSSLError", "ClientConnectorSSLError",
    "ClientConnectorCertificateError", "ServerFingerprintMismatch", "ConnectionTimeoutError",
    "InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError",
    "InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError",
}  # fmt: skip


def test_every_error_of_aiohttp_is_mapped() -> None:
    """What did not get as far as sending is known by name; nothing else is taken for it."""
    for kind in below(aiohttp.ClientError):
        mapped = thin.of_aiohttp(kind.__new__(kind))
        late = ReplyTimeout if issubclass(kind, TimeoutError) else ReplyLost
        assert mapped is (ConnectionFailed if kind.__name__ in BEFORE else late), kind
    assert ReplyTimeout is thin.of_aiohttp(TimeoutError())
    assert ReplyLost is thin.of_aiohttp(ConnectionResetError())
    assert ReplyLost is thin.of_aiohttp(ssl.SSLError())


@both
def test_the_credential_is_in_no_error(stack: str) -> None:
    said = {"error": {"message": f"Incorrect API key: {CANARY}", "code": CANARY}}
    for upstream in (Loopback(reply(said, 401)), Loopback(reply({"echo": CANARY}))):
        error = look_error(upstream, stack)
        assert CANARY not in "".join(traceback.format_exception(error)) + repr(error.reply)


@pytest.mark.parametrize(
    ("excepted", "proxied"), [("", True), ("127.0.0.1", False), ("*", False), ("other.test", True)]
)
def test_a_proxy_is_used_as_the_sdk_uses_it(
    monkeypatch: pytest.MonkeyPatch, excepted: str, proxied: bool
) -> None:
    proxy, upstream = Loopback(reply(GOOD)), Loopback(reply(GOOD))

    async def main() -> None:
        async with proxy.serving(), upstream.serving():
            monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
            monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
            monkeypatch.setenv("NO_PROXY", excepted)
            from scripted_upstream import profile

            provider = open_provider(profile(base_url=upstream.url), CANARY)
            await look(provider)
            await provider.close()

    asyncio.run(main())
    assert ((1, 0) if proxied else (0, 1)) == (len(proxy.heads), len(upstream.heads))


FAULTS = [
    "http-400", "http-401", "http-403", "http-404", "http-408", "http-409", "http-429",
    "http-429-bare", "http-500-before", "http-500-bare", "http-502-bare", "http-503-after",
    "drop-before", "drop-after", "truncated", "html", "slow-reply",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_simulator_is_the_same_through_both(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (thin, wire):
        monkeypatch.setattr(module, "READ_SECONDS", 0.1)
        monkeypatch.setattr(module, "SLACK_SECONDS", 0.1)
    found = []
    with Simulator.running() as sim:
        sim.replace_faults([{"operation": "responses.retrieve", "fault": fault}])
        for stack in STACKS:
            found.append(asyncio.run(fault_of(stack, sim.url)))
    sdk, ours = found
    assert type(sdk) is type(ours)
    assert (sdk.reply.status, sdk.reply.error_code, sdk.reply.retry_after_seconds) == (
        ours.reply.status, ours.reply.error_code, ours.reply.retry_after_seconds
    )  # fmt: skip


async def fault_of(stack: str, url: str) -> UpstreamError:
    provider = open_stack(stack, url)
    try:
        with pytest.raises(UpstreamError) as caught:
            await look(provider)
    finally:
        await provider.close()
    return caught.value
