"""A refused credential, a closed service or an empty purse stops the account, never the runs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from service_rig import KEY, MakeRig, Rig, verdict
from support import SQLITE

from ledger import Ledger
from ledger.clock import utcnow
from ledger.service import gates

DONE = ("completed", 1, None, None, None)
STOPS = [
    ("sk-bad-0123456789", "blocked: credentials", "AuthenticationRefused"),
    ("sk-forbidden-0123456789", "blocked: credentials", "PermissionRefused"),
    ("sk-broke-0123456789", "blocked: insufficient_quota", "QuotaExhausted"),
]


@pytest.mark.problem(20, 30)
@SQLITE
@pytest.mark.parametrize("provider", ["responses", "assistants"])
@pytest.mark.parametrize(("key", "why", "stopped"), STOPS)
def test_a_refused_key_stops_the_account_and_keeps_the_runs(
    make_rig: MakeRig, provider: str, key: str, why: str, stopped: str
) -> None:
    """The runs stay queued and say why; the account is tried again a minute later, not before."""
    rig = make_rig(key=key)
    runs = [rig.submit("sim-ok", provider) for _ in range(3)]

    with rig.daemon(concurrency=1) as reconciler:
        rig.expect(lambda: rig.ledger.get(runs[0]).needs_attention is not None)
        gate = reconciler.driver._accounts.gate(1)

    assert (stopped, 1) == (gate.stopped, gate.failures)
    assert timedelta(seconds=50) < gate.not_before - utcnow() <= timedelta(seconds=60)
    assert 1 == len(rig.sim.log())
    assert {"queued"} == {rig.ledger.get(run).state for run in runs}
    assert why == rig.ledger.get(runs[0]).needs_attention
    assert stopped == rig.scalar("SELECT stopped_why FROM account")


@pytest.mark.parametrize("provider", ["responses", "assistants"])
def test_a_new_key_heals(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """With a good key in the environment, the next life goes on with the same runs."""
    rig = make_rig(key="sk-bad-0123456789")
    run = rig.submit("sim-ok", provider)
    rig.until(run, lambda facts: facts.run.needs_attention is not None)

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Ledger.open(rig.url, poll_seconds=0.05) as ledger:
        done = Rig(rig.url, rig.sim, ledger).finish(run)[0]

    assert DONE == verdict(done)
    assert None is rig.scalar("SELECT stopped_why FROM account WHERE id = 1")


@SQLITE
def test_a_closed_service_is_named_with_its_date(make_rig: MakeRig) -> None:
    """Where the whole collection answers 404, the run says when the service ended and what to use
    instead."""
    gone = [
        {"operation": pattern, "fault": "http-404"} for pattern in ("threads.*", "assistants.*")
    ]
    rig = make_rig({"faults": gone})
    run = rig.submit("sim-ok", "assistants")

    facts = rig.until(run, lambda facts: facts.run.needs_attention is not None)

    assert "blocked: service_gone" == facts.run.needs_attention
    said = rig.event(run, "attention")["detail"]["message"]
    assert "2026-08-26" in said
    assert "responses" in said
    assert "ServiceGone" == rig.scalar("SELECT stopped_why FROM account")


@SQLITE
def test_one_account_does_not_stop_another(make_rig: MakeRig) -> None:
    """The families are accounts of their own: a closed one leaves the other at work."""
    gone = [
        {"operation": pattern, "fault": "http-404"} for pattern in ("threads.*", "assistants.*")
    ]
    rig = make_rig({"faults": gone})
    blocked = rig.submit("sim-ok", "assistants")
    open_one = rig.submit("sim-ok", "responses")

    rig.until(blocked, lambda facts: facts.run.needs_attention is not None)

    assert DONE == verdict(rig.finish(open_one)[0])
    assert "queued" == rig.ledger.get(blocked).state


@pytest.mark.failure(17)
@SQLITE
def test_a_blocked_run_still_has_a_deadline(make_rig: MakeRig) -> None:
    """A stopped account does not keep a run alive for ever."""
    rig = make_rig(key="sk-bad-0123456789")

    assert ("expired", 1, "deadline", "ledger", None) == verdict(rig.run("sim-ok", deadline=0.6))


@pytest.mark.problem(20)
@SQLITE
@pytest.mark.usefixtures("impatient")
def test_a_run_that_is_always_refused_does_not_take_every_probe(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key may not use one model, which stops the account: the next probes are those of other
    runs, and one finds out that the account works."""
    monkeypatch.setattr(gates, "PROBE_SECONDS", 0.5)
    rule = {"operation": "*.create", "model": "sim-ok", "fault": "http-403-before"}
    rig = make_rig({"faults": [rule]})
    refused = [rig.submit("sim-ok") for _ in range(2)]
    allowed = rig.submit("sim-instant")

    with rig.daemon(concurrency=1):
        rig.expect(lambda: rig.ledger.get(allowed).final)

    assert DONE == verdict(rig.ledger.get(allowed))
    assert {"queued"} == {rig.ledger.get(run).state for run in refused}
    creates = [
        entry["accepted"] for entry in rig.sim.log() if entry["operation"].endswith("create")
    ]
    assert [False, False, True] == creates[:3]
