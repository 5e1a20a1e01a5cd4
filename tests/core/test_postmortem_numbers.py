"""The numbers of whole nights, and the words that are made of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from report_material import MORNING, SPAN, attempt, ended, event, life, material, minute, run
from support import NOW, later

from ledger.core.alphabet import EventKind, State
from ledger.core.postmortem.hiding import hidden
from ledger.core.postmortem.incidents import Incident, by_failures, by_rules, by_waiting
from ledger.core.postmortem.material import Before, EndRow, GapRow, LifeEventRow, Span
from ledger.core.postmortem.numbers import numbers
from ledger.core.postmortem.story import QUIET
from ledger.core.prices import parse_prices
from ledger.core.query import Term
from ledger.service.rendering import render

PRICES = parse_prices("[models]\ngpt-a = { input = 1, output = 10 }", "test")
SECONDS = SPAN.length.total_seconds()


def night(seed: int, rates: dict[str, float], runs: int = 600) -> list[Any]:
    """Runs that fail at the rate of their model, spread over the window."""
    rng = random.Random(seed)
    rows: list[Any] = []
    for number in range(1, runs + 1):
        model = rng.choice(sorted(rates))
        state = State.failed if rng.random() < rates[model] else State.completed
        at = rng.uniform(60, SECONDS - 1)
        tags = {"team": rng.choice("abcd"), "customer": f"c{rng.randrange(40)}"}
        created = later(max(at - 30, 0))
        rows += ended(state, at, run_id=number, model=model, tags=tags, created_at=created)
    return rows


def before(rate: float, ends: int = 600) -> Before:
    """The window before, in which runs failed at this rate."""
    past = SPAN.moved(-SPAN.length)
    bad = round(ends * rate)
    rows = [
        EndRow(State.failed if n < bad else State.completed, past.since,
               past.since + timedelta(seconds=60), "responses", "gpt-a", None, 1, {})
        for n in range(ends)
    ]  # fmt: skip
    return Before(name="previous", span=past, ends=rows, failed_attempts=bad)


def of(*rows: Any, **fields: Any) -> dict[str, Any]:
    return numbers(material(*rows, **fields), PRICES, (), version="1")


def test_a_quiet_night_names_no_cause() -> None:
    """Three of a hundred fail, as the night before: of twenty such nights one may say more."""
    rates = {"gpt-a": 0.03, "gpt-b": 0.03, "gpt-c": 0.03}
    nights = [of(*night(seed, rates), before=[before(0.03)]) for seed in range(20)]

    quiet = [found for found in nights if found["quiet"]]

    assert len(quiet) >= 18
    assert all(QUIET == found["summary"][-1] for found in quiet)
    assert [] == [factor for found in quiet for factor in found["factors"]]


def test_a_quiet_night_without_a_night_before() -> None:
    """Few fail, so that most buckets have no failure: one that has three is no excess yet."""
    nights = [of(*night(100 + seed, {"gpt-a": 0.03}, runs=400)) for seed in range(40)]

    assert sum(bool(found["over_time"]["excess"]) for found in nights) <= 2


def test_quiet_weeks_propose_nothing() -> None:
    """Fifteen days at 3 % of some fifteen runs in ten minutes."""
    rng = random.Random(5)
    starts = [NOW + timedelta(minutes=10 * n) for n in range(144 * 15)]
    ended = {start: rng.randrange(8, 22) for start in starts}
    failed = {at: sum(rng.random() < 0.03 for _ in range(n)) for at, n in ended.items()}

    assert [] == by_failures(Span(since=NOW, until=starts[-1]), failed, ended)


def test_a_bad_night_names_what_stood_out() -> None:
    """One model at 25 %, a storm for thirty minutes, a gap, a death: each is told with its time."""
    rows = night(4, {"gpt-a": 0.03, "gpt-b": 0.03, "gpt-bad": 0.25}, runs=900)
    storm = [minute(n, refused=30) for n in range(130, 160)]
    gap = GapRow("default", later(9_000), later(9_300), 12, later(12_600))
    death = LifeEventRow(later(8_700), "died", "one", "h", {})
    lives = [life("one", ended_at=later(8_700), heartbeat_at=later(8_690), end="died"),
             life("two", started_at=later(8_750))]  # fmt: skip

    found = of(*rows, *storm, before=[before(0.03)], gaps=[gap], life_events=[death], lives=lives)

    said = "\n".join(found["summary"])
    assert not found["quiet"]
    assert "model gpt-bad failed more often" in said
    assert "an association" in said
    start, end = NOW + timedelta(minutes=130), NOW + timedelta(minutes=160)
    assert f"From {start:%Y-%m-%d %H:%M} UTC to {end:%Y-%m-%d %H:%M} UTC upstream refused" in said
    assert "no webhook came for profile default" in said
    assert "A worker on h was found dead" in said
    assert ["strong"] * 3 == [factor["strength"] for factor in found["factors"][:3]]
    assert 1.0 == found["environment"]["unobserved_minutes"]
    kinds = {entry["kind"] for entry in found["timeline"]["short"]}
    assert {"storm", "webhook_gap", "life_died", "unobserved", "first_failure"} <= kinds


def test_the_first_note_of_a_person_is_a_key_moment() -> None:
    """By time and not by run, also where more were written than the short list holds."""
    failed, *others = (ended(State.failed, 600.0), *(ended(State.completed) for _ in range(30)))
    moments = [*(later(3_000 + n) for n in range(29)), later(1_500)]
    said = [
        event(parts[0].id, EventKind.noted, recorded_at=at, actor="operator:ann")
        for parts, at in zip(others, moments, strict=True)
    ]

    found = of(failed, *others, *said)["timeline"]["short"]

    (one,) = [entry for entry in found if entry["kind"] == "first_note"]
    text = f"first note of a person: run {others[-1][0].id}, 15 min after the first failure"
    assert (later(1_500).isoformat(), text) == (one["at"], one["text"])
    assert 20 == sum(entry["kind"] == "noted" for entry in found)
    assert one["at"] in {entry["at"] for entry in found if entry["kind"] == "noted"}


def test_the_numbers_add_up() -> None:
    """Verdicts by state, buckets over time, attempts by fingerprint: each sums to the whole."""
    found = of(*night(1, {"gpt-a": 0.1}), before=[before(0.1)])
    impact, over_time = found["impact"], found["over_time"]

    assert 600 == impact["finished"] == sum(impact["by_state"].values())
    assert 600 == sum(sum(one["ends"].values()) for one in over_time["buckets"])
    failed = impact["failed"]
    assert failed == sum(one["failed_attempts"] for one in over_time["buckets"])
    assert failed == sum(one["attempts"] for one in found["fingerprints"]["listed"])
    assert failed == found["recovery"]["failed_attempts"]
    assert failed == found["impact"]["failure"]["part"]
    assert len(json.dumps(found, allow_nan=False)) > 1_000


def test_more_failures_than_expected_have_a_time() -> None:
    """Forty failures within ten minutes of a night that has few."""
    burst = [
        row for n in range(40) for row in ended(State.failed, 7_200 + 15 * n, run_id=9_000 + n)
    ]

    found = of(*night(2, {"gpt-a": 0.02}), *burst, before=[before(0.02)])

    (one,) = found["over_time"]["excess"]
    assert later(7_200).isoformat() == one["first"]
    assert later(7_200 + 15 * 39).isoformat() == one["last"]


def test_a_share_of_what_a_prune_left_says_so() -> None:
    """In the sentence that gives it; and neither window tells what is usual of the other."""
    rows = [ended(State.failed, 60.0 * n, run_id=n) for n in range(1, 30)]
    kept = [*rows, ended(State.completed, 1_900.0, run_id=30)]
    found = of(*kept, pruned=970, before=(before(0.03),))

    assert "29 of them failed (96.7%, 95 % interval" in found["summary"][0]
    assert " of what is left, with 970 runs of it pruned; " in found["summary"][0]
    assert (970, [], True) == (
        found["impact"]["pruned"],
        found["over_time"]["excess"],
        found["quiet"],
    )
    assert [None] == [past["failure_ratio"] for past in found["comparison"]]
    earlier = of(*kept, before=(replace(before(0.03), pruned=5),))
    assert [(None, 5)] == [(p["failure_ratio"], p["pruned"]) for p in earlier["comparison"]]
    assert "1 run of it pruned" in of(pruned=1)["summary"][0]


def test_an_empty_window_says_so() -> None:
    """No run, no daemon, nothing to divide by."""
    found = of(lives=[], runs=[])

    assert "No run was created and none ended in this window." == found["summary"][0]
    assert found["impact"]["failure"]["share"] is None
    assert 480.0 == found["environment"]["unobserved_minutes"]


def test_a_window_in_which_only_a_worker_died_is_not_quiet() -> None:
    """Nothing was created and nothing ended, because of that: the summary says so."""
    death = LifeEventRow(later(100), "died", "one", "h", {})
    waiting = run(1, created_at=later(-60))

    found = of(waiting, attempt(1, opened_at=later(-60)), life_events=[death])

    first, *others = found["summary"]
    assert "No run was created and none ended in this window; 1 run open at its end." == first
    assert any("found dead" in text for text in others)
    assert QUIET not in others


def test_what_was_found_by_looking_while_webhooks_were_missing() -> None:
    """Three verdicts by looks, one of them in the gap, and one in the gap by webhook."""
    rows = [ended(State.completed, at, run_id=n) for n, at in enumerate((100, 9_100, 20_000), 1)]
    told = [*ended(State.completed, 9_200, run_id=9)]
    told[3] = told[3]._replace(source="webhook")
    gap = GapRow("default", later(9_000), later(9_150), 1, later(12_600))

    found = of(*rows, *told, gaps=[gap])

    assert 1 == found["environment"]["webhook_gaps"][0]["found_by_looks"]
    assert any("1 verdict came by them" in text for text in found["went_well"])


def test_shorter_runs_are_not_told_of_as_longer() -> None:
    """Half as long as before: the difference has a sign, and the sentence a direction."""
    past = before(0.0)
    found = of(*night(3, {"gpt-a": 0.0}), before=[past])
    delay = found["impact"]["delay"]

    assert delay["run_minutes"] < 0
    markdown = render(found, "md")
    apart = f"{-delay['run_minutes']:.3f}".rstrip("0").rstrip(".")
    assert f"took {apart} minutes less in all than at baseline's mean" in markdown


def test_an_open_window_says_that_it_is() -> None:
    """As of two hours into it: the rest is not known, and the last run is open."""
    rows = [*ended(State.completed, 100), *ended(State.completed, 9_000)]

    found = of(*rows, as_of=later(7_200))

    assert (1, 1) == (found["impact"]["finished"], found["impact"]["open"])
    assert any("had not ended" in text for text in found["unknown"])


def sixty(told: Callable[[int], dict[str, Any]]) -> list[Any]:
    """Runs that ended one after the other, of which the first twenty failed."""
    return [
        row
        for n in range(60)
        for row in ended(
            State.failed if n < 20 else State.completed, 100 + n, run_id=n + 1, **told(n)
        )
    ]


def test_names_are_hidden_in_every_sentence() -> None:
    """Tags, keys, ids, hosts: none is left, equal ones stay equal, another window's differ."""
    secret = "acme-corp"
    rows = sixty(
        lambda n: {
            "key": f"{secret}-{n}",
            "kind": secret,
            "serial_key": f"thread_{secret}",
            "tags": {"team": secret if n < 20 else "other", secret: "x"},
        }
    )
    lives = [life(secret, host=f"host.{secret}")]

    plain = of(*rows, lives=lives, query=f"tag.team:{secret}")
    bare, _ = hidden(material(*rows, lives=lives, query=f"tag.team:{secret}"))
    found = numbers(bare, PRICES, (), version="1")
    again = numbers(hidden(material(*rows, lives=lives))[0], PRICES, (), version="1")

    assert secret in json.dumps(plain)
    assert secret not in json.dumps(found)
    assert found["differences"]["found"] != []
    assert found["differences"]["found"][0]["value"] == again["differences"]["found"][0]["value"]
    assert plain["impact"]["failed"] == found["impact"]["failed"]


def test_what_the_query_fixes_is_left_out_with_hidden_names_too() -> None:
    """The tag that was asked for is not compared, whether or not its name may be read."""
    rows = sixty(lambda n: {"tags": {"team": "a" if n < 20 else "b"}})
    terms = (Term(name="tag.team", values=("a", "b")),)

    plain = numbers(material(*rows), PRICES, terms, version="1")["differences"]
    bare, asked = hidden(material(*rows), terms)
    found = numbers(bare, PRICES, asked, version="1")["differences"]

    assert ["tag.team"] == plain["defining"]
    assert 1 == len(found["defining"])
    assert "team" not in found["defining"][0]
    assert (plain["tested"], []) == (found["tested"], found["found"])


def test_a_query_by_what_changes_says_when_it_was_asked() -> None:
    """Runs may have been restarted since: the report tells that it cannot know of them."""
    terms = (Term(name="status", values=("failed",)),)
    rows = ended(State.failed, 100)

    found = numbers(material(*rows, query="status:failed"), PRICES, terms, version="1")

    words = "The query asks for status, and runs were asked as they stand now"
    assert any(text.startswith(words) for text in found["unknown"])
    lasting = numbers(material(*rows), PRICES, (Term(name="model", values=("m",)),), version="1")
    assert [] == [text for text in lasting["unknown"] if "query" in text]


# Incidents.


def test_failures_beyond_those_of_the_days_before() -> None:
    """Thirty failures where the same minutes of fourteen days had six; nine are none."""
    starts = [NOW + timedelta(minutes=10 * n) for n in range(144)]
    ends = {start - timedelta(days=d): 100 for start in starts for d in range(15)}
    failed = dict.fromkeys(ends, 6)
    failed |= {starts[n]: 30 for n in (12, 13, 16)}
    failed[starts[40]] = 9
    span = Span(since=NOW, until=NOW + timedelta(days=1))

    (found,) = by_failures(span, failed, ends)

    assert (starts[12], starts[17]) == (found.start, found.end)
    assert f"failures-{starts[12]:%Y%m%dT%H%M}" == found.id


def test_a_young_ledger_is_judged_by_itself() -> None:
    """No day before: what stands out of the night itself is proposed."""
    starts = [NOW + timedelta(minutes=10 * n) for n in range(48)]
    failed = {starts[5]: 30} | dict.fromkeys(starts[10:20], 1)

    (found,) = by_failures(SPAN, failed, dict.fromkeys(starts, 50))

    assert starts[5] == found.start


def test_incidents_by_rules() -> None:
    """A storm, a gap that goes on, three takeovers within ten minutes."""
    events = [LifeEventRow(later(60 * n), "takeover", None, "h", {}) for n in (1, 3, 6, 90)]
    found = by_rules(
        SPAN,
        minutes=[minute(n, refused=9) for n in range(5, 20)],
        gaps=[GapRow("default", later(500), later(900), 3, None)],
        events=events,
        accounts={1: "default"},
    )

    assert [
        ("storm", later(300), later(1_200)),
        ("webhook_gap", later(500), None),
        ("lease_churn", later(60), later(360)),
    ] == [(one.kind, one.start, one.end) for one in found]
    assert "storm-20260301T1205-default" == found[0].id
    shown = found[1].view(SPAN.until)
    assert shown["report"].startswith("runward postmortem --since 2026-03-01T11:38:20+00:00 ")


def test_runs_that_wait_to_be_sent() -> None:
    """Most of ten minutes' runs were sent a minute late; a few late ones elsewhere are none."""
    starts = [NOW + timedelta(minutes=10 * n) for n in range(6)]
    sent = dict.fromkeys(starts, 20)

    found = by_waiting(sent, {starts[1]: 15, starts[2]: 18, starts[5]: 3})

    words = "33 runs waited more than a minute to be sent"
    assert [Incident(kind="starvation", start=starts[1], end=starts[3], what=words)] == found


def test_a_run_without_an_attempt_is_no_case() -> None:
    """As of a time before its first one: nothing is known of it."""
    assert 0 == of(run(), as_of=MORNING)["impact"]["started"]
