"""The plan of webhook deliveries, in virtual time and without a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import openai
import pytest
from sim_webhook_rig import START, Arrival, Upstream

from ledger.simulator import NewEndpoint
from ledger.simulator.webhook_settings import RETRY_SECONDS

ENDS = {
    "sim-ok": "response.completed",
    "sim-instant": "response.completed",
    "sim-tool": "response.completed",
    "sim-fail-server_error": "response.failed",
    "sim-cancelled": "response.cancelled",
    "sim-incomplete-max_output_tokens": "response.incomplete",
}
NEVER = ("sim-vanish", "sim-stuck-queued", "sim-stuck-in_progress", "sim-expire")


@pytest.fixture
def verifies(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the SDK accepts a delivery on its arrival, with its usual tolerance."""
    client = openai.OpenAI(api_key="sk-test")

    def check(arrival: Arrival, secret: str) -> bool:
        clock = SimpleNamespace(time=lambda: arrival.at)
        monkeypatch.setattr("openai.lib._webhooks.time", clock)
        try:
            client.webhooks.verify_signature(
                arrival.sent.body, dict(arrival.headers), secret=secret
            )
        except openai.InvalidWebhookSignatureError:
            return False
        return True

    return check


@pytest.mark.parametrize("model", ENDS)
def test_an_end_is_told_once(model: str) -> None:
    upstream = Upstream()
    upstream.endpoint()
    response = upstream.response(model)
    (arrival,) = upstream.arrivals()
    assert {
        "object": "event",
        "id": arrival.said["id"],
        "type": ENDS[model],
        "created_at": int(START),
        "data": {"id": response},
    } == arrival.said
    assert upstream.arrivals() == []


@pytest.mark.parametrize("model", NEVER)
def test_what_never_ends_or_is_gone_is_never_told(model: str) -> None:
    upstream = Upstream()
    upstream.endpoint()
    upstream.response(model)
    assert [] == upstream.arrivals(100_000)


def test_a_foreground_response_and_a_run_are_never_told() -> None:
    upstream = Upstream()
    upstream.endpoint()
    upstream.response(background=False)
    thread = upstream.ask("threads.create")["id"]
    run = {"assistant_id": "asst_sim-ok", "background": True}
    upstream.ask("runs.create", run, thread_id=thread)
    assert [] == upstream.arrivals()
    assert {"events": [], "tries": []} == upstream.told()


def test_the_headers_are_those_of_the_provider(verifies: Any) -> None:
    upstream = Upstream()
    secret = upstream.endpoint()["signing_secret"]
    upstream.response()
    (arrival,) = upstream.arrivals()
    headers = dict(arrival.headers)
    assert headers.pop("webhook-id").startswith("wh_")
    assert headers.pop("webhook-signature").startswith("v1,")
    assert {
        "content-type": "application/json",
        "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-timestamp": str(int(arrival.at)),
    } == headers
    assert arrival.said["id"].startswith("evt_")
    assert verifies(arrival, secret)
    assert not verifies(arrival, "whsec_" + "A" * 44)


def test_a_cancel_is_told_instead_of_the_end_that_was_planned() -> None:
    upstream = Upstream()
    upstream.endpoint()
    response = upstream.response("sim-slow")
    upstream.ask("responses.cancel", response_id=response)
    assert ["response.cancelled"] == [one.type for one in upstream.arrivals()]


def test_a_cancel_that_loses_is_told_as_what_came_of_it() -> None:
    upstream = Upstream()
    upstream.endpoint()
    response = upstream.response("sim-cancel-race")
    upstream.now += 1
    upstream.ask("responses.cancel", response_id=response)
    (arrival,) = upstream.arrivals()
    assert "response.completed" == arrival.type
    assert arrival.at < START + 8, "the plan before the cancel would have ended after ten seconds"


def test_a_contradiction_is_told_twice() -> None:
    upstream = Upstream({"webhooks": {"delay": 0}})
    upstream.endpoint()
    upstream.response("sim-contradict")
    assert ["response.cancelled", "response.completed"] == [a.type for a in upstream.arrivals()]


def test_a_response_deleted_after_its_end_was_told_all_the_same() -> None:
    """What happened between two looks at the plan has happened before the second."""
    upstream = Upstream()
    upstream.endpoint()
    early, late = upstream.response("sim-instant"), upstream.response("sim-slow")
    upstream.now += 1
    for response in (early, late):
        upstream.ask("responses.delete", response_id=response)
    assert [early] == [one.said["data"]["id"] for one in upstream.arrivals()]


def test_an_endpoint_gets_what_it_subscribed_to_from_then_on() -> None:
    upstream = Upstream()
    upstream.endpoint("response.failed", url="https://example.com/failed")
    upstream.response("sim-ok")
    upstream.response("sim-fail-x")
    upstream.now += 5
    upstream.endpoint(url="https://example.com/late")
    upstream.response("sim-ok")
    come = [(one.sent.url, one.type) for one in upstream.arrivals()]
    assert [
        ("https://example.com/failed", "response.failed"),
        ("https://example.com/late", "response.completed"),
    ] == come


def test_two_endpoints_get_one_event_in_two_messages() -> None:
    upstream = Upstream()
    for name in "ab":
        upstream.endpoint(url=f"https://example.com/{name}")
    upstream.response()
    come = upstream.arrivals()
    assert 2 == len({one.webhook_id for one in come})
    assert 1 == len({one.said["id"] for one in come})


def test_without_endpoints_there_is_nothing_to_wait_for() -> None:
    upstream = Upstream()
    upstream.response()
    assert upstream.engine.webhooks.next_delivery_at(upstream.now) is None


@pytest.mark.parametrize("failure", [500, 302, 404, None])
def test_a_failed_try_is_repeated_with_the_same_ids(failure: int | None, verifies: Any) -> None:
    upstream = Upstream({"webhooks": {"retry_seconds": [5, 50]}})
    secret = upstream.endpoint()["signing_secret"]
    upstream.response()
    come = upstream.arrivals(1000, lambda _: failure)
    first = come[0].at
    assert [first, first + 5, first + 55] == [one.at for one in come]
    assert 1 == len({(one.webhook_id, one.sent.body) for one in come})
    assert [str(int(one.at)) for one in come] == [one.headers["webhook-timestamp"] for one in come]
    assert all(verifies(one, secret) for one in come)
    (event,) = upstream.told()["events"]
    assert ("given_up", 3) == (event["deliveries"][0]["state"], event["deliveries"][0]["tries"])
    assert [failure] * 3 == [one["status"] for one in upstream.told()["tries"]]


@pytest.mark.parametrize("success", [200, 204, 299])
def test_any_2xx_ends_the_tries(success: int) -> None:
    upstream = Upstream({"webhooks": {"retry_seconds": [5, 50]}})
    upstream.endpoint()
    upstream.response()
    answers = iter([503, success])
    assert 2 == len(upstream.arrivals(1000, lambda _: next(answers)))
    (event,) = upstream.told()["events"]
    assert "delivered" == event["deliveries"][0]["state"]


def test_the_usual_schedule_grows_and_ends_after_72_hours() -> None:
    upstream = Upstream({"webhooks": {"delay": 0}})
    upstream.endpoint()
    upstream.response("sim-instant")
    come = upstream.arrivals(400_000, lambda _: 500)
    assert len(RETRY_SECONDS) + 1 == len(come)
    assert START + 72 * 3600 == come[-1].at
    assert 5 == come[1].at - come[0].at


def test_an_answer_counts_once() -> None:
    upstream = Upstream()
    upstream.endpoint()
    upstream.response()
    upstream.now += 60
    plan = upstream.engine.webhooks
    (sent,) = plan.deliveries_due(upstream.now)
    assert [] == plan.deliveries_due(upstream.now), "a try that is under way is not due again"
    plan.answered(sent, 200, upstream.now)
    plan.answered(sent, 500, upstream.now)
    assert [] == upstream.arrivals(300_000)


def test_what_waits_for_a_deleted_endpoint_is_dropped() -> None:
    upstream = Upstream()
    endpoint = upstream.endpoint()
    upstream.response()
    upstream.now += 0.5
    upstream.ask("webhook_endpoints.delete", webhook_endpoint_id=endpoint["id"])
    assert [] == upstream.arrivals()
    assert "dropped" == upstream.told()["events"][0]["deliveries"][0]["state"]


def test_speed_shortens_delays_waits_and_the_overlap() -> None:
    scenario = {"speed": 100, "webhooks": {"delay": 10, "delay_p99": 10, "retry_seconds": [50]}}
    upstream = Upstream(scenario)
    endpoint = upstream.endpoint()
    upstream.ask(
        "webhook_endpoints.rotate_secret",
        {"keep_old_secret_active_for_24_hours": True},
        webhook_endpoint_id=endpoint["id"],
    )
    upstream.response("sim-instant")
    come = upstream.arrivals(answering=lambda _: 500)
    assert pytest.approx([START + 0.1, START + 0.6]) == [one.at for one in come]
    upstream.now = START + 865
    upstream.response("sim-instant")
    assert 1 == len(upstream.arrivals()[0].headers["webhook-signature"].split())


def delivered(upstream: Upstream, responses: int) -> list[Arrival]:
    for _ in range(responses):
        upstream.response()
    return upstream.arrivals(300)


def test_lost_events_never_arrive_but_are_told() -> None:
    upstream = Upstream({"webhooks": {"loss": 0.3}})
    upstream.endpoint()
    come = delivered(upstream, 200)
    states = [event["deliveries"][0]["state"] for event in upstream.told()["events"]]
    assert (200, len(come)) == (len(states), states.count("delivered"))
    assert 40 < states.count("lost") < 80
    assert len(come) + states.count("lost") == 200


def test_delays_are_as_asked_for() -> None:
    upstream = Upstream({"webhooks": {"delay": 2, "delay_p99": 20}})
    upstream.endpoint()
    come = delivered(upstream, 400)
    ends = {event["id"]: event["at"] for event in upstream.told()["events"]}
    waits = sorted(one.at - ends[one.said["id"]] for one in come)
    assert 1.5 < waits[200] < 2.7
    assert 10 < waits[395] < 60


def test_a_duplicate_has_the_same_id_and_a_time_of_its_own(verifies: Any) -> None:
    upstream = Upstream({"webhooks": {"duplicate": 1}})
    secret = upstream.endpoint()["signing_secret"]
    first, second = delivered(upstream, 1)
    assert first.webhook_id == second.webhook_id
    assert first.at < second.at
    assert verifies(first, secret)
    assert verifies(second, secret)
    assert ["genuine", "duplicate"] == [one["kind"] for one in upstream.told()["tries"]]


def test_later_ones_overtake_what_is_reordered() -> None:
    upstream = Upstream({"webhooks": {"reorder": 0.5, "delay_p99": 0.6}})
    upstream.endpoint()
    sent = [upstream.response() for _ in range(20)]
    come = [one.said["data"]["id"] for one in upstream.arrivals()]
    assert sorted(sent) == sorted(come)
    events = [event["object_id"] for event in upstream.told()["events"]]
    assert events != come


def test_a_forged_delivery_never_verifies(verifies: Any) -> None:
    upstream = Upstream({"webhooks": {"forged": 2.5}})
    secret = upstream.endpoint()["signing_secret"]
    come = delivered(upstream, 40)
    genuine = [one for one in come if one.sent.delivery.kind == "genuine"]
    forged = [one for one in come if one.sent.delivery.kind == "forged"]
    assert 40 == len(genuine)
    assert 85 < len(forged) < 115
    assert {"wrong_signature", "changed_body", "old_replay"} == {
        one.sent.delivery.forgery for one in forged
    }
    assert all(verifies(one, secret) for one in genuine)
    assert not any(verifies(one, secret) for one in forged)
    assert {one.webhook_id for one in forged} <= {one.webhook_id for one in genuine}


def test_a_forgery_is_not_repeated() -> None:
    upstream = Upstream({"webhooks": {"forged": 1, "retry_seconds": [5]}})
    upstream.endpoint()
    upstream.response()
    come = upstream.arrivals(answering=lambda _: 400)
    assert ["forged", "genuine", "genuine"] == sorted(one.sent.delivery.kind for one in come)


def test_the_same_seed_gives_the_same_deliveries() -> None:
    mixed = {"loss": 0.2, "duplicate": 0.2, "reorder": 0.2, "forged": 0.5}
    told = []
    for seed in (5, 5, 6):
        upstream = Upstream({"seed": seed, "webhooks": mixed})
        secret = upstream.endpoint()["signing_secret"]
        come = [(one.at, dict(one.headers), one.sent.body) for one in delivered(upstream, 30)]
        told.append((secret, come, upstream.told()))
    assert told[0] == told[1]
    assert told[0][0] != told[2][0]


def rotate(upstream: Upstream, endpoint: Any, *, keep: bool) -> str:
    body = {"keep_old_secret_active_for_24_hours": keep}
    return str(
        upstream.ask("webhook_endpoints.rotate_secret", body, webhook_endpoint_id=endpoint["id"])[
            "signing_secret"
        ]
    )


def test_a_kept_secret_signs_for_24_hours_more(verifies: Any) -> None:
    upstream = Upstream()
    endpoint = upstream.endpoint()
    old, new = endpoint["signing_secret"], rotate(upstream, endpoint, keep=True)
    upstream.response("sim-instant")
    (during,) = upstream.arrivals()
    assert (True, True) == (verifies(during, old), verifies(during, new))
    upstream.now = START + 24 * 3600
    upstream.response("sim-instant")
    (after,) = upstream.arrivals()
    assert (False, True) == (verifies(after, old), verifies(after, new))


def test_a_secret_that_is_not_kept_ends_at_once_and_so_do_older_ones(verifies: Any) -> None:
    upstream = Upstream()
    endpoint = upstream.endpoint()
    upstream.response("sim-instant")  # On its way when the secrets change.
    secrets = [endpoint["signing_secret"], rotate(upstream, endpoint, keep=True)]
    secrets.append(rotate(upstream, endpoint, keep=False))
    (arrival,) = upstream.arrivals()
    assert [False, False, True] == [verifies(arrival, secret) for secret in secrets]


@pytest.mark.parametrize(
    ("url", "secret", "problem"),
    [
        ("http://example.com", "whsec_" + "A" * 32, "https URL"),
        ("https://example.com", "whsec_QUFBQQ==", "24 to 64 bytes"),
        ("https://example.com", "whsec_" + "*" * 40, "24 to 64 bytes"),
        ("https://example.com", "A" * 40, "expected whsec_"),
    ],
)
def test_an_endpoint_to_begin_with_is_checked(url: str, secret: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        NewEndpoint(url, secret)
    assert secret not in str(caught.value)
