"""Decisions are total: no reachable facts and no outcome leave a run stuck or history wrong."""

from __future__ import annotations

import pytest
from decide_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HISTORIES = settings(max_examples=250, suppress_health_check=list(HealthCheck))
CHOICES = st.lists(st.integers(0, 5039), min_size=5, max_size=250)


@pytest.mark.problem(2)
@pytest.mark.failure(4, 12)
@HISTORIES
@given(choices=CHOICES)
def test_any_history_of_a_response_keeps_the_invariants_and_ends(choices: list[int]) -> None:
    """A response run survives everything that upstream, lives and operators do, and ends."""
    world = World(choices, provider="responses")
    world.play()
    world.drain()


@pytest.mark.problem(2)
@pytest.mark.failure(4, 12)
@HISTORIES
@given(choices=CHOICES)
def test_any_history_of_a_thread_run_keeps_the_invariants_and_ends(choices: list[int]) -> None:
    """A run that makes its own thread survives everything, and ends."""
    world = World(choices, provider="assistants")
    world.play()
    world.drain()


@HISTORIES
@given(choices=CHOICES)
def test_any_history_on_a_given_thread_keeps_the_invariants_and_ends(choices: list[int]) -> None:
    """A run on a given thread survives everything, and ends."""
    world = World(choices, provider="assistants", serial_key="thread_1")
    world.play()
    world.drain()


@HISTORIES
@given(choices=CHOICES, provider=st.sampled_from(["responses", "assistants"]), thread=st.booleans())
def test_an_honest_upstream_ends_any_run_long_before_its_deadline(
    choices: list[int], provider: str, thread: bool
) -> None:
    """However bad it was before, once upstream and people answer, nothing waits for the clock."""
    serial_key = "thread_1" if thread and provider == "assistants" else None
    world = World(choices, provider=provider, serial_key=serial_key)
    world.play()
    world.recover()
