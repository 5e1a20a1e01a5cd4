"""How long an object took: what both clocks allow, and never the delay of our own look."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support import NOW, later

from ledger.core.pacing.lasting import Timed, lasted, taught


def took(judge: Callable[[Timed], float | None] = lasted, **fields: Any) -> float | None:
    usual: dict[str, Any] = {
        "observed_status": "completed",
        "round": 0,
        "sent_at": NOW,
        "live_at": later(10),
        "observed_at": later(20),
        "remote_created_at": None,
        "remote_ended_at": None,
    }
    return judge(SimpleNamespace(**usual | fields))  # type: ignore[arg-type]


def test_without_upstreams_times_it_is_between_two_looks() -> None:
    """The middle of the last look that saw it live and the first that saw its end."""
    assert [15.0, 10.0, 0.0] == [took(), took(live_at=None), took(live_at=None, observed_at=NOW)]


@pytest.mark.problem(6)
def test_upstreams_times_narrow_it_down() -> None:
    """Whole seconds by their clock, which need not be ours; where the two cannot both be right,
    ours is taken."""
    ends = {"remote_created_at": later(1_000)}
    assert [12.0, 10.5, 15.0] == [
        took(**ends, remote_ended_at=later(1_012)),
        took(**ends, remote_ended_at=later(1_010)),
        took(**ends, remote_ended_at=later(1_500)),
    ]
    assert took(sent_at=None, remote_created_at=NOW, remote_ended_at=later(7)) == 7.0


def test_an_outage_of_ours_teaches_nothing() -> None:
    """An hour between two looks is no duration, unless upstream's own times say one."""
    late: dict[str, Any] = {"observed_at": later(3_610)}
    theirs = {"remote_created_at": later(1), "remote_ended_at": later(31)}
    assert [1_810.0, 30.0] == [took(**late), took(**late, **theirs)]
    assert [None, 30.0, 330.0, None] == [
        took(judge=taught, **fields)
        for fields in (
            late,
            late | theirs,
            {"observed_at": later(650)},
            {"observed_status": "queued"},
        )
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"observed_status": "cancelled"},
        {"observed_status": "in_progress"},
        {"observed_status": None},
        {"round": 1},
        {"sent_at": None},
        {"observed_at": None},
        {"remote_created_at": NOW, "remote_ended_at": later(-90), "sent_at": None},
    ],
)
def test_what_says_nothing_of_the_class_is_left_out(fields: dict[str, Any]) -> None:
    """Cancelled, still going, waiting for tools in between, or never sent by us."""
    assert took(**fields) is None
