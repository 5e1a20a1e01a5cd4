"""A history as stretches and marks, and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support import NOW, later

from ledger.core.alphabet import EventKind, Source, State
from ledger.core.timeline import timeline
from ledger.service.rendering.drawing import draw, lasting


@dataclass
class Told:
    """What a timeline reads of an event."""

    kind: EventKind
    recorded_at: Any
    to_state: State | None = None
    source: Source = Source.poll
    actor: str = "life:one"
    attempt: int = 1
    detail: Any = None


def told(kind: str, at: float, to: str | None = None, **fields: Any) -> Told:
    state = State(to) if to else None
    return Told(EventKind(kind), later(at), state, **fields)


def at(seconds: float) -> str:
    return later(seconds).isoformat()


HISTORY = [
    told("accepted", 0, actor="python"),
    told("create_sending", 1, source=Source.create),
    told("create_confirmed", 2, source=Source.create),
    told("observed", 4, "in_progress"),
    told("looked", 9, detail={"count": 5, "first": at(5), "last": at(8)}),
    told("observed", 9, "requires_action"),
    told("tool_started", 9.5, detail={"call": 1, "tool": "search"}, source=Source.policy),
    told("tool_finished", 12, detail={"call": 1, "tool": "search"}, source=Source.policy),
    told("observed", 14, "failed"),
    told("restarted", 14, "queued", attempt=2, detail={"delay_seconds": 6, "cause": "policy"}),
    told("create_sending", 20, attempt=2, actor="life:other", source=Source.recovery),
    told("notified", 24, source=Source.webhook, attempt=2, detail={"type": "response.completed"},
         actor="life:other"),
    told("observed", 24.5, "completed", source=Source.webhook, attempt=2, actor="life:other"),
]  # fmt: skip


def test_phases_are_named_and_end_where_the_next_begins() -> None:
    phases = [
        (p.attempt, p.name, (p.since - NOW).total_seconds(), (p.until - NOW).total_seconds())
        for p in timeline(HISTORY).phases
        if p.until
    ]
    assert [
        (1, "queued", 0, 4),
        (1, "in_progress", 4, 9),
        (1, "requires_action", 9, 14),
        (2, "backoff", 14, 20),
        (2, "queued", 20, 24.5),
    ] == phases


def test_marks_say_what_happened_and_how_often() -> None:
    marks = [(m.kind, m.count, m.text) for m in timeline(HISTORY).marks]
    assert ("looks", 5, "") in marks
    assert ("tool", 1, "search") in marks
    assert ("takeover", 1, "from one to other") in marks
    assert ("webhook", 1, "response.completed") in marks
    assert ("restart", 1, "policy") in marks


def test_what_still_lasts_is_open() -> None:
    (only,) = timeline(HISTORY[:1]).phases
    assert ("queued", None) == (only.name, only.until)
    tool = [m for m in timeline(HISTORY[:7]).marks if m.kind == "tool"]
    assert [None] == [m.until for m in tool]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["observed", "restarted", "create_sending", "looked", "tool_started"]),
            st.floats(0, 1000),
            st.sampled_from([None, *State]),
        ),
        max_size=30,
    )
)
def test_phases_never_overlap_and_never_run_backwards(steps: list[Any]) -> None:
    """Whatever the order of the clock: a wall clock may have been set in the middle."""
    found = timeline([told(kind, time, to and str(to)) for kind, time, to in steps]).phases
    assert all(phase.until is None or phase.until > phase.since for phase in found)
    assert all(phase.until is not None for phase in found[:-1])
    orderly = sorted(time for _, time, _ in steps)
    calm = timeline(
        [
            told(kind, time, to and str(to))
            for time, (kind, _, to) in zip(orderly, steps, strict=True)
        ]
    ).phases
    assert all(one.until <= other.since for one, other in pairwise(calm) if one.until)


SHOWN = {
    "attempts_detail": [
        {"number": 1, "outcome": "failed", "error_code": "server_error"},
        {"number": 2, "outcome": None, "error_code": None},
    ],
    "timeline": {
        "phases": [
            {"attempt": 1, "name": "queued", "since": at(0), "until": at(10)},
            {"attempt": 1, "name": "in_progress", "since": at(10),
             "until": at(30)},
            {"attempt": 2, "name": "backoff", "since": at(30), "until": None},
        ],
        "marks": [
            {"kind": "looks", "at": at(12), "until": at(20),
             "count": 9, "text": ""},
            {"kind": "takeover", "at": at(25), "until": None, "count": 1,
             "text": "from a to b"},
        ],
    },
}  # fmt: skip


def test_it_is_drawn_to_scale() -> None:
    lines = draw(SHOWN, later(40), 76)
    begins = NOW.strftime("%Y-%m-%d %H:%M:%S%z")
    assert [
        " " * 12 + begins + "+40 s".rjust(40 - len(begins)),
        "attempt 1   " + "░" * 10 + "█" * 21 + " " * 9 + " failed: server_error",
        "attempt 2   " + " " * 30 + "·" * 10 + " backoff",
        "looks       " + " " * 12 + "·" * 9 + " " * 19 + " 9",
        "takeover    " + " " * 25 + "T" + " " * 14 + " 1 from a to b",
        " " * 12 + "░ queued  █ in_progress  · backoff",
    ] == lines


def test_a_narrow_terminal_and_an_instant_still_draw() -> None:
    assert all(len(line) <= 80 for line in draw(SHOWN, NOW, 10))
    assert [] == draw({"attempts_detail": [], "timeline": {"phases": [], "marks": []}}, NOW, 80)


def test_lengths_of_time_are_for_people() -> None:
    said = [lasting(seconds) for seconds in (0.25, 59, 61, 3_599.6, 11_000)]
    assert ["0.25 s", "59 s", "1 min 1 s", "1 h 0 min", "3 h 3 min"] == said
