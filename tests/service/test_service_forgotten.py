"""A run whose request is not kept: erased at its end, and still told from any other."""

from __future__ import annotations

from typing import Any

import pytest
from service_rig import MakeRig, Rig, request
from support import SQLITE

from ledger import Conflict, InvalidInput, NotAllowed

CANARY = "CANARY-7f3a"


def kept(rig: Rig, run: Any) -> list[bool]:
    """Whether salt and bytes of a run's request are there."""
    row = rig.rows("SELECT salt, body FROM payload WHERE run_id = :run AND n = 1", run=run.id)[0]
    return [value is not None for value in row]


@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_the_request_is_erased_with_the_verdict(rig: Rig, provider: str) -> None:
    """Salt and bytes go in the transaction that ends the run; the digest and the chain stay."""
    run = rig.submit("sim-ok", provider, forget_request=True, instructions=CANARY)
    assert [True, True] == kept(rig, run)
    rig.settle(run)

    assert [False, False] == kept(rig, run)
    assert "4" == rig.ledger.result(run)
    assert rig.ledger.show(run)["request"] is None
    checked = rig.ledger.verify()
    assert ((), 1) == (checked.broken, checked.erased)
    assert "" == str(rig.ledger.get(run).policy.restart).strip("()")


@pytest.mark.problem(28)
def test_it_stays_until_the_last_remote_is_settled(make_rig: MakeRig) -> None:
    """A verdict with a tail is not the end: the request goes when nothing is left to watch."""
    rig = make_rig()
    run = rig.submit("sim-slow", forget_request=True, deadline=0.5)
    seen: list[tuple[bool, bool]] = []
    rig.until(run, lambda facts: seen.append((facts.watched, all(kept(rig, run)))) or False
              if facts.watched else True)  # fmt: skip

    assert {(True, True)} == set(seen)
    assert [False, False] == kept(rig, run)


def test_the_same_request_is_still_the_same_run(rig: Rig) -> None:
    """By a digest keyed with the credential: another request is a Conflict, before and after."""
    asked = request("sim-ok", key="once", forget_request=True)
    run = rig.ledger.submit(**asked)
    assert run.id == rig.ledger.submit(**asked).id
    rig.settle(run)

    assert run.id == rig.ledger.submit(**asked).id
    assert run.id == rig.ledger.submit(**{**asked, "forget_request": None}).id
    with pytest.raises(Conflict):
        rig.ledger.submit(**{**asked, "input": "What is 3+3?"})


def test_a_run_that_is_kept_is_not_touched(rig: Rig) -> None:
    """Without the flag the request stays."""
    run = rig.settle(rig.submit("sim-ok"))[0]

    assert [True, True] == kept(rig, run)


def test_it_has_no_restart(rig: Rig) -> None:
    """Neither by policy nor by hand, and the refusal says why."""
    run = rig.settle(rig.submit("sim-fail-server_error", forget_request=True))[0]
    with pytest.raises(NotAllowed, match="forget_request"):
        rig.ledger.restart(run)


@SQLITE
@pytest.mark.parametrize(
    "wrong", [{"restart": "expired=1"}, {"forget_request": "yes"}, {"forget_request": []}]
)
def test_what_cannot_be_is_refused(rig: Rig, wrong: dict[str, Any]) -> None:
    """Rules for a restart that cannot happen, and values that are neither true nor false."""
    with pytest.raises(InvalidInput, match="forget_request"):
        rig.submit("sim-ok", **{"forget_request": True, **wrong})
    assert rig.submit("sim-ok", forget_request=True, restart="none")
