"""Nothing hangs for ever: what upstream never ends, the run's own deadline does."""

from __future__ import annotations

import pytest
from service_rig import MakeRig, Rig, verdict
from support import SQLITE

from ledger.clock import utcnow

LATE = ("expired", 1, "deadline", "ledger", None)
FAMILIES = pytest.mark.parametrize("provider", ["responses", "assistants"])


@pytest.mark.failure(12, 17)
@FAMILIES
@pytest.mark.parametrize("where", ["queued", "in_progress"])
def test_a_stuck_run_expires_and_its_tail_is_settled(rig: Rig, provider: str, where: str) -> None:
    """A run past its deadline expires; the object that it leaves is cancelled and watched out."""
    run = rig.submit(f"sim-stuck-{where}", provider, deadline=1.5)

    expired = rig.finish(run)[0]
    done = rig.settle(run)[0]

    assert LATE == verdict(expired) == verdict(done)
    assert ["cancelled"] == [item["status"] for item in rig.sim.objects()]
    assert {"settled": True, "observed_status": "cancelled"}.items() <= rig.remotes(run)[-1].items()
    assert 0 == rig.count("watch")


@pytest.mark.failure(12)
@SQLITE
@FAMILIES
def test_a_run_without_a_handler_expires(rig: Rig, provider: str) -> None:
    """A call that nobody answers waits no longer than the deadline."""
    run = rig.settle(rig.submit("sim-tool", provider, deadline=1.5))[0]

    assert LATE == verdict(run)
    assert ["requested"] == [call["state"] for call in rig.calls(run)]
    assert 0 == rig.count("watch")


@SQLITE
def test_upstream_expiry_is_the_truth(rig: Rig) -> None:
    """A run that upstream expires ends expired, by upstream's word."""
    assert ("expired", 1, None, "remote", None) == verdict(
        rig.run("sim-expire", "assistants", restart="none")
    )


@SQLITE
@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_well_ends_at_the_deadline(make_rig: MakeRig) -> None:
    """Reads that always fail are repeated, recorded once, and bounded by the deadline."""
    rig = make_rig({"faults": [{"operation": "*.retrieve", "fault": "http-503-before"}]})
    run = rig.run("sim-ok", deadline=1.5)

    # Whether upstream completes it before our cancel arrives is upstream's affair.
    assert LATE[:4] == verdict(run)[:4]
    assert 1 == rig.kinds(run).count("trouble")


@SQLITE
def test_an_expired_run_does_not_restart_by_its_own_deadline(rig: Rig) -> None:
    """The run's own deadline is the end of all attempts."""
    run = rig.run("sim-stuck-queued", deadline=0.5, restart="expired=3")

    assert LATE == verdict(run)
    assert "restarted" not in rig.kinds(run)


@SQLITE
def test_a_life_that_may_not_act_does_not_go_round_in_circles(rig: Rig) -> None:
    """Behind the deadline a tail waits for the life's own lock as patiently as before it."""
    run = rig.submit("sim-stuck-in_progress", deadline=1.5)
    rig.until(run, lambda facts: facts.run.state == "in_progress")
    with rig.daemon() as reconciler:
        reconciler.heart.may_act = lambda: False
        rig.expect(lambda: rig.ledger.get(run).final)
        (entry,) = reconciler.holdings.agenda.entries.values()
        rig.expect(lambda: entry.due > utcnow())
        assert ["expired", None] == [
            rig.ledger.get(run).state,
            entry.facts.remotes[0].cancel_sent_at,
        ]


@SQLITE
def test_a_profile_has_a_deadline_of_its_own(make_rig: MakeRig) -> None:
    """Unless the caller names one; where neither does, the common one counts."""
    rig = make_rig(profiles={"quick": {"deadline": "10m"}, "other": {}}, deadline="2h")
    runs = [
        rig.submit(profile="quick"),
        rig.submit(profile="quick", deadline="5m"),
        rig.submit(profile="other"),
    ]
    assert [600.0, 300.0, 7_200.0] == [run.policy.deadline_seconds for run in runs]
