"""Times in words: the library is asked in English, about the past, and never breaks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support import NOW

from ledger.core.query import parse_query
from ledger.errors import InvalidInput
from ledger.service.dates import read_words

pytest.importorskip("dateparser")


def test_words_that_our_own_code_does_not_know() -> None:
    """A day without a year is the last one."""
    [term] = parse_query('since:"february 1st"', now=NOW, otherwise=read_words)
    assert NOW.replace(month=2, day=1, hour=0) == term.moment
    assert NOW - timedelta(days=2) == read_words("two days ago", NOW)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("noon", timedelta(0)),
        ("yesterday 14:00", timedelta(hours=22)),
        ("yesterday at 2am", timedelta(hours=34)),
        ("tuesday 03:00", timedelta(days=5, hours=9)),
        ("1h 30m ago", timedelta(hours=1.5)),
    ],
)
def test_times_that_people_on_call_write(text: str, back: timedelta) -> None:
    """NOW is noon of a Sunday."""
    [term] = parse_query(f'since:"{text}"', now=NOW, otherwise=read_words)
    assert NOW - back == term.moment


@pytest.mark.parametrize("text", ["monday at 9", "monday 9", "yesterday at 14", "9 tuesday"])
def test_a_bare_number_is_not_guessed_at(text: str) -> None:
    """The library takes the 9 of `monday at 9` for September, half a year before."""
    with pytest.raises(InvalidInput, match="no time that is understood"):
        parse_query(f'since:"{text}"', now=NOW, otherwise=read_words)


@pytest.mark.parametrize("text", ["the other day", "kmalm!!", "vorgestern", "in 99999999 years"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no time that is understood"):
        parse_query(f'since:"{text}"', now=NOW, otherwise=read_words)
