"""The query grammar of lists: every text is understood, or refused by its part."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, later

from ledger.core.query import FIELDS, LENGTH_MAX, TERMS_MAX, Term, parse_query
from ledger.errors import InvalidInput


def parsed(text: str) -> tuple[Term, ...]:
    """The terms of a query, now."""
    return parse_query(text, now=NOW)


def test_terms_are_read_with_their_negations_and_alternatives() -> None:
    """Fields, tags, lists, prefixes and words, each with an optional minus."""
    wanted = (
        Term(name="status", values=("failed", "expired")),
        Term(name="tag.team", values=("search",)),
        Term(name="model", values=("gpt-5*",), negated=True),
        Term(name="attention", values=("true",)),
        Term(name="words", values=("rate limit",)),
        Term(name="words", values=("timeout",), negated=True),
    )
    text = (
        'status:failed,expired tag.team:search -model:gpt-5* attention:true "rate limit" -timeout'
    )
    assert wanted == parsed(text)
    assert () == parsed("") == parsed("   ")


def test_since_is_an_age_or_an_instant() -> None:
    """A duration counts back from now; a date without a zone is in ours."""
    assert [later(-7_200)] == [term.value for term in parsed("since:2h")]
    assert [NOW] == [term.value for term in parsed("since:2026-03-01T12:00:00+00:00")]
    assert [NOW - timedelta(hours=12)] == [term.value for term in parsed("since:2026-03-01")]


@pytest.mark.parametrize(
    "text",
    [
        "colour:red",
        "status:done",
        "status:failed*",
        "status:",
        "status:,",
        "model:a*b",
        "attention:maybe",
        "attention:true,false",
        "tag.:x",
        "tag.a/b:x",
        "since:yesterday",
        "since:nan",
        "since:-1e300",
        "since:-1h",
        "since:1e300",
        "since:0001-01-01T00:00:00+14:00",
        '"open',
        "a " * (TERMS_MAX + 1),
        "x" * (LENGTH_MAX + 1),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    """Unknown fields and words, misplaced stars and open quotes are InvalidInput."""
    with pytest.raises(InvalidInput):
        parsed(text)


PARTS = st.one_of(
    st.text(max_size=8),
    st.builds(
        "{}{}:{}".format,
        st.sampled_from(["", "-", "--"]),
        st.sampled_from([*FIELDS, "tag.a", "words", ""]),
        st.text(max_size=8) | st.sampled_from(["1h", "9999-12-31", "0001-01-01", "1e999", "true"]),
    ),
)


@given(text=st.lists(PARTS, max_size=4).map(" ".join))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """No text raises anything but InvalidInput, and terms name known fields alone."""
    try:
        terms = parsed(text)
    except InvalidInput:
        return
    for term in terms:
        assert term.name in (*FIELDS, "words") or term.name.startswith("tag.")
        assert term.name != "since" or (term.value is not None and term.value.tzinfo is not None)
