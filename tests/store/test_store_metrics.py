"""Counting the event log: everything once, however commits and reads fall together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from support import NOW, POSTGRESQL, Bench, later, response, seen

from ledger.clock import wait_until
from ledger.core.alphabet import Source
from ledger.core.policy import Policy, parse_restart
from ledger.service.metrics import ERROR_CODES_MAX, OTHER, Measure
from ledger.store.metrics import LAG_SECONDS, Mark, Tally, gauges, tally

COPY = (
    "INSERT INTO event (run_id, seq, kind, from_state, trigger, to_state, source, actor, "
    "recorded_at, attempt, prev_hash, hash, txid) "
    "SELECT run_id, :seq, 'restarted', 'failed', 'restart', 'queued', 'operator', actor, "
    "recorded_at, attempt, hash, hash, pg_current_xact_id()::text::bigint FROM event WHERE seq = 1"
)


def let_others_end(bench: Bench) -> None:
    """Wait for the transactions that other tests have under way on the same server."""
    if bench.store.dialect == "postgresql":
        began = bench.scalar("SELECT pg_current_xact_id()::text::bigint")
        oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        assert wait_until(lambda: bench.scalar(oldest) > began, seconds=20)


class Count:
    """Restarts counted so far, read after read."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self.mark, self.restarts = bench, Mark(), 0.0

    def read(self) -> float:
        """Go on; the total."""
        mark = self.mark
        since, self.mark = self._bench.store.read(lambda c: tally(c, mark))
        self.restarts += sum(since.restarts.values())
        return self.restarts


class Session:
    """A transaction that writes events and takes its time."""

    def __init__(self, bench: Bench) -> None:
        self._connection = bench.store.engine.connect()
        self._connection.exec_driver_sql("SELECT pg_current_xact_id()")

    def write(self, seq: int) -> None:
        """One more restart of the only run."""
        self._connection.execute(sa.text(COPY), {"seq": seq})

    def commit(self) -> None:
        """Let others see it."""
        self._connection.commit()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@pytest.fixture
def sessions(bench: Bench) -> Iterator[Any]:
    """Makes sessions."""
    with ExitStack() as stack:

        def make() -> Session:
            session = Session(bench)
            stack.callback(session.close)
            return session

        yield make


@POSTGRESQL
@pytest.mark.parametrize("reads", [0, 1, 3])
def test_a_lower_id_that_commits_later_is_counted(bench: Bench, sessions: Any, reads: int) -> None:
    """Ids are drawn before they are visible: the log is not read by id alone."""
    bench.submit()
    count = Count(bench)
    count.read()
    early, late = sessions(), sessions()
    late.write(10)
    early.write(11)
    early.commit()
    for _ in range(reads):
        count.read()
    late.commit()
    let_others_end(bench)

    assert [2, 2, 2] == [count.read() for _ in range(3)]


@POSTGRESQL
@pytest.mark.parametrize("reads", [0, 1, 3])
def test_a_higher_transaction_waits_for_a_lower_one(
    bench: Bench, sessions: Any, reads: int
) -> None:
    """What began later and ended earlier is counted with it, and not twice."""
    bench.submit()
    count = Count(bench)
    early, late = sessions(), sessions()
    late.write(10)
    late.commit()
    seen_early = [count.read() for _ in range(reads)]
    early.write(11)
    early.commit()

    let_others_end(bench)
    assert [0] * reads == seen_early
    assert [2, 2] == [count.read() for _ in range(2)]


@POSTGRESQL
def test_the_log_is_not_read_from_its_beginning(bench: Bench, sessions: Any) -> None:
    """Once all is counted, the next read begins at the newest event."""
    bench.submit()
    count = Count(bench)
    for seq in (10, 11, 12):
        writing = sessions()
        writing.write(seq)
        writing.commit()
        let_others_end(bench)
        count.read()
    newest = bench.scalar("SELECT MAX(id) FROM event")
    count.read()
    count.read()

    assert (3, newest) == (count.restarts, count.mark.floor)


def whole(bench: Bench) -> Tally:
    """All that the log has."""
    let_others_end(bench)
    return bench.store.read(lambda c: tally(c, Mark()))[0]


def test_an_end_that_policy_restarts_is_no_verdict(bench: Bench) -> None:
    """The run goes on; the restart is counted, and the end that was the last one."""
    policy = Policy(restart=parse_restart("failed:invalid=1"))
    for _ in range(2):
        facts = bench.sending(policy=policy)
        body = response("failed", remote_id=f"resp_{facts.run.id}", error={"code": "invalid"})
        facts = bench.take(facts, seen(body), source=Source.create)
    body = response("failed", remote_id="resp_last", error={"code": "invalid"})
    bench.take(bench.sending(policy=Policy(restart=())), seen(body))

    found = whole(bench)
    assert {("responses", "failed", "invalid"): 1} == found.finished
    assert {("policy",): 2} == found.restarts
    assert {("responses",): 3} == found.submitted


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (-5.0, 0), (0.3, 2), (4.0, 5), (10_000.0, len(LAG_SECONDS))]
)
def test_the_lag_is_from_upstreams_end_to_our_record(
    bench: Bench, seconds: float, bucket: int
) -> None:
    """A clock that is ahead of ours makes none; an object that names no end is not counted."""
    ended = later(-seconds)
    facts = bench.sending()
    outcome = seen(response("completed", output=[{"type": "message"}]))
    observation = replace(outcome.observation, ended_at=ended)
    bench.take(facts, replace(outcome, observation=observation))
    other = bench.sending()
    nameless = response("completed", remote_id="resp_2", output=[{"type": "message"}])
    bench.take(other, seen(nameless))
    buckets, total = whole(bench).lag["poll"]

    assert [int(n == bucket) for n in range(len(LAG_SECONDS) + 1)] == buckets
    assert max(seconds, 0.0) == pytest.approx(total, abs=0.001)


def test_what_nobody_drives_is_overdue(bench: Bench) -> None:
    """Due and nobody's, or past its deadline; what a life owns is planned in its memory."""
    bench.submit()
    owned = bench.owned()
    short = bench.submit(policy=Policy(deadline_seconds=3_600))
    bench.execute(f"UPDATE watch SET owner = 'me' WHERE run_id = {short.run.id}")
    lives = bench.store.lives

    def overdue(seconds: float) -> int:
        return bench.store.read(lambda c: gauges(c, lives, later(seconds))).overdue

    assert owned.owner == "me"
    assert [0, 1, 2] == [overdue(29), overdue(31), overdue(3_631)]


def test_error_codes_are_bounded(bench: Bench) -> None:
    """Upstream may send any text: the first fifty keep their names, for good."""
    measure = Measure(bench.store, clock=iter(range(0, 1_000, 10)).__next__, wall=lambda: NOW)
    for n in range(ERROR_CODES_MAX + 3):
        facts = bench.sending()
        body = response("failed", remote_id=f"resp_{n}", error={"code": f"code-{n}"})
        bench.take(facts, seen(body))
        if n == 1:
            let_others_end(bench)
            measure.read()
    let_others_end(bench)
    finished = measure.read().total.finished

    codes = {code for _, _, code in finished}
    assert ERROR_CODES_MAX + 1 == len(codes)
    assert {"code-0", "code-1", OTHER} <= codes
    assert 3 == finished["responses", "failed", OTHER]
    assert ERROR_CODES_MAX + 3 == sum(finished.values())
