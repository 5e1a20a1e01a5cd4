"""The query grammar of lists: every text is understood, or refused by its part."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, later

from ledger.core.query import FIELDS, LENGTH_MAX, MOMENTS, TERMS_MAX, VALUES_MAX, Term, parse_query
from ledger.errors import InvalidInput

# NOW is noon of a Sunday.
TODAY = NOW.replace(hour=0)


def parsed(text: str) -> tuple[Term, ...]:
    """The terms of a query, now."""
    return parse_query(text, now=NOW)


def refusal(text: str) -> InvalidInput:
    """The error of a query."""
    with pytest.raises(InvalidInput) as caught:
        parsed(text)
    return caught.value


def test_terms_are_read_with_their_negations_and_alternatives() -> None:
    """Fields, tags, lists, prefixes and words, each with an optional minus."""
    wanted = (
        Term(name="status", values=("failed", "expired")),
        Term(name="tag.team", values=("search",)),
        Term(name="model", prefixes=("gpt-5",), values=("o4",), negated=True),
        Term(name="attention", values=("true",)),
        Term(name="words", values=("rate limit",)),
        Term(name="words", values=("timeout",), negated=True),
        Term(name="words", values=("can't",)),
    )
    text = (
        "status:failed,expired tag.team:search -model:gpt-5*,o4 attention:true "
        '"rate limit" -timeout can\'t'
    )
    assert wanted == parsed(text)
    assert () == parsed("") == parsed("   ")


def test_what_is_in_quotes_is_taken_as_it_is() -> None:
    """Colons, commas, stars, spaces and quotes; a star after the quote still ends a prefix."""
    assert (Term(name="key", values=("a:b,c*", 'say "x"')),) == parsed(r'key:"a:b,c*","say \"x\""')
    assert (Term(name="key", values=("a\\b",)),) == parsed(r"key:'a\b'")
    assert (Term(name="key", prefixes=("two words",)),) == parsed('key:"two words"*')
    assert (Term(name="words", values=("status:failed",)),) == parsed('"status:failed"')
    [reason] = parsed('attention:"blocked: credentials",poison')
    assert ("blocked: credentials", "poison") == reason.values


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("dur:>5m", ((">", 300.0),)),
        ("dur:<=1.5h", (("<=", 5_400.0),)),
        ("dur:1m..5m", ((">=", 60.0), ("<=", 300.0))),
        ("attempts:>=2", ((">=", 2),)),
        ("attempts:2", (("=", 2),)),
        ("calls:<20", (("<", 20),)),
        ("calls:0..3", ((">=", 0), ("<=", 3))),
    ],
)
def test_numbers_are_compared(text: str, bounds: tuple[tuple[str, float], ...]) -> None:
    """With a sign, as a range with both its ends, and counts also as they are."""
    assert bounds == parsed(text)[0].bounds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", later(-7_200)),
        ("500ms", later(-0.5)),
        ('"1500 milliseconds ago"', later(-1.5)),
        ('"2 mins ago"', later(-120)),
        ('"2h ago"', later(-7_200)),
        ('"3 days ago"', NOW - timedelta(days=3)),
        ('"1.5 hours ago"', later(-5_400)),
        ("now", NOW),
        ("today", TODAY),
        ("yesterday", TODAY - timedelta(days=1)),
        ("saturday", TODAY - timedelta(days=1)),
        ('"last tuesday"', TODAY - timedelta(days=5)),
        ("sunday", TODAY - timedelta(days=7)),
        ("2026-03-01", TODAY),
        ("2026-03-01T13:00:00+02:00", later(-3_600)),
    ],
)
def test_times_are_ages_days_and_dates(text: str, moment: datetime) -> None:
    """A day is its first moment; a date without a zone is in ours."""
    for field in MOMENTS:
        assert [moment] == [term.moment for term in parsed(f"{field}:{text}")]


def test_other_times_in_words_are_asked_about_and_numbers_are_not() -> None:
    """Whoever reads words is asked last, and never for what is long or might be a number."""
    asked = []

    def read(text: str, now: datetime) -> datetime | None:
        asked.append(text)
        return NOW if "march" in text else None

    [term] = parse_query('since:"March  1st"', now=NOW, otherwise=read)
    assert NOW == term.moment
    for text in ("90", "2026", "1e9", '"3/4 2026 noon"', '"1.2.26 at noon"', f'"{"a" * 51}"'):
        with pytest.raises(InvalidInput):
            parse_query(f"since:{text}", now=NOW, otherwise=read)
    with pytest.raises(InvalidInput, match="no time that is understood"):
        parse_query('since:"the other day"', now=NOW, otherwise=read)
    assert ["march 1st", "the other day"] == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour:red", "'colour:red': there is no field 'colour'; the fields are status"),
        ("https://x.test", "stands in quotes"),
        ("stauts:failed", "did you mean status?"),
        ("status:faild", "did you mean 'failed'?"),
        ("status:done", "status is one of queued"),
        ("status:FAILED", "did you mean 'failed'?"),
        ("status:failed OR status:expired", "'OR': terms are joined by AND already"),
        ("status:failed AND dur:>5m", "'AND': terms are joined by AND already"),
        ("NOT status:failed", "as in -status:failed"),
        ("status=failed", "after a field comes a colon, as in status:failed"),
        ("dur>5m", "as in dur:>5m"),
        ("-tag.team!=a", "as in -tag.team:a"),
        ("attempts:2..", "a range has two ends as in attempts:>=2"),
        ("dur:..5m", "a range has two ends as in dur:<=5m"),
        ("status:failed*", "'failed*' is none"),
        ("error_origin:rmote", "did you mean 'remote'?"),
        ("status:", "a value is missing"),
        ("status:,", "a value is missing"),
        ('model:""', "a value is empty"),
        ("model:*", "a * alone says nothing"),
        ("model:a*b", "a * may only end a value"),
        ("model:*a", "a * may only end a value"),
        ("x*", "a word is found anywhere"),
        ("-", "nothing to look for"),
        ("attention:maybe", "attention is one of true, false, unknown_create"),
        ("attention:true,poison", "attention is true or false"),
        ("pinned:yes", "pinned is true or false"),
        ("tag.:x", "a tag's name has"),
        ("tag.a/b:x", "as in tag.team:search"),
        ("dur:5m", "as in dur:>5m"),
        ("dur:>soon", "write 90s, 15m, 2h or 1d"),
        ("dur:>-1s", "no duration between"),
        ("dur:5m..1m", "ends before it begins"),
        ("attempts:>many", "no whole number from 0"),
        ("calls:>1e9", "no whole number from 0"),
        ("calls:>99999999999999999999", "no whole number from 0"),
        ("calls:1,2", "takes one value"),
        ("since:1h,2h", "takes one value"),
        ("since:nan", "no time that is understood"),
        ("since:-1h", "between 0 and"),
        ("since:1e300", "no time that is understood"),
        ("since:0001-01-01T00:00:00+14:00", "outside of all time"),
        ('"open', "not closed"),
        ('key:"a"b', "a space is missing after the quote"),
        ("a " * (TERMS_MAX + 1), f"more than {TERMS_MAX} terms"),
        ("key:" + "a," * (VALUES_MAX + 1), f"more than {VALUES_MAX} values"),
        ("x" * (LENGTH_MAX + 1), f"longer than {LENGTH_MAX}"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str, said: str) -> None:
    """The error says which part is wrong, and what would be right."""
    error = refusal(text)
    assert said in f"{error.message} {error.hint}"
    assert len(error.message) < 600


def test_what_looks_like_an_operator_is_a_word_in_quotes() -> None:
    """And in small letters, since messages have such words."""
    for text in ("OR", "status=failed", "dur>5m"):
        assert (Term(name="words", values=(text,)),) == parsed(f'"{text}"')
    plain = ("or", "and", "not", "x=1", "a>b", "=", "status")
    assert plain == tuple(term.values[0] for term in parsed(" ".join(plain)))


PARTS = st.one_of(
    st.text(max_size=8),
    st.builds(
        "{}{}:{}".format,
        st.sampled_from(["", "-", "--"]),
        st.sampled_from([*FIELDS, "tag.a", "words", ""]),
        st.text(max_size=8)
        | st.sampled_from(
            ["1h", "9999-12-31", "0001-01-01", "1e999", "true", ">5", "<=2h", "1..2", '"a b"', "x*"]
        ),
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
        assert (term.name in MOMENTS) == (term.moment is not None)
        assert term.values or term.prefixes


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_value_can_be_written_in_quotes(text: str) -> None:
    """Whatever a key holds, there is a query for it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert (Term(name="key", values=(text,)),) == parsed(f'key:"{quoted}"')
