"""The classic exercise: ask a thread a question, and print the answer."""

from __future__ import annotations

import pytest
from openai import OpenAI
from service_rig import MakeRig, Rig
from support import SQLITE

from ledger import Ledger
from ledger.clock import wait_until

pytestmark = SQLITE
FINAL = ("completed", "failed", "cancelled", "expired", "incomplete")


def answer_by_the_sdk(model: str) -> str:
    """The code that people know: thread, message, run, poll, print."""
    with OpenAI() as client:
        assistant = client.post("/assistants", body={"model": model}, cast_to=dict[str, str])
        thread = client.post("/threads", body={}, cast_to=dict[str, str])
        path = f"/threads/{thread['id']}"
        message = {"role": "user", "content": "What is 2+2?"}
        client.post(f"{path}/messages", body=message, cast_to=dict[str, str])
        asked = {"assistant_id": assistant["id"]}
        run = client.post(f"{path}/runs", body=asked, cast_to=dict[str, str])

        def over() -> bool:
            read = client.get(f"{path}/runs/{run['id']}", cast_to=dict[str, object])
            return read["status"] in FINAL

        assert wait_until(over, seconds=10, every=0.05)
        listed = client.get(f"{path}/messages", cast_to=dict[str, list[dict[str, list[dict]]]])
        return str(listed["data"][0]["content"][0]["text"]["value"])


def answer_by_the_ledger(url: str) -> str:
    """Four lines of ours."""
    with Ledger.open(url) as ledger:
        run = ledger.submit(provider="assistants", assistant_id="asst_sim-ok", input="What is 2+2?")
        ledger.wait(run, timeout="20s")
        return ledger.result(run)


def test_a_thread_run_answers_as_the_sdk_does(rig: Rig) -> None:
    """Four lines with the ledger give the answer that the SDK's loop gives."""
    assert "4" == answer_by_the_sdk("sim-ok") == answer_by_the_ledger(rig.url)


def test_every_part_of_a_thread_run_is_a_remote(rig: Rig) -> None:
    """A new thread with its message, and the run on it: two objects, both accounted for."""
    run = rig.run("sim-ok", "assistants")

    assert ["threads.create", "runs.create"] == [made["operation"] for made in rig.made(run)]
    assert ["thread", "thread_run"] == [remote["kind"] for remote in rig.remotes(run)]
    assert ["in_progress", "completed"] == rig.moves(run)


def test_a_given_thread_gets_the_message_within_the_run(rig: Rig) -> None:
    """With a thread of the caller's, message and run are one POST."""
    first = rig.run("sim-ok", "assistants")
    thread = rig.remotes(first)[1]["parent_id"]

    second = rig.run("sim-ok", "assistants", thread_id=thread, input="What is 3+4?")

    assert ["runs.create"] == [made["operation"] for made in rig.made(second)]
    assert "7" == rig.ledger.result(second)


@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_show_names_every_field_of_upstream(make_rig: MakeRig, provider: str) -> None:
    """What upstream says of a run stands in `show`, in upstream's words."""
    rig = make_rig()
    run = rig.run("sim-ok", provider)
    shown = rig.ledger.show(run)["upstream"]

    assert (rig.remotes(run)[-1]["remote_id"], "completed") == (shown["id"], shown["status"])
    assert shown["created_at"] is not None
    assert shown["completed_at"] is not None
    assert {"required_action", "last_error", "usage", "expires_at"} <= set(shown)
