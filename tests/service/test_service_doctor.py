"""doctor counts what waits for a person, names the oldest, and what settles it."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, Rig
from support import SQLITE

from ledger import tool
from ledger.service.doctor import Finding, examine
from ledger.store.invariants import INVARIANTS, broken


def found(rig: Rig, name: str) -> Finding:
    """The finding of this name."""
    (one,) = [finding for finding in examine(rig.ledger) if finding.name == name]
    return one


def test_a_ledger_at_rest_has_nothing_to_settle(rig: Rig) -> None:
    """Every kind is asked about, and each is in order."""
    rig.run()

    for name in ("unresolved creates", "tails", "contradictions", "results expiring"):
        assert (True, "none", "") == (
            (one := found(rig, name)).ok, one.what, one.fix
        )  # fmt: skip


@pytest.mark.failure(13)
def test_an_unresolved_create_names_the_price(rig: Rig) -> None:
    """How many, the oldest, what each choice can cost, and the command that settles it."""
    first = rig.run("sim-drop-after")
    rig.run("sim-drop-after")
    one = found(rig, "unresolved creates")

    assert one.ok is False
    assert one.what.startswith("2: ")
    assert f"the oldest is run {first.id}" in one.what
    assert "on_unknown=fail may waste one paid run, recreate=N may pay for N+1" in one.fix
    assert f"runward adopt ID --run {first.id}" in one.fix


@pytest.mark.failure(13)
@pytest.mark.parametrize(("model", "name"), [("sim-empty", "contradictions"),
                                             ("sim-vanish", "results lost")])  # fmt: skip
def test_a_flagged_run_is_counted_under_its_kind(make_rig: MakeRig, model: str, name: str) -> None:
    """Each reason for attention has its own count and its own remedy."""
    rig = make_rig()
    run = rig.run(model)

    assert (False, True) == ((one := found(rig, name)).ok, f"run {run.id} " in one.what)
    assert f" {run.id} " in one.fix


@SQLITE
def test_what_was_sent_is_held_against_what_was_recorded_and_not_against_the_clock(
    make_rig: MakeRig,
) -> None:
    """A clock that somebody set back between an output and its sending breaks no promise; an output
    that was sent and is on no record does."""

    @tool
    def plain(query: str) -> str:
        return query

    rig = make_rig(tools=[plain])
    run = rig.run("sim-tool", metadata={"sim_tool": "plain"})
    sent = next(invariant for invariant in INVARIANTS if invariant.number == 6)
    finished = rig.scalar("SELECT finished_at FROM tool_call")

    rig.execute("UPDATE tool_call SET sent_at = '2020-01-01 00:00:00'")
    assert [] == rig.ledger.store.read(lambda c: broken(c, sent))
    rig.execute("UPDATE tool_call SET finished_at = NULL")
    assert [run.id] == rig.ledger.store.read(lambda c: broken(c, sent))
    rig.execute("UPDATE tool_call SET finished_at = :finished", finished=finished)
