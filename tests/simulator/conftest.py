"""A simulator whose clock the test moves, and strict clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from sim_clock import Clock

from ledger.simulator import Simulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    """A simulator without a scenario; durations pass only when the clock is moved."""
    with Simulator.running(seed=1, clock=clock) as running:
        yield running


@pytest.fixture(scope="session")
def http() -> Iterator[openai.DefaultHttpx2Client]:
    """One for all tests, and without certificates: loading those takes longer than a test."""
    with openai.DefaultHttpx2Client(verify=False) as client:
        yield client


@pytest.fixture
def connect(http: openai.DefaultHttpx2Client) -> Callable[..., openai.OpenAI]:
    """Makes clients that never retry and check every body strictly."""

    def make(sim: Simulator, **options: Any) -> openai.OpenAI:
        settings: dict[str, Any] = {"api_key": "sk-test", "max_retries": 0, "timeout": 5}
        settings |= {"_strict_response_validation": True, "base_url": sim.url}
        return openai.OpenAI(**settings | {"http_client": http} | options)

    return make


@pytest.fixture
def client(sim: Simulator, connect: Callable[..., openai.OpenAI]) -> openai.OpenAI:
    return connect(sim)
