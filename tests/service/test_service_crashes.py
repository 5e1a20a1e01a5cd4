"""Daemons are killed in the middle of everything; the next life goes on where the last one died."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from service_rig import MakeRig, Rig, StartDaemon, shorten, verdict
from service_tools import FOLDER, GO, HANG, REACHED, book, charge, find, retry, traces
from support import SQLITE

from ledger.service.workers import ask_to_drain, list_lives

DONE = ("completed", 1, None, None, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tools leave traces; with GO in it they do not wait."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs in doubt are sent again soon."""
    shorten(monkeypatch, "RESEND_SECONDS", 0.2)


@pytest.mark.sampled(7)
@pytest.mark.problem(8, 10, 11)
@pytest.mark.failure(4, 24)
@pytest.mark.usefixtures("quick", "impatient")
@pytest.mark.parametrize(
    ("dialect", "provider", "hang", "creates"),
    [
        ("sqlite", "responses", "before:Create", 1),
        ("sqlite", "responses", "during:Create", 1),
        ("sqlite", "responses", "after:Create", 2),
        ("sqlite", "assistants", "after:Create", 1),
        ("sqlite", "assistants", "before:Submit", 1),
        ("sqlite", "assistants", "during:Submit", 1),
        ("sqlite", "assistants", "after:Submit", 1),
        ("sqlite", "assistants", "before:Harvest", 1),
        ("postgresql", "responses", "after:Create", 2),
        ("postgresql", "assistants", "after:Create", 1),
        ("postgresql", "assistants", "after:Submit", 1),
    ],
    indirect=["dialect"],
)
def test_a_kill_at_any_step_costs_nothing(
    make_rig: MakeRig,
    start_daemon: StartDaemon,
    folder: Path,
    provider: str,
    hang: str,
    creates: int,
) -> None:
    """After kill -9 before, during or after a call the run completes: the tool runs once, outputs
    arrive once and unchanged, and only `recreate` allows another response."""
    (folder / GO).touch()
    rig = make_rig(tools=[charge])
    run = rig.submit("sim-tool", provider, on_unknown="recreate=1")
    daemon = start_daemon("--tools", "service_tools", **{HANG: hang})
    daemon.expect("the step is reached", (folder / REACHED).exists)

    daemon.kill()
    done = rig.finish(run)[0]

    operation = "responses.create" if provider == "responses" else "runs.create"
    firsts = [made for made in rig.made(run, operation) if not made["detail"].get("outputs")]
    assert DONE == verdict(done)
    assert creates == len(firsts)
    assert ["charge"] == [trace["tool"] for trace in traces(folder)]
    assert ["charged"] == [output for _, output in rig.received(run)]


@pytest.mark.sampled(4)
@pytest.mark.problem(9)
@pytest.mark.failure(15)
@SQLITE
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hang", ["before:Cancel", "during:Cancel", "after:Cancel"])
def test_a_cancel_survives_a_kill(
    rig: Rig, start_daemon: StartDaemon, folder: Path, hang: str
) -> None:
    """A cancel that was under way at kill -9 reaches upstream all the same."""
    run = rig.submit("sim-stuck-in_progress")
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    rig.ledger.cancel(run)
    daemon = start_daemon("--tools", "service_tools", **{HANG: hang})
    daemon.expect("the cancel is reached", (folder / REACHED).exists)

    daemon.kill()
    done = rig.finish(run)[0]

    assert "cancelled" == done.state
    assert ["cancelled"] == [item["status"] for item in rig.sim.objects()]


@pytest.mark.problem(11)
@pytest.mark.failure(13)
def test_an_effect_that_was_cut_off_is_held(
    make_rig: MakeRig, start_daemon: StartDaemon, folder: Path
) -> None:
    """A tool with an effect that was killed in the middle is not run again: a person answers."""
    rig = make_rig(tools=[charge])
    run = rig.submit("sim-tool", "assistants")
    daemon = start_daemon("--tools", "service_tools")
    daemon.expect("the tool is at work", lambda: traces(folder) != [])
    daemon.kill()
    (folder / GO).touch()

    facts = rig.until(run, lambda facts: facts.run.needs_attention is not None)
    (call,) = rig.calls(run)
    rig.ledger.answer(run, call["call_id"], "the books say: charged")
    done = rig.finish(run)[0]

    assert ("requires_action", "unknown_outcome") == (facts.run.state, facts.run.needs_attention)
    assert ("started", True) == (call["state"], call["held"])
    assert 1 == len(traces(folder))
    assert DONE == verdict(done)
    assert ["the books say: charged"] == [output for _, output in rig.received(run)]


@pytest.mark.sampled(7)
@pytest.mark.problem(11)
@pytest.mark.parametrize("provider", ["responses", "assistants"])
@pytest.mark.parametrize("hang", ["before:Writes", "during:Writes", "after:Writes"])
def test_a_transactional_effect_happens_exactly_once(
    make_rig: MakeRig, start_daemon: StartDaemon, folder: Path, provider: str, hang: str
) -> None:
    """After kill -9 before, within or after the commit that holds it, the effect is there once."""
    (folder / GO).touch()
    rig = make_rig(tools=[book])
    rig.execute("CREATE TABLE booking (key TEXT, n INTEGER)")
    run = rig.submit("sim-tool", provider)
    daemon = start_daemon("--tools", "service_tools", **{HANG: hang})
    daemon.expect("the commit is reached", (folder / REACHED).exists)
    daemon.kill()

    there = [tuple(row) for row in rig.rows("SELECT n FROM booking")]
    done = rig.finish(run)[0]

    (call,) = rig.calls(run)
    committed = hang == "after:Writes"
    assert ([(1,)] if committed else []) == there
    assert [(call["key"], 1)] == [tuple(r) for r in rig.rows("SELECT key, n FROM booking")]
    assert (1 if committed else 2) == len(traces(folder)) == rig.kinds(run).count("tool_started")
    assert (DONE, True) == (verdict(done), call["transactional"])
    assert ["booked"] == [output for _, output in rig.received(run)]


@pytest.mark.sampled(4)
@pytest.mark.problem(11)
@pytest.mark.parametrize("policy", ["hold", "error_output", "rerun"])
def test_a_call_of_unknown_outcome_goes_by_policy(
    make_rig: MakeRig, start_daemon: StartDaemon, folder: Path, policy: str
) -> None:
    """Killed in the middle of an effect: held, answered with a doubt, or run again, and the
    history says that it was the run's policy."""
    rig = make_rig(tools=[charge])
    run = rig.submit("sim-tool", "assistants", on_unknown_outcome=policy)
    daemon = start_daemon("--tools", "service_tools")
    daemon.expect("the tool is at work", lambda: traces(folder) != [])
    daemon.kill()
    (folder / GO).touch()

    if policy == "hold":
        rig.until(run, lambda facts: facts.run.needs_attention is not None)
        rig.ledger.rerun(run, rig.calls(run)[0]["call_id"], reason="the books are clean")
    done = rig.finish(run)[0]

    (told,) = [output for _, output in rig.received(run)]
    said = {"on_unknown_outcome": policy, "said_by": "run"}
    if policy == "error_output":
        assert (1, "unknown_outcome") == (len(traces(folder)), json.loads(told)["error"]["type"])
        event = rig.event(run, "tool_finished")
    else:
        assert (2, "charged") == (len(traces(folder)), told)
        event = rig.event(run, "tool_rerun")
    if policy == "hold":
        said = {"reason": "the books are clean"}
    assert DONE == verdict(done)
    assert ("operator" if policy == "hold" else "policy") == event["source"]
    assert said.items() <= event["detail"].items()


@SQLITE
def test_a_tools_own_word_on_unknown_outcomes_wins(
    make_rig: MakeRig, start_daemon: StartDaemon, folder: Path
) -> None:
    """What the tool's author says goes before what the run says."""
    rig = make_rig(tools=[retry])
    run = rig.submit("sim-tool", "assistants", on_unknown_outcome="error_output")
    daemon = start_daemon("--tools", "service_tools")
    daemon.expect("the tool is at work", lambda: traces(folder) != [])
    daemon.kill()
    (folder / GO).touch()
    done = rig.finish(run)[0]

    assert (DONE, 2) == (verdict(done), len(traces(folder)))
    assert ["retried"] == [output for _, output in rig.received(run)]
    assert "tool" == rig.event(run, "tool_rerun")["detail"]["said_by"]


@SQLITE
def test_an_idempotent_tool_is_run_again_under_its_key(
    make_rig: MakeRig, start_daemon: StartDaemon, folder: Path
) -> None:
    """A tool that may be repeated is, and recognises the call by its key."""
    rig = make_rig(tools=[find])
    run = rig.submit("sim-tool", "assistants")
    daemon = start_daemon("--tools", "service_tools")
    daemon.expect("the tool is at work", lambda: traces(folder) != [])
    daemon.kill()
    (folder / GO).touch()

    done = rig.finish(run)[0]

    first, second = traces(folder)
    assert first["key"] == second["key"] == rig.calls(run)[0]["key"]
    assert DONE == verdict(done)


def test_a_terminated_daemon_drains(rig: Rig, start_daemon: StartDaemon) -> None:
    """SIGTERM ends a daemon with 0; its runs are free and its row says how it ended."""
    runs = [rig.submit("sim-stuck-in_progress") for _ in range(3)]
    daemon = start_daemon()
    daemon.expect(
        "all runs are in flight",
        lambda: all(rig.ledger.get(run).state == "in_progress" for run in runs),
    )

    code = daemon.drain()

    assert 0 == code, daemon.log.read_text()
    assert 0 == rig.scalar("SELECT COUNT(*) FROM watch WHERE owner IS NOT NULL")
    assert [("daemon", "drained")] == [
        tuple(row) for row in rig.rows('SELECT role, "end" FROM worker')
    ]
    assert 3 == rig.count("watch")


@pytest.mark.failure(4, 11)
def test_a_killed_daemon_is_succeeded(rig: Rig, start_daemon: StartDaemon, tmp_path: Path) -> None:
    """After kill -9 a second daemon takes the runs over at once and finishes everything."""
    runs = [
        rig.submit(model, provider)
        for provider in ("responses", "assistants")
        for model in ("sim-ok", "sim-slow", "sim-goes-back")
    ]
    first = start_daemon()
    first.expect(
        "work is in flight",
        lambda: any(rig.ledger.get(run).state == "in_progress" for run in runs),
    )
    first.kill()

    second = start_daemon("--drain")
    second.expect("all have a verdict", lambda: all(rig.ledger.get(run).final for run in runs))

    assert 0 == second.process.wait(20)
    assert {DONE} == {verdict(rig.ledger.get(run)) for run in runs}
    assert {1} == {len(rig.made(run, "responses.create")) for run in runs[:3]}
    ends = rig.rows('SELECT "end" FROM worker ORDER BY started_at')
    assert ["died", "drained"] == [row[0] for row in ends]
    assert [] == list(tmp_path.rglob("*.lock"))


@SQLITE
def test_a_daemon_obeys_a_drain_from_outside(rig: Rig, start_daemon: StartDaemon) -> None:
    """`workers drain` ends a daemon as SIGTERM does."""
    run = rig.submit("sim-stuck-in_progress")
    daemon = start_daemon("--lease-seconds", "3")
    daemon.expect("work is in flight", lambda: rig.ledger.get(run).state == "in_progress")
    (life,) = list_lives(rig.ledger.store, everything=False)

    assert [life["id"]] == ask_to_drain(rig.ledger, str(life["id"])[:8])
    assert 0 == daemon.process.wait(20)
    assert ("daemon", "alive", 1) == (life["role"], life["state"], life["runs"])
    told = rig.rows("SELECT kind FROM life_event WHERE kind <> 'migrated' ORDER BY id")
    assert ["started", "configured", "drained", "stopped"] == [row[0] for row in told]
