"""Webhooks over HTTP: the endpoint API as the SDK drives it, and what is really sent."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, get_args

import openai
import pytest
from openai.types.webhooks import UnwrapWebhookEvent
from sim_clock import Clock
from webhook_receiver import Receiver, receiving

from ledger.simulator import NewEndpoint, Simulator
from ledger.simulator.endpoints import EVENT_TYPES
from ledger.simulator.sender import AT_ONCE

Connect = Callable[..., openai.OpenAI]
SECRET = "whsec_" + "A" * 43 + "="
FOR_EVER = 10**9  # The simulated clock has nothing to do with the one of the SDK.


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def subscribe(client: openai.OpenAI, url: str, name: str = "ours") -> Any:
    return client.webhooks.create(
        name=name, url=url, event_types=["response.completed", "response.failed"]
    )


def complete(client: openai.OpenAI, clock: Clock) -> str:
    """A response that has ended, and all usual delays with it."""
    response = client.responses.create(model="sim-ok", input="Hi", background=True)
    clock.advance(100)
    return response.id


def settled(sim: Simulator, tries: int) -> list[dict[str, Any]]:
    """The tries once so many have been answered: the answer reaches us before the simulator."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        told = sim.webhooks()["tries"]
        if len([one for one in told if one["answered_at"] is not None]) >= tries:
            return told
    raise AssertionError(f"{tries} tries were not answered: {sim.webhooks()['tries']}")


def test_the_sdk_drives_every_endpoint(client: openai.OpenAI, clock: Clock, sim: Simulator) -> None:
    hooks = client.webhooks
    made = subscribe(client, "https://example.com/hook")
    assert ("ours", "https://example.com/hook") == (made.name, made.url)
    assert made.signing_secret.startswith("whsec_")
    kept = hooks.retrieve(made.id)
    assert (int(clock.now), int(clock.now)) == (kept.created_at, kept.updated_at)
    assert kept.signing_secret_hint == f"whsec_…{made.signing_secret[-4:]}"
    assert made.signing_secret not in kept.model_dump_json()
    clock.advance(10)
    assert kept.updated_at == hooks.update(made.id, name="ours").updated_at
    changed = hooks.update(made.id, name="theirs", event_types=["response.failed"])
    assert int(clock.now) == changed.updated_at
    assert ("theirs", ["response.failed"]) == (changed.name, changed.event_types)
    assert made.url == changed.url
    rotated = hooks.rotate_secret(made.id)
    assert rotated.signing_secret != made.signing_secret
    assert list(EVENT_TYPES) == hooks.event_types.list().data
    assert hooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError, match="No webhook endpoint found"):
        hooks.retrieve(made.id)
    told = json.dumps(sim.log())
    assert made.signing_secret not in told
    assert {made.id} == {entry["object_id"] for entry in sim.log()}


def test_the_newest_endpoints_come_first_page_by_page(client: openai.OpenAI) -> None:
    names = [f"number {nth}" for nth in range(5)]
    for name in names:
        subscribe(client, "https://example.com", name)
    page = client.webhooks.list(limit=2)
    assert 2 == len(page.data)
    assert names[::-1] == [one.name for one in page]
    assert names[::-1] == [one.name for one in client.webhooks.list()]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com",
        "https://",
        "https://user:secret@example.com",
        "https://example.com/#part",
        "http://127.0.0.1.example.com",
        "https://example.com:none",
        "https://[",
        "https://example.com/a b",
        "https://example.com/" + "a" * 2048,
        "nothing at all",
    ],
)
def test_a_url_that_cannot_be_used_is_refused(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        subscribe(client, url)
    assert "url" == caught.value.param
    made = subscribe(client, "https://example.com")
    with pytest.raises(openai.BadRequestError):
        client.webhooks.update(made.id, url=url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2:80", "[::1]:8080"])
def test_loopback_may_be_plain(client: openai.OpenAI, host: str) -> None:
    assert f"http://{host}/" == subscribe(client, f"http://{host}/").url


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"event_types": []}, "event_types"),
        ({"event_types": ["thread.run.completed"]}, "event_types"),
        ({"event_types": [1]}, "event_types"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"url": None}, "url"),
    ],
)
def test_a_wrong_endpoint_is_refused(client: openai.OpenAI, wrong: Any, param: str) -> None:
    right = {"name": "ours", "url": "https://example.com", "event_types": ["response.failed"]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.webhooks.create(**(right | wrong))
    assert param == caught.value.param


def test_endpoints_are_bounded(client: openai.OpenAI) -> None:
    for _ in range(100):
        subscribe(client, "https://example.com")
    with pytest.raises(openai.BadRequestError, match="at most 100"):
        subscribe(client, "https://example.com")


def test_an_end_is_delivered_and_verifies(
    client: openai.OpenAI, clock: Clock, receiver: Receiver, sim: Simulator
) -> None:
    made = subscribe(client, receiver.url + "/hook")
    response = complete(client, clock)
    path, headers, body = receiver.next()
    assert "/hook" == path
    client.webhooks.verify_signature(body, headers, secret=made.signing_secret, tolerance=FOR_EVER)
    assert response == json.loads(body)["data"]["id"]
    assert "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)" == headers["user-agent"]
    assert "application/json" == headers["content-type"]
    settled(sim, 1)
    with urllib.request.urlopen(sim.url.removesuffix("/v1") + "/_sim/webhooks") as reply:
        told = json.load(reply)
    assert told == sim.webhooks()
    (event,), (attempt,) = told["events"], told["tries"]
    assert (response, "response.completed") == (event["object_id"], event["type"])
    assert {"state": "delivered", "tries": 1}.items() <= event["deliveries"][0].items()
    assert {
        "webhook_id": headers["webhook-id"],
        "endpoint_id": made.id,
        "kind": "genuine",
        "status": 200,
    }.items() <= attempt.items()


def test_a_redirect_is_not_followed_and_is_tried_again(
    client: openai.OpenAI, clock: Clock, receiver: Receiver, sim: Simulator
) -> None:
    subscribe(client, receiver.url)
    receiver.status = 302
    complete(client, clock)
    first = receiver.next()
    settled(sim, 1)
    receiver.status = 200
    clock.advance(5)
    second = receiver.next()
    assert ("/", "/") == (first[0], second[0])
    assert first[1]["webhook-id"] == second[1]["webhook-id"]
    assert [302, 200] == [one["status"] for one in settled(sim, 2)]


def test_nobody_there_is_a_failed_try(
    client: openai.OpenAI, clock: Clock, receiver: Receiver, sim: Simulator
) -> None:
    made = subscribe(client, "http://127.0.0.1:1/")
    complete(client, clock)
    assert [None] == [one["status"] for one in settled(sim, 1)]
    client.webhooks.update(made.id, url=receiver.url + "/moved")
    clock.advance(5)
    assert "/moved" == receiver.next()[0]


def test_a_slow_endpoint_holds_up_no_other_and_not_the_end(
    connect: Connect, clock: Clock, receiver: Receiver
) -> None:
    with Simulator.running(clock=clock) as sim:
        client = connect(sim)
        subscribe(client, receiver.url + "/slow")
        for _ in range(AT_ONCE + 10):
            client.responses.create(model="sim-instant", input="Hi", background=True)
        clock.advance(100)
        assert receiver.waits.wait(10)
        subscribe(client, receiver.url + "/fast")
        complete(client, clock)
        while receiver.next()[0] != "/fast":
            pass
        begun = time.monotonic()
    assert time.monotonic() - begun < 2


def test_what_had_to_wait_for_its_turn_has_the_time_of_its_turn(
    client: openai.OpenAI, clock: Clock, receiver: Receiver
) -> None:
    subscribe(client, receiver.url + "/slow")
    for _ in range(AT_ONCE + 5):
        client.responses.create(model="sim-instant", input="Hi", background=True)
    clock.advance(100)
    first = [receiver.next() for _ in range(AT_ONCE)]
    clock.advance(1000)
    receiver.release.set()
    late = [receiver.next() for _ in range(5)]
    stamps = [{headers["webhook-timestamp"] for _, headers, _ in some} for some in (first, late)]
    assert [{str(int(clock.now) - 1000)}, {str(int(clock.now))}] == stamps


def test_a_test_sends_a_signed_sample_and_says_what_came_back(
    client: openai.OpenAI, receiver: Receiver, sim: Simulator
) -> None:
    made = subscribe(client, receiver.url)
    receiver.status = 418
    result = client.webhooks.test(made.id, event_type="agent.session.idle")
    assert (418, "agent.session.idle") == (result.status_code, result.event_type)
    assert made.id == result.webhook_endpoint_id
    _, headers, body = receiver.next()
    client.webhooks.verify_signature(body, headers, secret=made.signing_secret, tolerance=FOR_EVER)
    assert "agent.session.idle" == json.loads(body)["type"]
    assert ["test"] == [one["kind"] for one in sim.webhooks()["tries"]]


def test_a_sample_of_each_type_is_as_the_sdk_describes_it(
    client: openai.OpenAI, receiver: Receiver
) -> None:
    made = subscribe(client, receiver.url)
    described = {
        get_args(event.model_fields["type"].annotation)[0]: event
        for event in get_args(get_args(UnwrapWebhookEvent)[0])
    }
    assert {"video.completed", "video.failed"} == set(EVENT_TYPES) - set(described)
    for event_type in EVENT_TYPES:
        test: Any = client.webhooks.test
        assert 200 == test(made.id, event_type=event_type).status_code
        _, _, body = receiver.next()
        assert event_type == json.loads(body)["type"]
        if event_type in described:
            described[event_type].model_validate_json(body)


def test_a_test_of_nobody_is_an_error(client: openai.OpenAI) -> None:
    made = subscribe(client, "http://127.0.0.1:1/")
    with pytest.raises(openai.BadRequestError, match="did not answer"):
        client.webhooks.test(made.id, event_type="response.completed")
    with pytest.raises(openai.BadRequestError, match="expected one of"):
        client.webhooks.test(made.id, event_type="thread.run.completed")  # type: ignore[arg-type]


def test_a_rotation_that_keeps_the_old_secret_signs_twice(
    client: openai.OpenAI, clock: Clock, receiver: Receiver
) -> None:
    made = subscribe(client, receiver.url)
    new = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    complete(client, clock)
    _, headers, body = receiver.next()
    for secret in (made.signing_secret, new.signing_secret):
        client.webhooks.verify_signature(body, headers, secret=secret, tolerance=FOR_EVER)
    clock.advance(24 * 3600)
    complete(client, clock)
    _, headers, body = receiver.next()
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(
            body, headers, secret=made.signing_secret, tolerance=FOR_EVER
        )


def test_it_can_begin_with_an_endpoint_and_keeps_it_when_reset(
    connect: Connect, clock: Clock, receiver: Receiver
) -> None:
    given = NewEndpoint(receiver.url, SECRET)
    with Simulator.running(clock=clock, endpoints=[given]) as sim:
        client = connect(sim)
        for _ in range(2):
            response = complete(client, clock)
            _, headers, body = receiver.next()
            client.webhooks.verify_signature(body, headers, secret=SECRET, tolerance=FOR_EVER)
            assert response == json.loads(body)["data"]["id"]
            sim.reset()
            assert {"events": [], "tries": []} == sim.webhooks()


def test_on_the_real_clock_a_delivery_passes_the_usual_check(
    connect: Connect, receiver: Receiver
) -> None:
    with Simulator.running(speed=20) as sim:
        client = connect(sim)
        made = subscribe(client, receiver.url)
        client.responses.create(model="sim-ok", input="Hi", background=True)
        _, headers, body = receiver.next()
        event = client.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert "response.completed" == event.type
