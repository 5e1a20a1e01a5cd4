"""Outcomes can be written down by a life that lost its run, and read by the next."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.alphabet import RemoteKind
from ledger.core.outcome import (
    ERRORS,
    CallRequest,
    Elapsed,
    Failed,
    Found,
    Harvested,
    Observation,
    Observed,
    Outcome,
    ToolDone,
    dump_outcome,
    load_outcome,
)
from ledger.errors import RateLimited, Reply, UpstreamError, leaves

ANY = "(?s).*"
"""The text of the error does not matter, its class does."""
TEXT = st.text(st.characters() | st.just("\ud800"), max_size=8)
TIMES = st.none() | st.datetimes(
    datetime(1970, 1, 2), datetime(9998, 12, 31), timezones=st.just(UTC)
)
BYTES = st.binary(max_size=20)
NUMBERS = st.integers(1, 99)
OBSERVATIONS = st.builds(
    Observation,
    kind=st.sampled_from(RemoteKind),
    remote_id=st.none() | TEXT,
    parent_id=st.none() | TEXT,
    status=st.none() | TEXT,
    body=BYTES,
    created_at=TIMES,
    started_at=TIMES,
    ended_at=TIMES,
    expires_at=TIMES,
    error_code=st.none() | TEXT,
    error_message=st.none() | TEXT,
    last_error=st.none() | BYTES,
    usage=st.none() | BYTES,
    calls=st.lists(
        st.builds(CallRequest, call_id=TEXT, tool=TEXT, arguments=BYTES), max_size=3
    ).map(tuple),
    has_output=st.booleans(),
    model=st.none() | TEXT,
    marker=st.none() | TEXT,
    request_id=st.none() | TEXT,
    poll_after_seconds=st.none() | st.floats(0, 1e6),
)
REPLIES = st.builds(
    Reply,
    status=st.none() | st.integers(100, 599),
    error_code=st.none() | TEXT,
    request_id=st.none() | TEXT,
    retry_after_seconds=st.none() | st.floats(0, 1e6),
    body=st.none() | BYTES,
)
OUTCOMES = st.one_of(
    st.builds(Observed, n=NUMBERS, observation=OBSERVATIONS),
    st.builds(Found, n=NUMBERS, observations=st.lists(OBSERVATIONS, max_size=3).map(tuple)),
    st.builds(Harvested, n=NUMBERS, body=BYTES),
    st.builds(
        Failed,
        n=NUMBERS,
        operation=st.sampled_from(["create", "observe", "submit"]),
        error=st.sampled_from(sorted(ERRORS)),
        message=TEXT,
        reply=REPLIES,
    ),
    st.builds(ToolDone, n=NUMBERS, output=BYTES, is_error=st.booleans()),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["class", "fields", "bytes", "time", "kind", "n"]) | TEXT,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(outcome=OUTCOMES)
def test_an_outcome_survives_being_written_down(outcome: Outcome) -> None:
    """Every outcome of a call is read back as it was, times and bytes included."""
    assert outcome == load_outcome(dump_outcome(outcome))


@given(body=BYTES | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused_as_a_value(body: bytes) -> None:
    """Evidence from elsewhere, a webhook say, is no outcome and never more than a ValueError."""
    with pytest.raises(ValueError, match=ANY):
        load_outcome(body)


@pytest.mark.parametrize(
    "value",
    [
        {"class": "Reply", "fields": []},
        {"class": "Reply", "fields": {}},
        {"class": "Observed", "fields": {"n": 1}},
        {"class": "ToolDone", "fields": {"n": 1, "output": {"bytes": "!"}}},
        {"class": ["Observed"], "fields": {}},
        {"time": 5},
        {"time": "yesterday"},
        {"kind": "agent"},
        {"bytes": 7},
        [],
    ],
)
def test_what_only_resembles_an_outcome_is_refused(value: Any) -> None:
    """Half an outcome, another record or wrong types are a ValueError too."""
    with pytest.raises(ValueError, match=ANY):
        load_outcome(json.dumps(value).encode())


def test_an_error_that_this_program_does_not_know_is_refused() -> None:
    """A newer life may have filed a kind of failure that has no name here."""
    outcome = Failed(n=1, operation="create", error="Unheard", message="", reply=Reply())
    with pytest.raises(ValueError, match="error"):
        load_outcome(dump_outcome(outcome))


def test_nesting_without_end_is_refused() -> None:
    """A body that would exhaust the stack is a ValueError."""
    with pytest.raises(ValueError, match=ANY):
        load_outcome(b'{"fields":' * 5_000 + b"1" + b"}" * 5_000)


@pytest.mark.parametrize("error", leaves())
def test_every_upstream_error_can_be_an_outcome(error: type[UpstreamError]) -> None:
    """The class of a failure, which decides what follows, survives by its name."""
    outcome = Failed.of(3, "create", error(reply=Reply(status=500)))
    loaded = load_outcome(dump_outcome(outcome))

    assert isinstance(loaded, Failed)
    assert (error, outcome) == (loaded.kind, loaded)


def test_a_failure_keeps_what_is_known_of_the_reply() -> None:
    """Status, code, Retry-After and body of the reply come along."""
    reply = Reply(status=429, error_code="rate", retry_after_seconds=2.0, body=b"{}")
    outcome = Failed.of(1, "observe", RateLimited("slow down", reply=reply))

    assert ("RateLimited", "slow down", reply) == (outcome.error, outcome.message, outcome.reply)


def test_time_alone_is_not_written_down() -> None:
    """Elapsed holds nothing that could be lost."""
    with pytest.raises((TypeError, ValueError), match=ANY):
        load_outcome(dump_outcome(Elapsed()))
