"""Every upstream call is counted once: for its run, and for its hour."""

from __future__ import annotations

from collections import Counter

from service_rig import MakeRig, Rig
from support import SQLITE

from ledger import Ledger, Run, tool
from ledger.service.limits import limits

READS = "responses.retrieve"


def hourly(rig: Rig) -> Counter[str]:
    """What the hours say, as the runs would."""
    rows = rig.rows("SELECT operation, outcome, SUM(calls) FROM api_usage GROUP BY 1, 2")
    return Counter({f"{row[0]}.{row[1]}": int(row[2]) for row in rows})


def asked(rig: Rig) -> int:
    """All requests that the simulator has answered."""
    return sum(rig.sim.reads().values()) + len(rig.sim.log())


def test_looks_without_news_are_told_apart(make_rig: MakeRig) -> None:
    """The run, the hours and upstream agree on every call; most looks were for nothing."""
    rig = make_rig({"durations": {"slow": 10}}, poll_seconds=0.05)
    run = rig.run("sim-slow")

    counts = dict(run.call_counts)
    assert (1, True) == (counts.pop("create.ok"), counts["observe.unchanged"] >= 5)
    assert {"observe.ok", "observe.unchanged"} == set(counts)
    assert rig.sim.reads()[READS] == sum(counts.values())
    assert asked(rig) == run.calls == sum(run.call_counts.values())
    assert Counter(run.call_counts) == hourly(rig)


def test_failed_calls_count_by_the_class_of_their_error(make_rig: MakeRig) -> None:
    """What upstream refused or lost was asked all the same."""
    rule = {"operation": READS, "times": 3, "fault": "http-500"}
    rig = make_rig({"faults": [rule]}, poll_seconds=0.05)
    run = rig.run("sim-ok")

    assert 3 == run.call_counts["observe.ServerTrouble"], run.call_counts
    assert Counter(run.call_counts) == hourly(rig)


@SQLITE
def test_without_a_credential_there_is_no_call(make_rig: MakeRig) -> None:
    """A life that no profile leads to the account sends nothing, and so counts nothing."""
    rig = make_rig()
    run = rig.submit("sim-ok")
    with Ledger.open(rig.url, openai_base_url="http://127.0.0.1:9/v1") as elsewhere:
        other = Rig(rig.url, rig.sim, elsewhere)
        with other.daemon() as life:
            rig.expect(lambda: rig.ledger.get(run).needs_attention is not None)
            rig.expect(lambda: life.busy == 0)
    assert (0, 0, Counter()) == (asked(rig), rig.ledger.get(run).calls, hourly(rig))


@SQLITE
def test_an_address_that_is_none_stops_its_account(make_rig: MakeRig) -> None:
    """It is a mistake in the configuration, and no error of ours: it is said, where runs are."""
    rig = make_rig()
    with Ledger.open(rig.url, openai_base_url="127.0.0.1:9/v1") as elsewhere:
        other = Rig(rig.url, rig.sim, elsewhere)
        run = other.submit("sim-ok")
        with other.daemon():
            rig.expect(lambda: rig.ledger.get(run).needs_attention is not None)
            rig.expect(lambda: limits(elsewhere)[0]["state"] == "stopped")
    assert (0, Counter()) == (rig.ledger.get(run).calls, hourly(rig))


def test_a_restarted_run_counts_all_its_attempts(make_rig: MakeRig) -> None:
    """The counts go on where the attempt before ended."""
    rig = make_rig()
    run = rig.run("sim-fail-server_error-once", restart="failed:server_error=1")

    assert ("completed", 2, 2) == (str(run.state), run.attempts, run.call_counts["create.ok"])
    assert asked(rig) == run.calls


def test_a_chain_and_its_tools_count_too(make_rig: MakeRig) -> None:
    """Writes between the calls lose none of them."""

    @tool
    def add(query: str) -> str:
        return query

    rig = make_rig(tools=[add])
    run = rig.run("sim-tool", metadata={"sim_tool": "add"})

    assert "completed" == str(run.state)
    assert asked(rig) == run.calls


def test_what_stands_in_memory_is_flushed(make_rig: MakeRig) -> None:
    """A life that lets go, or whose minute is over, writes what it counted: once."""
    rig = make_rig({"durations": {"slow": 600}}, poll_seconds=0.01)
    run = rig.submit("sim-slow")
    with rig.daemon(flush_seconds=0.2):
        rig.expect(lambda: seen(rig, run)["observe.unchanged"] > 3)
        first = seen(rig, run)["observe.unchanged"]
        rig.expect(lambda: seen(rig, run)["observe.unchanged"] > first)
    assert asked(rig) == rig.ledger.get(run).calls
    assert Counter(rig.ledger.get(run).call_counts) == hourly(rig)
    rig.ledger.cancel(run)
    rig.settle(run)
    assert asked(rig) == rig.ledger.get(run).calls


def test_failed_looks_alone_are_flushed(make_rig: MakeRig) -> None:
    """They are no news for the history after the first of them, and are counted all the same."""
    rule = {"operation": READS, "times": 50, "fault": "http-500"}
    rig = make_rig({"durations": {"slow": 600}, "faults": [rule]}, poll_seconds=0.01)
    run = rig.submit("sim-slow")
    with rig.daemon():
        rig.expect(lambda: asked(rig) >= 4)
    assert asked(rig) == rig.ledger.get(run).calls
    rig.ledger.cancel(run)
    rig.settle(run)


def seen(rig: Rig, run: Run) -> Counter[str]:
    """What is written so far."""
    return Counter(rig.ledger.get(run).call_counts)
