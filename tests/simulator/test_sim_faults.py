"""Faults really happen, and the log tells which of them left something behind."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import openai
import pytest

from ledger.simulator import Simulator

Connect = Callable[..., openai.OpenAI]


def create(client: openai.OpenAI, model: str, **options: Any) -> Any:
    return client.responses.create(model=model, input="Hello", background=True, **options)


# Model, what the client sees, whether the object exists.
AT_CREATE = [
    ("sim-http-500-before", openai.InternalServerError, False),
    ("sim-http-500-after", openai.InternalServerError, True),
    ("sim-http-503-before", openai.InternalServerError, False),
    ("sim-http-503-after", openai.InternalServerError, True),
    ("sim-drop-before", openai.APIConnectionError, False),
    ("sim-drop-after", openai.APIConnectionError, True),
    ("sim-truncated", json.JSONDecodeError, True),
    ("sim-html", openai.APIResponseValidationError, True),
    ("sim-http-429", openai.RateLimitError, False),
    ("sim-http-429-bare", openai.RateLimitError, False),
    ("sim-http-401", openai.AuthenticationError, False),
    ("sim-http-404", openai.NotFoundError, False),
]


@pytest.mark.parametrize(("model", "error", "exists"), AT_CREATE)
def test_a_fault_at_create(
    client: openai.OpenAI, sim: Simulator, model: str, error: type[Exception], exists: bool
) -> None:
    with pytest.raises(error):
        create(client, model)
    (entry,) = sim.log()
    assert entry["fault"] == model.removeprefix("sim-")
    assert entry["accepted"] is exists
    assert [one["id"] for one in sim.objects()] == ([entry["object_id"]] if exists else [])


def test_a_fault_can_happen_once(client: openai.OpenAI, sim: Simulator) -> None:
    for model in ("sim-drop-before-once", "sim-http-503-after-once"):
        with pytest.raises(openai.APIError):
            create(client, model)
        assert create(client, model).id
    assert [entry["accepted"] for entry in sim.log()] == [False, True, True, True]


def test_the_usual_retries_of_the_sdk_make_a_duplicate(sim: Simulator, connect: Connect) -> None:
    """The reason for all of this: a client that retries a create makes two objects."""
    create(connect(sim, max_retries=2), "sim-drop-after-once")
    assert len(sim.objects()) == 2


def test_retry_after_is_sent_unless_bare(client: openai.OpenAI) -> None:
    waits = []
    for model in ("sim-http-429", "sim-http-429-bare"):
        with pytest.raises(openai.RateLimitError) as caught:
            create(client, model)
        waits.append(caught.value.response.headers.get("retry-after"))
    assert waits == ["1", None]


def test_a_slow_reply_is_slow(connect: Connect) -> None:
    with Simulator.running(scenario={"durations": {"slow_reply": 0.3}}) as sim:
        with pytest.raises(openai.APITimeoutError):
            create(connect(sim, timeout=0.1), "sim-slow-reply")
        begun = time.monotonic()
        create(connect(sim), "sim-slow-reply")
        assert time.monotonic() - begun >= 0.3
        assert len(sim.objects()) == 2


def rule(**settings: Any) -> dict[str, Any]:
    return {"faults": [{"operation": "responses.*", **settings}]}


def errors_of(client: openai.OpenAI, count: int) -> list[bool]:
    """Which of some reads fail."""
    response_id = create(client, "sim-slow").id
    failed = []
    for _ in range(count):
        try:
            client.responses.retrieve(response_id)
            failed.append(False)
        except openai.APIError:
            failed.append(True)
    return failed


def test_a_rule_strikes_after_some_requests_and_some_times(connect: Connect) -> None:
    scenario = rule(fault="http-500", after=2, times=2)
    with Simulator.running(scenario=scenario) as sim:
        assert errors_of(connect(sim), 5) == [False, True, True, False, False]
        assert sim.reads() == {"responses.retrieve": 5}


def test_a_rule_may_be_about_one_model(connect: Connect) -> None:
    with Simulator.running(scenario=rule(fault="drop-before", model="gpt-*")) as sim:
        create(connect(sim), "sim-ok")
        with pytest.raises(openai.APIConnectionError):
            create(connect(sim), "gpt-7")


def test_probability_is_decided_by_the_seed(connect: Connect) -> None:
    scenario = rule(fault="http-503", operation="responses.retrieve", probability=0.5)
    seen = []
    for seed in (1, 1, 2):
        with Simulator.running(seed=seed, scenario=scenario) as sim:
            seen.append(errors_of(connect(sim), 40))
    assert seen[0] == seen[1] != seen[2]
    assert 10 < sum(seen[0]) < 30


def test_a_rule_can_name_its_wait(connect: Connect) -> None:
    with (
        Simulator.running(scenario=rule(fault="http-429", retry_after_s=0.2)) as sim,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        create(connect(sim), "sim-ok")
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("0.2", "200")


def test_a_cancel_can_be_accepted_and_not_answered(connect: Connect) -> None:
    scenario = {"faults": [{"operation": "responses.cancel", "fault": "http-500-after"}]}
    with Simulator.running(scenario=scenario) as sim:
        client = connect(sim)
        response = create(client, "sim-slow")
        with pytest.raises(openai.InternalServerError):
            client.responses.cancel(response.id)
        assert client.responses.retrieve(response.id).status == "cancelled"
        assert [(entry["status"], entry["accepted"]) for entry in sim.log()] == [
            (200, True),
            (500, True),
        ]


def test_requests_per_minute_are_limited(clock: Any, connect: Connect) -> None:
    with Simulator.running(scenario={"requests_per_minute": 3}, clock=clock) as sim:
        client = connect(sim)
        for _ in range(3):
            create(client, "sim-ok")
        with pytest.raises(openai.RateLimitError) as caught:
            create(client, "sim-ok")
        assert caught.value.response.headers["retry-after"] == "20"
        clock.advance(20)
        create(client, "sim-ok")


def test_the_poll_hint_is_sent_when_asked_for(connect: Connect) -> None:
    with Simulator.running(scenario={"poll_after_ms": 250}) as sim:
        raw = connect(sim).responses.with_raw_response.create(model="sim-ok", input="x")
        assert raw.headers["openai-poll-after-ms"] == "250"


def ask(sim: Simulator, path: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    url = sim.url.removesuffix("/v1") + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_rules_can_be_replaced_and_everything_forgotten(
    client: openai.OpenAI, sim: Simulator
) -> None:
    rules = [{"fault": "http-503", "operation": "responses.create"}]
    assert ask(sim, "/_sim/faults", rules) == (200, {"rules": 1})
    with pytest.raises(openai.InternalServerError):
        create(client, "sim-ok")
    sim.replace_faults([])
    made = create(client, "sim-ok")
    status, told = ask(sim, "/_sim/log")
    assert (status, told["entries"], told["lost"]) == (200, sim.log(), 0)
    assert ask(sim, "/_sim/objects")[1]["objects"][0]["id"] == made.id
    assert ask(sim, "/_sim/reset", {})[0] == 200
    assert (sim.log(), sim.objects()) == ([], [])


def test_bad_requests_are_refused_in_json(sim: Simulator) -> None:
    status, body = ask(sim, "/_sim/faults", [{"fault": "nonsense"}])
    assert status == 400
    assert "faults[0].fault is 'nonsense'" in body["error"]["message"]
    assert ask(sim, "/v1/nowhere")[0] == 404
    assert ask(sim, "/v1/responses")[0] == 405
    assert ask(sim, "/v1/responses", [])[0] == 400
    status, body = ask(sim, "/v1/responses", {"model": "sim-ok"})
    assert (status, body["error"]["message"]) == (401, "You didn't provide an API key.")
