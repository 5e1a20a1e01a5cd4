"""What lives write of their limits for each other, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from support import NOW, Bench, later

from ledger.store.limits import (
    Known,
    MinuteRow,
    add_minutes,
    known_limits,
    minutes_since,
    write_known,
)

MINUTE = NOW.replace(second=0, microsecond=0)
SEEN = MinuteRow(
    minute=MINUTE, account_id=1, limit_seen=300, lowest_left=20, calls=5, refused=1, throttled=2,
    throttled_seconds=1.5,
)  # fmt: skip


def _write(bench: Bench, work: Callable[[sa.Connection], object]) -> None:
    with bench.store.engine.execution_options(write=True).begin() as connection:
        work(connection)


def _sql(bench: Bench, statement: str) -> None:
    _write(bench, lambda c: c.exec_driver_sql(statement))


def known(**fields: object) -> Known:
    given = Known(id=1, limit=300.0, left=20.0, limit_at=NOW, held_until=later(60), breaker=None)
    return replace(given, **fields)  # type: ignore[arg-type]


@pytest.mark.problem(20)
def test_a_hold_is_never_shortened_by_another_life(bench: Bench) -> None:
    """What one life was told holds for all, whoever writes after it; the rest is the newest."""
    bench.submit()
    for item in (known(), known(held_until=later(5), left=7.0), known(held_until=None, limit=50.0)):
        _write(bench, lambda c, item=item: write_known(c, [item]))

    (read,), _ = bench.store.read(known_limits)

    assert known(limit=50.0) == read
    _write(bench, lambda c: write_known(c, [known(held_until=later(90), breaker="open")]))
    (read,), _ = bench.store.read(known_limits)
    assert (later(90), "open") == (read.held_until, read.breaker)


def test_who_knows_nothing_takes_nothing_back(bench: Bench) -> None:
    """A life that only waited for calls, and made none, has seen no header."""
    bench.submit()
    _write(bench, lambda c: write_known(c, [known()]))
    _write(bench, lambda c: write_known(c, [known(limit=None, left=None, limit_at=None)]))

    (read,), _ = bench.store.read(known_limits)

    assert known() == read


def test_minutes_add_up(bench: Bench) -> None:
    """Several lives in one minute: sums, the lowest that was left, the limit last seen."""
    bench.submit()
    rows = [
        SEEN,
        replace(SEEN, limit_seen=None, lowest_left=None),
        replace(SEEN, limit_seen=200, lowest_left=3),
        replace(SEEN, lowest_left=9, limit_seen=None),
    ]
    for row in rows:
        _write(bench, lambda c, row=row: add_minutes(c, [row]))
    other = replace(SEEN, minute=MINUTE - timedelta(hours=30))
    _write(bench, lambda c: add_minutes(c, [other]))

    found = bench.store.read(lambda c: minutes_since(c, MINUTE - timedelta(hours=24)))

    total = replace(
        SEEN, limit_seen=200, lowest_left=3, calls=20, refused=4, throttled=8, throttled_seconds=6.0
    )
    assert [total] == found
    assert [other, total] == bench.store.read(lambda c: minutes_since(c, other.minute))


def test_lives_are_counted_until_they_end(bench: Bench) -> None:
    """All of them: a command that waits for its run is one too."""
    before = bench.store.read(known_limits)[1]
    _sql(
        bench,
        "INSERT INTO worker (id, role, host, boot_id, pid, pid_started, version, "
        "started_at, heartbeat_at, beat, lease_until, drain) VALUES "
        "('x', 'wait', 'h', 'b', 1, '', '1', '2026-01-01', '2026-01-01', 0, 0, false)",
    )
    assert before + 1 == bench.store.read(known_limits)[1]
    _sql(bench, "UPDATE worker SET ended_at = '2026-01-01' WHERE id = 'x'")
    assert before == bench.store.read(known_limits)[1]
