"""What makes two failures the same one, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.fingerprint import MESSAGE_MAX, fingerprint, mask

SAME = [
    (
        "Rate limit reached for gpt-5.1 in organization org-AbC123xyz on tokens per min (TPM): "
        "Limit 30000, Used 29950, Requested 1200. Please try again in 2.3s.",
        "Rate limit reached for gpt-5.1 in organization org-ZZ9yXw on tokens per min (TPM): "
        "Limit 30000, Used 11, Requested 40000. Please try again in 840ms.",
    ),
    ("No response found with id 'resp_68af21'.", "No response found with id 'resp_0c9d77ab'."),
    (
        "upstream answers 404; it was last seen 612 s ago, and results are kept for 600 s",
        "upstream answers 404; it was last seen 1,004 s ago, and results are kept for 600 s",
    ),
    (
        "failed at 2026-08-26T02:10:11.5Z, see https://status.example.com/a?b=1 (req_9f8e7d6c5b)",
        "failed at 2026-11-02 23:59:59+01:00, see http://status.example.com/zz (req_11aa22bb33)",
    ),
    (
        "job 0190c1e2-7f3a-7c51-9d2b-aabbccddeeff died",
        "job 7f3a0190-c1e2-4c51-8d2b-ffeeddccbbaa died",
    ),
    ('field "customer name" is missing', 'field "address" is missing'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_messages_that_differ_in_ids_numbers_quotes_urls_and_times_are_one(one, other):
    assert mask(one) == mask(other)


DIFFERENT = [
    ("The server had an error", "The server is overloaded"),
    ("rate_limit_exceeded", "insufficient_quota"),
    ("can't reach the server, won't retry", "can't reach the proxy, won't retry"),
    ("model_not_found", "thread_not_found"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_words_stay_apart(one, other):
    assert mask(one) != mask(other)


def test_what_is_masked_is_named():
    text = 'run_Ab12Cd took 5.5 s at 02:10:33, see https://x.example/y: "no"'
    assert mask(text) == "<id> took <n> at <time>, see <url>: <text>"


@given(st.text(max_size=600))
def test_masking_is_bounded_and_stable(text):
    once = mask(text)
    assert len(once) <= MESSAGE_MAX
    assert mask(once) == once or len(once) == MESSAGE_MAX


PARTS = {
    "provider": "responses",
    "origin": "remote",
    "code": "server_error",
    "http_status": 500,
    "incomplete_reason": None,
    "tool": None,
    "message": "The server had an error",
}


def test_the_id_is_stable_for_ever():
    # A change of the method is a new version: `v1` groups never move.
    assert fingerprint(**PARTS).id == "v1:a9748ef630739167"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("provider", "assistants"),
        ("origin", "transport"),
        ("code", "rate_limit_exceeded"),
        ("code", None),
        ("http_status", 503),
        ("http_status", None),
        ("incomplete_reason", "content_filter"),
        ("tool", "send_receipt"),
        ("message", "Something else"),
        ("message", None),
    ],
)
def test_every_part_counts(name, other):
    assert fingerprint(**PARTS).id != fingerprint(**{**PARTS, name: other}).id


def test_parts_do_not_run_into_each_other():
    one = fingerprint(provider="a", origin=None, code="b", tool="c;1:d")
    other = fingerprint(provider="a", origin=None, code="b", tool="c", message="d")
    assert one.id != other.id
