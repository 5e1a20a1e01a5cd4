"""Signed webhooks that go out: the outbox, its schedule, and what a kill leaves."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from following_rig import MakeWalker, Walker
from hook_receiver import Received, Receiver, receiving
from openai import InvalidWebhookSignatureError, OpenAI
from service_rig import MakeRig, StartDaemon
from support import Bench, later

from ledger.clock import monotonic, rest, wait_until
from ledger.core.passing_on import VERDICTS
from ledger.errors import ConfigurationError
from ledger.service.outbound import Endpoint, Sending, endpoints
from ledger.settings import Outbound, load_settings
from ledger.store import outbox
from ledger.store.claims import bury

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """An endpoint that takes everything."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def other_hook() -> Iterator[Receiver]:
    """Another one."""
    with receiving() as receiver:
        yield receiver


def sending(life: Walker, hook: Receiver, name: str = "crm", **fields: Any) -> Sending:
    """The consumer of one endpoint, on the life's clock."""
    given = {"types": VERDICTS, "timeout_seconds": 5.0, "secret": b"0123456789abcdef01234567"}
    to = Endpoint(name=name, url=hook.url, **given | fields)
    made = Sending(to, life.bench.store, life.writer, clock=lambda: life.now)
    life.closing.append(made.close)
    return made


def row(bench: Bench, column: str) -> Any:
    """A column of the only row of the outbox."""
    return bench.scalar(f"SELECT {column} FROM outbox")


def test_a_verdict_is_sent_signed(bench: Bench, walk: MakeWalker, hook: Receiver) -> None:
    """As the SDK of those who receive it verifies; thin, and without contents."""
    life = walk()
    follower = life.follow(sending(life, hook))
    run = bench.completed(key="memo", tags={"team": "risk"}, model="gpt-5").run
    life.now = later(0)
    life.run(follower)
    (one,) = hook.got

    # The test's time is not the SDK's: the tolerance is not what is tested.
    client = OpenAI(api_key="sk-none", webhook_secret=SECRET)
    client.webhooks.verify_signature(one.body, one.headers, tolerance=10**9)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(one.body + b" ", one.headers, tolerance=10**9)
    assert {
        "type": "run.completed",
        "id": one.id,
        "created_at": later(0).isoformat(),
        "data": {
            "ledger": bench.store.ledger_id,
            "run": run.id,
            "key": "memo",
            "state": "completed",
            "attempt": 1,
            "seq": one.json["data"]["seq"],
            "provider": "responses",
            "model": "gpt-5",
            "error_code": None,
            "tags": {"team": "risk"},
        },
    } == one.json
    assert ("taken", 1, 204, None) == tuple(
        row(bench, name) for name in ("state", "tries", "last_status", "last_error")
    )
    client.close()


def test_it_is_tried_again_for_three_days_under_one_id(
    bench: Bench, walk: MakeWalker, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Each try is signed anew, at its own time; then it is given up."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(503)
    bench.completed()
    at: float = 0
    while row(bench, "state") in (None, "waiting"):
        due = life.run(follower, at)
        at = at + 1 if due is None else (due - later(0)).total_seconds()

    assert ("given_up", 24, 503) == tuple(
        row(bench, name) for name in ("state", "tries", "last_status")
    )
    assert 2.5 <= at / 86_400 <= 3.5
    assert 24 == len(hook.got)
    assert 1 == len({one.id for one in hook.got})
    assert 24 == len({one.headers["webhook-signature"] for one in hook.got})
    assert "gave up on delivery" in caplog.text


def test_an_endpoint_that_comes_back_gets_what_waited(
    bench: Bench, walk: MakeWalker, hook: Receiver
) -> None:
    """One at a time while it fails, then all of it."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(500)
    runs = {bench.completed().run.id for _ in range(6)}
    life.run(follower)
    first = len(hook.got)
    life.run(follower, 2)
    probes = len(hook.got) - first
    hook.say(200)
    hook.got.clear()
    for at in range(10, 100, 10):
        life.run(follower, at)

    assert (4, 1) == (first, probes)
    assert runs == {one.json["data"]["run"] for one in hook.got}
    assert 6 == len(hook.got)


def test_gone_is_gone(bench: Bench, walk: MakeWalker, hook: Receiver) -> None:
    """410 ends it at once."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(410)
    bench.completed()
    life.run(follower)
    life.run(follower, 86_400)

    assert 1 == len(hook.got)
    assert ("given_up", 410) == (row(bench, "state"), row(bench, "last_status"))


def test_a_server_that_says_when_is_believed(
    bench: Bench, walk: MakeWalker, hook: Receiver
) -> None:
    """Retry-After in seconds, within bounds."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(429, retry_after="600")
    bench.completed()
    life.run(follower)
    life.run(follower, 590)
    assert 1 == len(hook.got)
    life.run(follower, 601)
    assert 2 == len(hook.got)


def test_a_redirect_is_not_followed(
    bench: Bench, walk: MakeWalker, hook: Receiver, other_hook: Receiver
) -> None:
    """What is signed for one address goes to no other."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(307, location=other_hook.url)
    bench.completed()
    life.run(follower)

    assert (1, 0) == (len(hook.got), len(other_hook.got))
    assert ("waiting", 307) == (row(bench, "state"), row(bench, "last_status"))


def test_a_long_answer_is_not_read(bench: Bench, walk: MakeWalker, hook: Receiver) -> None:
    """Its status counts, and the rest stays on the wire."""
    life = walk()
    follower = life.follow(sending(life, hook))
    hook.say(200, b"x" * 50_000_000)
    bench.completed()
    life.run(follower)

    assert "taken" == row(bench, "state")
    assert wait_until(lambda: hook.cut == 1, seconds=20)


def test_no_answer_is_a_failure_with_a_bound(
    bench: Bench, walk: MakeWalker, hook: Receiver
) -> None:
    """An endpoint that hangs costs its own time alone."""
    life, never = walk(), threading.Event()

    def hang(_: Received) -> tuple[int, dict[str, str], bytes]:
        never.wait(20)
        return 200, {}, b""

    follower = life.follow(sending(life, hook, timeout_seconds=0.1))
    hook.answer = hang
    bench.completed()
    started = monotonic()
    life.run(follower)
    assert monotonic() - started < 10
    never.set()

    assert ("waiting", "no answer within 0.1 s") == (row(bench, "state"), row(bench, "last_error"))


class Died(BaseException):
    """The end of a process, as far as one thread can play it."""


def test_a_life_that_dies_between_sending_and_recording(
    bench: Bench, walk: MakeWalker, make_bench: Callable[[], Bench], hook: Receiver
) -> None:
    """The next one sends it again, under the same id, and nothing is lost."""
    first, second = walk("first"), walk("second", make_bench())
    dying, taking = sending(first, hook), sending(second, hook)
    follower, follower2 = first.follow(dying), second.follow(taking)
    first.run(follower)
    bench.completed()

    async def die(*_: object, **__: object) -> None:
        raise Died

    dying._record = die  # type: ignore[method-assign, assignment]
    with pytest.raises(Died):
        first.run(follower)
    bench.committer.run(
        lambda c: bury(c, lives=bench.store.lives, life_id="first", now=later(1), by="me")
    )
    second.run(follower2, 1)

    assert 2 == len(hook.got)
    assert 1 == len({one.id for one in hook.got})
    assert ("taken", 1) == (row(bench, "state"), bench.scalar("SELECT count(*) FROM outbox"))


def test_redelivery_keeps_the_id(bench: Bench, walk: MakeWalker, hook: Receiver) -> None:
    """Whoever has it already knows."""
    life = walk()
    follower = life.follow(sending(life, hook))
    bench.completed()
    life.run(follower)
    number = row(bench, "id")
    bench.committer.run(lambda c: outbox.redeliver(c, [number], later(5)))
    life.run(follower, 5)

    first, second = hook.got
    assert first.id == second.id
    assert first.body == second.body


def test_endpoints_do_not_wait_for_each_other(
    make_rig: MakeRig, hook: Receiver, other_hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hangs; the other has its verdicts, and the runs have theirs, all the same."""
    never = threading.Event()

    def hang(_: Received) -> tuple[int, dict[str, str], bytes]:
        never.wait(20)
        return 200, {}, b""

    hook.answer = hang
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr("ledger.service.followers.END_SECONDS_MAX", 0.1)
    rig = make_rig(
        outbound={
            "slow": {"url": hook.url, "secret_variable": "HOOK_SECRET"},
            "good": {"url": other_hook.url, "secret_variable": "HOOK_SECRET"},
        }
    )
    with rig.daemon():
        runs = [rig.submit() for _ in range(3)]
        rig.expect(lambda: all(rig.ledger.get(run).final for run in runs))
        rig.expect(lambda: len(other_hook.got) == 3)
    never.set()

    assert ["run.completed"] * 3 == other_hook.types
    assert {run.id for run in runs} == {one.json["data"]["run"] for one in other_hook.got}


def test_a_killed_daemon_leaves_nothing_untold(
    make_rig: MakeRig, start_daemon: StartDaemon, hook: Receiver
) -> None:
    """SIGKILL while the endpoint is being told: the next daemon tells it, under the same id."""
    rig = make_rig()
    environment = {
        "HOOK_SECRET": SECRET,
        "RUNWARD_OUTBOUND__CRM__URL": hook.url,
        "RUNWARD_OUTBOUND__CRM__SECRET_VARIABLE": "HOOK_SECRET",
    }
    first = start_daemon(**environment)
    rig.expect(lambda: rig.count("follower") == 1)

    def kill(_: Received) -> tuple[int, dict[str, str], bytes]:
        first.process.kill()
        rest(0.1)
        return 200, {}, b""

    hook.answer = kill
    run = rig.submit()
    first.expect("it died", lambda: first.process.poll() is not None)
    hook.say(204)
    second = start_daemon(**environment)
    second.expect(
        "it is taken", lambda: rig.scalar("SELECT count(*) FROM outbox WHERE state = 'taken'") == 1
    )
    assert 0 == second.drain()

    assert 1 == len({one.id for one in hook.got})
    assert {run.id} == {one.json["data"]["run"] for one in hook.got}
    assert 2 == len(hook.got)


# Configuration.


def test_the_default_events_are_the_verdicts() -> None:
    """All of them."""
    given = Outbound(url="https://example.test", secret_variable="S")

    assert {str(name) for name in VERDICTS} == set(given.events)


GOOD = {"url": "https://example.test/hook", "secret_variable": "HOOK_SECRET"}


@pytest.mark.parametrize(
    ("fields", "secret", "said"),
    [
        ({}, None, "HOOK_SECRET must hold the signing secret: it is not set"),
        ({}, "abc", "does not begin with whsec_"),
        ({}, "whsec_???", "not base64"),
        ({}, "whsec_", "0 bytes; 24"),
        ({}, "whsec_" + base64.b64encode(b"x" * 23).decode(), "23 bytes; 24"),
        ({"url": "http://example.test/hook"}, SECRET, "plain http goes to loopback only"),
        ({"url": "ftp://example.test"}, SECRET, "https://"),
        ({"url": "https://"}, SECRET, "name a host"),
        ({"url": "https://[::1"}, SECRET, "cannot be read"),
        ({"url": "https://me:pass@example.test"}, SECRET, "password"),
        ({"events": ["run.done"]}, SECRET, "there is no event 'run.done'"),
        ({"events": []}, SECRET, "no event is named"),
    ],
)
def test_a_bad_endpoint_is_refused_at_the_start(
    fields: dict[str, Any], secret: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its name, and without its secret."""
    if secret is not None:
        monkeypatch.setenv("HOOK_SECRET", secret)
    settings = load_settings(outbound={"crm": GOOD | fields})
    with pytest.raises(ConfigurationError, match=r"\[outbound\.crm\]") as caught:
        endpoints(settings)

    assert said in caught.value.message
    assert not secret or secret == "whsec_" or secret not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_loopback_may_be_plain(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens in."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (to,) = endpoints(load_settings(outbound={"crm": GOOD | {"url": f"http://{host}:8080/x"}}))

    assert SECRET not in repr(to)
    assert "0123456789" not in repr(to)
    assert json.dumps(sorted(VERDICTS)) == json.dumps(sorted(to.types))
