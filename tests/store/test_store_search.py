"""Queries in SQL: the same runs whichever way they are found, in pages, by no full scan."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from databases import postgres_database
from support import NOW, Bench
from test_store_plans import plans

from ledger.core.query import parse_query
from ledger.store import finding, leads
from ledger.store.facets import count_facets
from ledger.store.facts import RUN
from ledger.store.finding import list_runs
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.search import matching
from ledger.store.store import Store

RUNS = 600
STATES = ("completed", "failed", "expired", "in_progress")
MODELS = ("gpt-5", "gpt-5-mini", "gpt-5%", "o4", None)
MESSAGES = {
    "The Server burned down 7": "The Server burned down <n>",
    "too many requests: überlast": "too many requests: überlast",
    None: "a masked <n> message",
}
"""What failed runs say, and what their fingerprints have of it: an erased run says nothing."""
MARKS = {said: f"v1:{number:016x}" for number, said in enumerate(MESSAGES, start=1)}
QUERIES = (
    "",
    "status:failed",
    "status:failed,expired",
    "-status:completed",
    "model:gpt-5",
    "model:gpt-5*",
    'model:"gpt-5%"*',
    "model:o4,gpt-5-*",
    "-model:gpt-5*",
    "model:nothing",
    "provider:responses",
    "profile:default",
    "profile:d*",
    "profile:other",
    "kind:memo",
    "assistant:asst_1",
    "error_code:rate_limit*",
    "error_code:server_error",
    "error_origin:remote",
    'fingerprint:"v1:0000000000000001"',
    "key:job-1*",
    "key:job-7",
    "tag.team:search",
    "tag.team:s*",
    "-tag.team:search",
    "tag.team:search tag.env:prod",
    "tag.none:x",
    "attention:true",
    "attention:false",
    "attention:poison,contradiction",
    "pinned:true",
    "-pinned:true",
    "imported:true",
    "imported:false",
    "since:5m",
    "until:5m",
    "-since:5m",
    "finished_since:5m",
    "finished_since:9m finished_until:3m",
    "dur:>30",
    "dur:10s..30s",
    "attempts:>=2",
    "attempts:1",
    "calls:>20",
    "calls:>=5",
    "server",
    '"SERVER BURNED"',
    "-burned",
    "masked",
    "7",
    "many",
    '"too many  requests"',
    "zeppelin",
    "burned -many",
    "ÜBERLAST",
    "100%",
    "status:failed model:gpt-5* tag.team:search since:8m",
    "status:failed error_code:rate_limit* -tag.team:search dur:>10s attempts:>=1",
)


def fill(bench: Bench, count: int = RUNS) -> None:
    """Runs with values of all sorts, their times out of step with their numbers."""
    chance = random.Random(1)
    teams = [{}, {"team": "search"}, {"team": "sales", "env": "prod"}]
    teams.append({"team": "search", "env": "prod"})
    given = [
        bench.submission(
            key=f"job-{n}",
            model=chance.choice(MODELS),
            kind=chance.choice(["memo", None]),
            assistant=chance.choice(["asst_1", None]),
            tags=chance.choice(teams),
        )
        for n in range(count)
    ]
    for start in range(0, count, 200):
        bench.now = NOW - timedelta(seconds=chance.randrange(700))
        bench.commit_all(given[start : start + 200])
    bench.now = NOW
    rows = [_row(run_id, chance) for run_id in range(1, count + 1)]
    names = ", ".join(f"{name} = :{name}" for name in rows[0] if name != "id")
    with bench.store.engine.execution_options(write=True).begin() as connection:
        for said, message in MESSAGES.items():
            connection.execute(
                sa.text(
                    "INSERT INTO fingerprint (id, provider, message, first_seen_at, first_run) "
                    "VALUES (:id, 'responses', :message, :at, 1)"
                ).bindparams(sa.bindparam("at", NOW, RUN.c.created_at.type)),
                {"id": MARKS[said], "message": message},
            )
        typed = [
            sa.bindparam(name, type_=RUN.c[name].type) for name in ("finished_at", "pinned_at")
        ]
        statement = sa.text(f"UPDATE run SET {names} WHERE id = :id").bindparams(*typed)
        connection.execute(statement, rows)
    bench.execute("ANALYZE")


def _row(run_id: int, chance: random.Random) -> dict[str, Any]:
    state = chance.choice(STATES)
    failed = state in ("failed", "expired")
    said = chance.choice(list(MESSAGES)) if failed else None
    took = None if state == "in_progress" else chance.uniform(0, 60)
    return {
        "id": run_id,
        "state": state,
        "error_code": chance.choice(["rate_limit_exceeded", "server_error"]) if failed else None,
        "error_origin": chance.choice(["remote", "tool"]) if failed else None,
        "error_message": said,
        "fingerprint": chance.choice([MARKS[said], MARKS[said], None]) if failed else None,
        "attempts": chance.choice([1, 1, 2, 3]),
        "calls": chance.randrange(40),
        "needs_attention": chance.choice(["poison", "contradiction", None, None, None]),
        "pinned_at": chance.choice([NOW, None, None]),
        "finished_at": None if took is None else NOW - timedelta(seconds=chance.randrange(700)),
        "took_seconds": took,
    }


Filled = Callable[[int], Bench]


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[ExitStack, dict[tuple[str, int], Bench]]]:
    """The ledgers that tests which only read share, and what closes them."""
    with ExitStack() as stack:
        yield stack, {}


@pytest.fixture
def filled(
    kept: tuple[ExitStack, dict[tuple[str, int], Bench]],
    dialect: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Filled:
    """A ledger of so many runs, filled once for all who only read."""
    stack, benches = kept

    def url() -> str:
        if dialect == "sqlite":
            path = tmp_path_factory.mktemp("filled") / "runs.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            return f"sqlite:///{path}"
        template = request.getfixturevalue("postgres_template")
        server = request.getfixturevalue("postgres_server")
        return stack.enter_context(postgres_database(server, template=template))

    def get(count: int) -> Bench:
        if (dialect, count) not in benches:
            store = Store.open(url())
            stack.callback(store.close)
            bench = Bench(store)
            stack.callback(bench.close)
            fill(bench, count)
            benches[dialect, count] = bench
        return benches[dialect, count]

    return get


@pytest.mark.parametrize("few", [0, 150, 5_000], ids=["walked", "both", "picked"])
def test_a_query_finds_the_same_runs_whichever_way(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """By ids that an index leaves, or along an index: what the conditions alone would find."""
    bench = filled(RUNS)
    monkeypatch.setattr(finding, "FEW", few)
    monkeypatch.setattr(finding, "SAMPLED", 100)
    monkeypatch.setattr(leads, "WALKS_MAX", 3)
    found: set[int] = set()
    with bench.store.reading() as connection:
        for query in QUERIES:
            terms = parse_query(query, now=NOW)
            wanted = connection.scalars(
                sa.select(RUN.c.id)
                .where(matching(terms))
                .order_by(RUN.c.created_at.desc(), RUN.c.id.desc())
            ).all()
            pages: list[int] = []
            before = None
            while page := list_runs(connection, terms, limit=70, before=before):
                pages += [run.id for run in page]
                before = page[-1].id
            assert wanted == pages, query
            found.add(len(pages))
    assert 20 < len(found)


@pytest.mark.parametrize("walks", [0, 16], ids=["one walk", "by fingerprint"])
def test_a_word_is_found_where_it_was_said(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, walks: int
) -> None:
    """Also where the fingerprint masks it, or where there is none."""
    bench = filled(RUNS)
    monkeypatch.setattr(finding, "FEW", 10)
    monkeypatch.setattr(leads, "WALKS_MAX", walks)
    with bench.store.reading() as connection:
        for word, message in (("7", "The Server burned down 7"), ("many", "too many requests")):
            said = connection.scalars(sa.select(RUN.c.id).where(RUN.c.error_message == message))
            terms = parse_query(word, now=NOW)
            found = list_runs(connection, terms, limit=1_000, before=None)
            assert set(said) <= {run.id for run in found}


def test_a_word_that_nobody_says_is_looked_for_among_few(filled: Filled) -> None:
    """Runs whose fingerprint tells all that they say are not looked at."""
    bench = filled(3_000)
    with bench.store.reading() as connection:
        terms = parse_query("zeppelin", now=NOW)
        [lead] = leads.leads_of(connection, terms)
        looked_at = set(connection.scalars(lead.ids(leads.window_of(terms))))
        said = sa.select(RUN.c.id).where(RUN.c.error_message.is_not(None))
        told = sa.select(RUN.c.id).where(RUN.c.fingerprint == MARKS["too many requests: überlast"])
        assert set(connection.scalars(said)) - set(connection.scalars(told)) <= looked_at
        assert not looked_at & set(connection.scalars(told))


def test_runs_come_by_the_time_of_their_creation(bench: Bench) -> None:
    """And the cursor is a run's number all the same, also of one that is not there any more."""
    fill(bench, 300)
    bench.now = NOW - timedelta(days=1)
    old = bench.submit().run.id
    with bench.store.reading() as connection:
        runs = list_runs(connection, (), limit=1_000, before=None)
        assert all((a.created_at, a.id) > (b.created_at, b.id) for a, b in pairwise(runs))
        assert old == runs[-1].id
        assert runs[100:150] == list_runs(connection, (), limit=50, before=runs[99].id)
        assert [] == list_runs(connection, (), limit=50, before=runs[-1].id)
        assert [] == list_runs(connection, (), limit=50, before=0)


def test_a_prefix_is_the_beginning_of_a_text_and_nothing_else(bench: Bench) -> None:
    """Percent signs, underscores and capitals stand for themselves, on both databases."""
    for model in ("gpt_5", "gptx5", "GPT_5", "gpt_5é", "gpt%"):
        bench.submit(model=model)

    def models(query: str) -> set[str | None]:
        terms = parse_query(query, now=NOW)
        found = bench.store.read(lambda c: list_runs(c, terms, limit=9, before=None))
        return {run.model for run in found}

    assert {"gpt_5", "gpt_5é"} == models("model:gpt_*")
    assert {"gpt%"} == models("model:gpt%*")
    assert {"GPT_5"} == models("model:G*")


def test_what_came_from_another_ledger_is_imported(bench: Bench) -> None:
    """It says since when."""
    made = bench.submit()

    def found(query: str) -> list[int]:
        terms = parse_query(query, now=NOW)
        return [r.id for r in bench.store.read(lambda c: list_runs(c, terms, limit=9, before=None))]

    assert ([], [made.run.id]) == (found("imported:true"), found("imported:false"))
    bench.execute("UPDATE run SET imported_at = created_at")
    assert ([made.run.id], []) == (found("imported:true"), found("-imported:true"))


@pytest.mark.parametrize("few", [0, 5_000], ids=["walked", "picked"])
def test_no_query_reads_the_whole_table(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Every statement of every query goes along an index, or to runs by their number."""
    bench = filled(3_000)
    monkeypatch.setattr(finding, "FEW", few)
    for query in QUERIES:
        terms = parse_query(query, now=NOW)
        for ask in (
            lambda c, terms=terms: list_runs(c, terms, limit=20, before=1_500),
            lambda c, terms=terms: count_facets(c, terms, ["status", "model", "tag:team"]),
        ):
            for statement, plan in plans(bench, ask):
                told = f"{query}: {statement}\n{plan}"
                assert "Seq Scan on run" not in plan, told
                assert "SCAN run\n" not in plan + "\n", told


def test_two_frequent_values_are_walked_along_the_rarer_one(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the newest runs; and the index of states tells the model without the run."""
    bench = filled(3_000)
    monkeypatch.setattr(finding, "FEW", 0)
    monkeypatch.setattr(finding, "SAMPLED", 500)
    terms = parse_query("status:failed model:gpt-5*", now=NOW)

    walked = plans(bench, lambda c: list_runs(c, terms, limit=20, before=None))
    [plan] = [plan for statement, plan in walked if "coalesce" in statement]

    index = {"sqlite": "USING COVERING INDEX ix_run_state", "postgresql": "ix_run_state"}
    assert index[bench.store.dialect] in plan


def test_facets_count_the_runs_that_match(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """By value, the most frequent first; beyond the cap, that there are more."""
    bench = filled(RUNS)
    terms = parse_query("status:failed,expired", now=NOW)
    with bench.store.reading() as connection:
        runs = list_runs(connection, terms, limit=1_000, before=None)
        found = count_facets(connection, terms, ["status", "model", "tag:team", "profile"])
        assert (len(runs), False) == (found.runs, found.capped)
        for name, value_of in (
            ("status", lambda run: str(run.state)),
            ("model", lambda run: run.model),
            ("tag:team", lambda run: run.tags.get("team")),
        ):
            values = [value_of(run) for run in runs]
            assert {value: values.count(value) for value in values} == dict(found.counts[name])
            counts = [count for _, count in found.counts[name]]
            assert sorted(counts, reverse=True) == counts
        assert [("default", len(runs))] == found.counts["profile"]
        monkeypatch.setattr("ledger.store.facets.RUNS_MAX", 50)
        monkeypatch.setattr("ledger.store.facets.VALUES_MAX", 2)
        few = count_facets(connection, terms, ["model"])
        assert (50, True, 2) == (few.runs, few.capped, len(few.counts["model"]))
        assert 50 == few.others["model"] + sum(count for _, count in few.counts["model"])


@pytest.mark.parametrize(
    "astray",
    [
        "UPDATE tag SET value = 'b' WHERE run_id = :run",
        "UPDATE tag SET created_at = '2020-01-01' WHERE run_id = :run",
        "DELETE FROM tag WHERE run_id = :run AND name = 'a.b'",
        "INSERT INTO tag (name, value, created_at, run_id) "
        "SELECT 'more', 'x', created_at, id FROM run WHERE id = :run",
    ],
)
def test_tags_that_say_two_things_are_found(bench: Bench, astray: str) -> None:
    """The rows by which runs are found, and the values that runs show."""
    twelve = next(invariant for invariant in INVARIANTS if invariant.number == 12)
    bench.submit(tags={"a.b": "é", "1": "2", "empty": ""})
    run = bench.submit(tags={"a.b": "é", "1": "2", "empty": ""}).run.id
    bench.submit()
    assert [] == bench.store.read(lambda c: broken(c, twelve))
    bench.execute(astray, run=run)

    assert [run] == bench.store.read(lambda c: broken(c, twelve))
