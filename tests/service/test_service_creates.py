"""A create is journalled, sorted and never blindly sent again: one intent, at most one object."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from service_rig import KEY, MakeRig, Rig, request, verdict
from support import SQLITE

from ledger import Ledger, NotAllowed
from ledger.simulator import Simulator

UNKNOWN = ("failed", 1, "create_unknown", "transport", "unknown_create")
DONE = ("completed", 1, None, None, None)
REFUSED = ("failed", 1, "invalid_request_error", "remote", None)
RESPONSES: dict[str, tuple[Any, int]] = {
    "sim-http-500-before-once": (UNKNOWN, 0),
    "sim-http-503-before-once": (UNKNOWN, 0),
    "sim-http-500-after-once": (UNKNOWN, 1),
    "sim-http-503-after-once": (UNKNOWN, 1),
    "sim-drop-before-once": (UNKNOWN, 0),
    "sim-drop-after-once": (UNKNOWN, 1),
    "sim-truncated-once": (UNKNOWN, 1),
    "sim-html-once": (UNKNOWN, 1),
    "sim-http-408-before-once": (UNKNOWN, 0),
    "sim-http-429-once": (DONE, 1),
    "sim-http-429-bare-once": (DONE, 1),
    "sim-http-400-once": (REFUSED, 0),
    "sim-http-413-once": (REFUSED, 0),
    "sim-http-422-once": (REFUSED, 0),
}
ASSISTANTS: dict[str, tuple[Any, int]] = {
    **{
        model: (DONE if known == UNKNOWN else known, 1 if known in (UNKNOWN, DONE) else 0)
        for model, (known, _) in RESPONSES.items()
    },
    "sim-http-404-once": (REFUSED, 0),
}


@pytest.mark.problem(8)
@pytest.mark.failure(24)
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("provider", "table"), [("responses", RESPONSES), ("assistants", ASSISTANTS)]
)
def test_no_fault_makes_a_second_object(
    make_rig: MakeRig, provider: str, table: dict[str, tuple[Any, int]]
) -> None:
    """Whatever spoils a create, upstream holds at most one object, and the ledger says which runs
    it cannot vouch for."""
    rig = make_rig({"durations": {"retry_after": 0.1}}, settle_seconds=0.3)
    runs = {model: rig.submit(model, provider) for model in table}

    rig.finish(*runs.values())

    operation = "responses.create" if provider == "responses" else "runs.create"
    assert table == {
        model: (verdict(rig.ledger.get(run)), len(rig.made(run, operation)))
        for model, run in runs.items()
    }


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_server_that_is_down_costs_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, impatient: None, provider: str
) -> None:
    """Refused connections are no creates: the request goes out once the server is up."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Ledger.open(database_url, poll_seconds=0.05) as ledger:
        run = ledger.submit(**request("sim-ok", provider))

        def refused_twice(_: object) -> bool:
            kinds = [event["kind"] for event in ledger.events(run)]
            return kinds.count("create_not_sent") >= 2

        ledger.wait_for([run.id], timeout=10, done=refused_twice)
        assert "queued" == ledger.get(run).state
        with Simulator.running(port=port, speed=10) as sim:
            rig = Rig(database_url, sim, ledger)
            done = rig.finish(run)[0]
            assert DONE == verdict(done)
            rig.audit()


@pytest.mark.problem(8)
@pytest.mark.failure(24)
def test_an_unknown_response_waits_and_then_fails(rig: Rig) -> None:
    """By default nobody pays twice: after the settle window the run fails, naming the doubt."""
    run = rig.submit("sim-http-500-after")

    waiting = rig.until(run, lambda facts: facts.run.needs_attention is not None)
    done = rig.finish(run)[0]

    assert ("queued", "unknown_create") == (waiting.run.state, waiting.run.needs_attention)
    assert UNKNOWN == verdict(done)
    assert "the create was sent and no reply came; upstream may have done the work" == (
        done.error_message
    )
    assert 1 == len(rig.made(run))


@pytest.mark.problem(8)
@pytest.mark.usefixtures("impatient")
def test_recreate_is_allowed_by_name_and_counted(rig: Rig) -> None:
    """`recreate=1` sends one more create, and the history names who allowed it."""
    run = rig.run("sim-drop-after-once", on_unknown="recreate=1")

    assert DONE == verdict(run)
    assert 2 == len(rig.made(run))
    assert {"instead_of": 1, "why": "on_unknown recreate=1"} == rig.event(run, "create_authorised")[
        "detail"
    ]


@pytest.mark.problem(8)
@pytest.mark.failure(24)
@SQLITE
@pytest.mark.usefixtures("impatient")
def test_recreate_ends_at_its_count(rig: Rig) -> None:
    """A create that is always unclear is repeated as often as allowed, not more."""
    run = rig.run("sim-drop-before", on_unknown="recreate=2", settle_seconds=0.1)

    assert UNKNOWN == verdict(run)
    assert 3 == rig.kinds(run).count("create_sending")


def test_adopt_resolves_an_unknown_create(rig: Rig) -> None:
    """A person who finds the response upstream names it, and the run goes on with it."""
    run = rig.submit("sim-http-500-after", settle_seconds=60)
    rig.until(run, lambda facts: facts.run.needs_attention is not None)
    (made,) = rig.made(run)

    adopted = rig.ledger.adopt(made["object_id"], run=run)
    done = rig.finish(run)[0]

    assert adopted.needs_attention is None
    assert DONE == verdict(done)
    assert "4" == rig.ledger.result(run)
    assert 1 == len(rig.made(run))


@SQLITE
def test_adopt_needs_a_doubt(rig: Rig) -> None:
    """A run whose create is clear takes no other object."""
    run = rig.run("sim-ok")

    with pytest.raises(NotAllowed, match="no create of unknown outcome"):
        rig.ledger.adopt("resp_other", run=run)


@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_an_object_made_elsewhere_is_adopted(make_rig: MakeRig, provider: str) -> None:
    """An upstream object that the ledger never created is watched to its end."""
    rig = make_rig()
    first = rig.submit("sim-slow", provider)
    rig.until(first, lambda facts: facts.run.state == "in_progress")
    remote = rig.remotes(first)[-1]
    rig.ledger.cancel(first)
    # On a busy machine its end may come before the cancel does.
    ended = rig.finish(first)[0].state
    other = f"{rig.url}.other"

    with Ledger.open(other, poll_seconds=0.05) as ledger:
        run = ledger.adopt(
            remote["remote_id"], provider=provider, thread=remote["parent_id"] or None
        )
        ledger.wait(run, timeout=10)
        assert ended == ledger.get(run).state
        assert [] == [event for event in ledger.events(run) if event["kind"] == "create_sending"]


@pytest.mark.problem(8)
@pytest.mark.failure(24)
def test_an_unknown_thread_run_is_found_by_its_mark(rig: Rig) -> None:
    """A thread run whose reply was lost is found in the list of its thread, not made again."""
    run = rig.run("sim-http-500-after", "assistants")

    kinds = rig.kinds(run)
    assert DONE == verdict(run)
    assert 1 == len(rig.made(run, "runs.create"))
    assert kinds.index("create_unknown") < kinds.index("create_confirmed", 6)
    assert "create_authorised" not in kinds


@pytest.mark.problem(8)
@SQLITE
@pytest.mark.usefixtures("impatient")
def test_an_absent_thread_run_is_proved_and_made(rig: Rig) -> None:
    """A list that still misses the mark after the settle window is proof: the create goes again."""
    run = rig.run("sim-drop-before-once", "assistants")

    kinds = rig.kinds(run)
    assert DONE == verdict(run)
    assert 1 == len(rig.made(run, "runs.create"))
    assert kinds.index("create_absent") < kinds.index("create_authorised")


@pytest.mark.failure(30)
@SQLITE
@pytest.mark.usefixtures("impatient")
def test_retry_after_is_obeyed(make_rig: MakeRig) -> None:
    """A refusal with Retry-After is repeated after that time, and not before."""
    rig = make_rig({"durations": {"retry_after": 0.5}}, speed=1)
    run = rig.run("sim-http-429-once")

    tries = [entry for entry in rig.sim.log() if entry["operation"] == "responses.create"]
    assert [429, 200] == [entry["status"] for entry in tries]
    assert 0.5 <= tries[1]["at"] - tries[0]["at"]
    assert DONE == verdict(run)


@SQLITE
def test_an_object_of_another_run_is_not_adopted(rig: Rig) -> None:
    """Two creates in doubt, and their ids mixed up: the marker tells, and each run gets its own."""
    runs = [rig.submit("sim-http-500-after", settle_seconds=60) for _ in range(2)]
    for run in runs:
        rig.until(run, lambda facts: facts.run.needs_attention == "unknown_create")
    ids = [rig.made(run)[0]["object_id"] for run in runs]
    markers = [rig.remotes(run)[0]["marker"] for run in runs]

    rig.ledger.adopt(ids[1], run=runs[0])
    rig.until(runs[0], lambda facts: facts.run.needs_attention == "unknown_create")
    refused = [e for e in rig.ledger.events(runs[0]) if e["kind"] == "create_unknown"][-1]
    for run, remote_id in zip(runs, ids, strict=True):
        rig.ledger.adopt(remote_id, run=run)

    assert {"remote_id": ids[1], "marker": markers[1]}.items() <= refused["detail"].items()
    assert ["completed"] * 2 == [run.state for run in rig.finish(*runs)]
    assert ids == [rig.remotes(run)[0]["remote_id"] for run in runs]
