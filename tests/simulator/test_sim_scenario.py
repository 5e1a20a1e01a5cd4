"""Scenarios: what is read, and what is said of a wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from pathlib import Path
from typing import Any

import openai
import pytest
from sim_clock import Clock

from ledger.simulator import (
    CATALOGUE,
    Scenario,
    ScenarioError,
    Simulator,
    load_scenario,
    serve,
)
from ledger.simulator.behaviours import UnknownBehaviourError, behaviour_named
from ledger.simulator.engine import HANDLERS
from ledger.simulator.routes import OPERATIONS
from ledger.simulator.talk import reply_to, tool_call


def test_a_file_is_read_as_toml_or_json(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('seed = 7\n[[faults]]\noperation = "runs.*"\nfault = "drop-after"\ntimes = 1\n')
    as_json.write_text(
        '{"seed": 7, "faults": [{"operation": "runs.*", "fault": "drop-after", "times": 1}]}'
    )
    assert load_scenario(toml) == load_scenario(as_json)
    assert load_scenario(toml).faults[0].fault.accepted


WRONG: list[tuple[object, str]] = [
    ([], "the document is []; expected a table of settings"),
    ({"sped": 2}, "the document: sped is 2; expected no such key; known: seed, speed"),
    ({"speed": 0}, "speed is 0; expected a number above 0 up to 1e+06"),
    ({"seed": "x"}, "seed is 'x'; expected a whole number"),
    ({"id_length": 4}, "id_length is 4; expected a whole number from 8 to 512"),
    ({"durations": {"lunch": 1}}, "durations: lunch is 1; expected no such key"),
    ({"durations": {"queued": -1}}, "durations.queued is -1; expected a number from 0"),
    ({"faults": {}}, "faults is {}; expected a list of fault rules"),
    ({"faults": [{}]}, "faults[0].fault is None; expected one of http-STATUS"),
    ({"faults": [{"fault": "http-200"}]}, "faults[0].fault is 'http-200'"),
    (
        {"faults": [{"fault": "html", "operation": "run.create"}]},
        "faults[0].operation is 'run.create'; expected one of assistants.create",
    ),
    ({"faults": [{"fault": "html", "probability": 2}]}, "faults[0].probability is 2"),
    ({"faults": [{"fault": "html", "model": 5}]}, "faults[0].model is 5; expected a text"),
    ({"webhooks": {"lost": 1}}, "webhooks: lost is 1; expected no such key; known: loss, delay"),
    ({"webhooks": {"loss": 1.5}}, "webhooks.loss is 1.5; expected a number from 0 up to 1"),
    ({"webhooks": {"forged": -1}}, "webhooks.forged is -1; expected a number from 0 up to 100"),
    ({"webhooks": {"delay_p99": 0.5}}, "webhooks.delay_p99 is 0.5; expected a number from the"),
    ({"webhooks": {"delay": 0, "delay_p99": 1}}, "webhooks.delay_p99 is 1.0; expected"),
    ({"webhooks": {"retry_seconds": 5}}, "webhooks.retry_seconds is 5; expected a list of at"),
    ({"webhooks": {"retry_seconds": ["x"]}}, "webhooks.retry_seconds[0] is 'x'; expected"),
    ({"webhooks": {"retry_seconds": [2e5, 2e5]}}, "expected 259200 s (72 hours) or less in all"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_a_wrong_scenario_is_named_in_one_line(data: object, message: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(message)) as caught:
        Scenario.from_mapping(data)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ScenarioError, match=r"broken\.json.*expected valid JSON"):
        load_scenario(broken)
    with pytest.raises(ScenarioError, match=r"none\.toml.*readable file"):
        load_scenario(tmp_path / "none.toml")


def walk(client: openai.OpenAI, clock: Clock) -> list[str]:
    """Some creates, reads and answers; the ids that came of them."""
    ids = []
    for model in ("sim-tools", "sim-ok", "sim-fail-x", "sim-http-500-after"):
        with contextlib.suppress(openai.InternalServerError):
            response = client.responses.create(model=model, input="Hi", background=True)
            clock.advance(0.31)
            response = client.responses.retrieve(response.id)
            ids += [response.id, str(response.status), *(item.id or "" for item in response.output)]
    return ids


def test_the_same_seed_and_requests_give_the_same_ids_and_log(connect: Any) -> None:
    told: list[Any] = []
    for seed in (5, 5, 6):
        clock = Clock()
        with Simulator.running(seed=seed, clock=clock) as sim:
            client = connect(sim, _strict_response_validation=False)
            told.append((walk(client, clock), sim.log(), sim.objects()))
    assert told[0] == told[1]
    assert not set(told[0][0]) & {text for text in told[2][0] if "_" in text and len(text) > 20}


def test_ids_can_be_long(connect: Any) -> None:
    with Simulator.running(scenario={"id_length": 300}) as sim:
        response = connect(sim).responses.create(model="sim-ok", input="x", background=True)
        assert len(response.id) == len("resp_") + 300


def test_time_can_be_accelerated(clock: Clock, connect: Any) -> None:
    with Simulator.running(speed=100, clock=clock) as sim:
        client = connect(sim)
        response = client.responses.create(model="sim-slow", input="x", background=True)
        clock.advance(0.12)
        assert client.responses.retrieve(response.id).status == "completed"


def test_serve_says_when_it_is_ready_and_ends_when_cancelled() -> None:
    async def scene() -> str:
        ready = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve("127.0.0.1", 0, Scenario(), ready.set_result))
        url = await asyncio.wait_for(ready, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return str(url)

    url = asyncio.run(scene())
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1", url)
    assert match is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(match[1])), timeout=1).close()


def test_a_port_that_is_taken_is_an_error() -> None:
    with Simulator.running() as sim:
        taken = int(sim.url.rsplit(":", 1)[1].removesuffix("/v1"))
        with pytest.raises(OSError, match="address already in use"), Simulator.running(port=taken):
            pass
    assert sim.log() == []


def test_every_operation_has_a_handler() -> None:
    assert set(HANDLERS) == set(OPERATIONS)


def test_the_catalogue_names_only_what_there_is() -> None:
    for name in CATALOGUE:
        given = name.replace("CODE", "x").replace("REASON", "x").replace("STATUS", "418")
        given = given.replace("NAME", "sim-ok")
        assert behaviour_named(given).name == given.removesuffix("-once")
    with pytest.raises(UnknownBehaviourError):
        behaviour_named("sim-unheard-of")
    assert behaviour_named("gpt-7").name == "sim-ok"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("What is 2+2?", "4"),
        ("7 / 2", "3.5"),
        ("2 - 5", "-3"),
        ("3 x 4", "12"),
        ("1 / 0", "You said: 1 / 0"),
        ("Hello", "You said: Hello"),
    ],
)
def test_what_it_says(text: str, said: str) -> None:
    assert reply_to(text, []) == said


def test_arguments_fit_their_schema() -> None:
    properties = {
        "unit": {"enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 3, "maximum": 3},
        "exact": {"type": ["boolean", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "where": {"properties": {"city": {}}, "required": ["city"]},
        "kind": {"const": "rain"},
        "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "left_out": {"type": "string"},
    }
    required = [name for name in properties if name != "left_out"]
    parameters = {"type": "object", "properties": properties, "required": required}
    tool = {"type": "function", "name": "f", "parameters": parameters}
    assert tool_call([tool], {}, "x", 1) == (
        "f",
        '{"unit": "F", "days": 3, "exact": false, "tags": ["sample 2", "sample 3"], '
        '"where": {"city": "Paris 2"}, "kind": "rain", "maybe": null}',
    )
