"""Whether webhooks really come is measured: a profile without them is polled until they do."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from service_rig import Rig
from webhook_rig import SECRET, VARIABLE, delivery, event, receive

from ledger.clock import utcnow
from ledger.core.delivery import TEST_EVENT
from ledger.core.outcome import Observation, Observed
from ledger.providers import open_provider
from ledger.service.accounts import Accounts
from ledger.service.coverage import GAP_ENDS, GRACE_SECONDS, Coverage

COVERED = frozenset({"default"})


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


class Life:
    """What one life knows of coverage, with the time passed in."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.accounts = Accounts(rig.ledger.credentials, open_provider)
        self.accounts.learn(rig.ledger.store)
        ledger = rig.ledger
        self.coverage = Coverage(ledger.store, ledger.writer, COVERED, self.accounts.records)
        self.woken: list[str] = []
        self.coverage.on_gap = self.woken.append

    def covers(self, provider: str = "responses") -> bool:
        (account,) = [r for r in self.accounts.records.values() if r.provider == provider]
        return self.coverage.covers(account.id, provider)

    def sees_end(self, run_id: int, now: datetime) -> str:
        """This life read the run's object, and it had ended since the last look."""
        after = self.rig.ledger.facts(run_id)
        remote = after.remotes[-1]
        before = after.__class__(
            run=after.run, attempts=after.attempts, remotes=(*after.remotes[:-1],)
        )
        seen = Observation(kind=remote.kind, remote_id=remote.remote_id)
        self.coverage.saw(before, after, Observed(n=remote.n, observation=seen), now)
        assert remote.remote_id
        return remote.remote_id

    def check(self, now: datetime) -> None:
        asyncio.run(self.coverage.check(now))


def tally(rig: Rig) -> dict[str, int]:
    """What was counted of ends."""
    rows = rig.rows("SELECT result, requests FROM receipt WHERE profile = 'default'")
    return {result: n for result, n in rows if result in ("told", "missed")}


@pytest.mark.problem(12)
def test_ends_without_a_delivery_make_a_gap_and_the_next_delivery_heals_it(rig: Rig) -> None:
    """Three in a row, and the profile is polled; it is an event that stays readable."""
    runs = rig.finish(*[rig.submit() for _ in range(GAP_ENDS + 1)])
    life, now = Life(rig), utcnow()
    later = now + timedelta(seconds=GRACE_SECONDS)
    assert life.covers()

    for run in runs[:GAP_ENDS]:
        life.sees_end(run.id, now)
    life.check(now + timedelta(seconds=GRACE_SECONDS - 1))
    assert ({}, True) == (tally(rig), life.covers())
    life.check(later)

    assert ({"missed": GAP_ENDS}, False) == (tally(rig), life.covers())
    assert ["default"] == life.woken
    assert [("default", GAP_ENDS, None)] == rig.rows("SELECT profile, missed, closed_at FROM gap")
    other = Life(rig)
    other.check(later)
    assert (False, ["default"]) == (other.covers(), other.woken)

    receive(rig, delivery(life.sees_end(runs[-1].id, later)))
    rig.execute("UPDATE gap SET noticed_at = since")
    for each in (life, other):
        each.check(later + timedelta(seconds=GRACE_SECONDS))
        assert each.covers()

    assert {"missed": GAP_ENDS, "told": 1} == tally(rig)
    assert [1] == [row[0] for row in rig.rows("SELECT COUNT(closed_at) FROM gap")]


def test_some_lost_deliveries_are_no_gap(rig: Rig) -> None:
    """One that came in between says that the way is open."""
    runs = rig.finish(*[rig.submit() for _ in range(2 * GAP_ENDS)])
    life, now = Life(rig), utcnow()
    ids = [life.sees_end(run.id, now) for run in runs]

    receive(rig, delivery(ids[GAP_ENDS - 1]))
    life.check(now + timedelta(seconds=GRACE_SECONDS))

    assert {"missed": 2 * GAP_ENDS - 1, "told": 1} == tally(rig)
    assert (0, True) == (rig.count("gap"), life.covers())


def test_a_delivery_of_our_own_heals_no_gap(rig: Rig) -> None:
    """`runward webhook test` shows that the receiver works, and nothing about upstream."""
    runs = rig.finish(*[rig.submit() for _ in range(GAP_ENDS)])
    life, now = Life(rig), utcnow()
    for run in runs:
        life.sees_end(run.id, now)
    life.check(now + timedelta(seconds=GRACE_SECONDS))

    receive(rig, delivery(body=event("test_1", TEST_EVENT)))
    rig.execute("UPDATE gap SET noticed_at = since")
    life.check(now + timedelta(seconds=GRACE_SECONDS + 1))

    assert (False, [(None,)]) == (life.covers(), rig.rows("SELECT closed_at FROM gap"))


def test_thread_runs_are_never_covered(rig: Rig) -> None:
    """Upstream sends nothing about them, whatever the profile says."""
    rig.run(provider="assistants")
    assert not Life(rig).covers("assistants")
