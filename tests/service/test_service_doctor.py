"""doctor counts what waits for a person, names the oldest, and what settles it."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, Rig

from ledger.service.doctor import Finding, examine


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
