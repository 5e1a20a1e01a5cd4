"""Runs that are let go: pinned, pruned, erased; what is left of them proves itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import NOW, SQLITE, Bench, flagged, function_call, response, seen

from ledger import AsyncLedger, Conflict, InvalidInput, Ledger, NotAllowed, NotFound
from ledger.core.alphabet import OutboxState, State
from ledger.core.fingerprint import mask
from ledger.core.model import Facts
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.pruning import Old, bury
from ledger.store.records import Rejected
from ledger.store.seals import seal

CANARY = "the-canary-sings-at-dawn-7f3a"
TABLES = ("event", "payload", "attempt", "remote", "run", "evidence", "delivery", "outbox")


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """A ledger on the bench's database."""
    with Ledger.open(bench.store.url, actor="ann") as opened:
        yield opened


def rows_of(bench: Bench, run: int) -> dict[str, int]:
    """How many rows each table has about a run."""
    names = {table: "id" if table == "run" else "run_id" for table in TABLES}
    return {
        table: bench.scalar(f"SELECT count(*) FROM {table} WHERE {column} = :run", run=run)
        for table, column in names.items()
    }


def assert_whole(bench: Bench) -> None:
    """The chain, the seals and doctor's invariants hold."""
    assert () == bench.verify().broken
    for invariant in INVARIANTS:
        assert [] == bench.store.read(lambda c, i=invariant: broken(c, i)), invariant.text


def test_a_pruned_run_leaves_a_tombstone(bench: Bench, ledger: Ledger) -> None:
    """Its rows are gone, and asking for it says when, by whom and why."""
    gone, stays = bench.completed(key="old"), bench.completed(key="kept")
    ledger.pin(stays.run.id)
    plan = ledger.prune("1d", dry_run=True)
    done = ledger.prune("1d", reason="GDPR 17")
    assert (plan.runs, plan.events, plan.payloads) == (done.runs, done.events, done.payloads)
    assert 0 < done.payloads < done.events

    assert (1, gone.run.event_seq) == (done.runs, done.events)
    assert set(rows_of(bench, gone.run.id).values()) == {0}
    assert rows_of(bench, stays.run.id)["event"] > 0
    for name in (gone.run.id, "old", "#1", "key:old"):
        with pytest.raises(NotFound, match=r"pruned .* by ann: GDPR 17"):
            ledger.show(name)
    with pytest.raises(NotFound, match="GDPR 17"):
        ledger.result("old")
    with pytest.raises(NotFound, match="GDPR 17"):
        list(ledger.events("old"))
    assert 1 == bench.verify().pruned
    assert_whole(bench)


def test_what_must_stay_is_not_pruned(bench: Bench, ledger: Ledger) -> None:
    """Without a verdict, unsettled, flagged, pinned, young, with something unsent."""
    open_run, tail, noticed = bench.submit(), bench.completed(), bench.completed()
    marked, pinned = bench.completed(), bench.completed()
    bench.execute("UPDATE remote SET settled = :no WHERE run_id = :run", no=False, run=tail.run.id)
    bench.operate(marked, flagged(marked))
    ledger.pin(pinned.run.id)
    bench.execute(
        "INSERT INTO outbox (endpoint, event_id, run_id, type, state, created_at, tries) "
        "VALUES ('crm', 1, :run, 'run.completed', :state, '2026-03-01 12:00:00', 0)",
        run=noticed.run.id,
        state=str(OutboxState.waiting),
    )
    plan = ledger.prune("1d", dry_run=True)

    assert 0 == plan.runs == ledger.prune("1d").runs
    assert {"pinned": 1, "flagged": 1, "unsettled": 1, "unsent": 1} == plan.kept
    assert 0 == ledger.prune("36500d", flagged=True).runs
    assert 1 == ledger.prune("1d", flagged=True).runs
    assert State.queued == ledger.get(open_run.run.id).state


def test_prune_chooses_by_state_and_query(bench: Bench, ledger: Ledger) -> None:
    """`states`, `keep_failed` and `query` narrow; a dry run counts, and changes nothing."""
    done = bench.completed(tags={"team": "a"})
    failed = bench.sending(tags={"team": "b"})
    body = response("failed", remote_id="resp_f", error={"code": "server_error", "message": "x"})
    bench.take(failed, seen(body))

    assert (2, 1, 1, 0) == tuple(
        ledger.prune("1d", dry_run=True, **chosen).runs
        for chosen in ({}, {"keep_failed": True}, {"states": ["failed"]}, {"query": "tag.team:c"})
    )
    plan = ledger.prune("1d", dry_run=True, query="tag.team:a")
    assert (1, (done.run.id,)) == (plan.runs, plan.sample)
    for bad in ({"states": ["queued"]}, {"states": ["nonsense"]}, {"query": "x:y"},
                {"states": ["failed"], "keep_failed": True}, {"reason": "x" * 2_001}):  # fmt: skip
        with pytest.raises(InvalidInput):
            ledger.prune("1d", **bad)
    with pytest.raises(InvalidInput):
        ledger.prune("-1d")
    assert 2 == bench.scalar("SELECT count(*) FROM run")


def test_the_key_stays_taken(bench: Bench, ledger: Ledger) -> None:
    """Also for the same request: there is no result to hand out, and no second run to pay for."""
    bench.completed(key="k")
    ledger.prune("1d", reason="old")
    result = bench.commit(bench.submission(key="k"))

    assert isinstance(result, Rejected)
    assert isinstance(result.error, Conflict)
    assert "pruned" in result.error.message
    assert "by ann: old" in result.error.message


def test_a_reason_with_odd_characters_still_proves_itself(bench: Bench, ledger: Ledger) -> None:
    """What is hashed is what the database can give back."""
    bench.completed()
    ledger.prune("1d", reason="NUL \x00, half \ud800, ünïcode")

    assert_whole(bench)


FORGERIES = (
    "UPDATE tombstone SET actor = 'bob'",
    "UPDATE tombstone SET reason = 'other'",
    "UPDATE tombstone SET state = 'failed'",
    "UPDATE tombstone SET key = 'other'",
    "UPDATE tombstone SET counts = '{}'",
    "UPDATE tombstone SET attempts = 7",
    "UPDATE tombstone SET model = 'm'",
    "UPDATE tombstone SET error_code = 'e'",
    "UPDATE tombstone SET fingerprint = 'v1:0'",
    "UPDATE tombstone SET provider = 'x'",
    "UPDATE tombstone SET created_at = '2020-01-01 00:00:00'",
    "UPDATE tombstone SET finished_at = '2020-01-01 00:00:00'",
    "UPDATE tombstone SET pruned_at = '2020-01-01 00:00:00'",
    "UPDATE tombstone SET request_digest = head",
    "UPDATE tombstone SET last_seq = last_seq + 1",
    "UPDATE tombstone SET last_seq = last_seq - 1",
    "UPDATE tombstone SET origin_run = 9",
    "DELETE FROM tombstone",
    "DELETE FROM seal_leaf WHERE seq = (SELECT last_seq FROM tombstone)",
)  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_changed_tombstone_is_named(bench: Bench, ledger: Ledger, forgery: str) -> None:
    """Every fact of it is proved by the seal; and the database refuses to change it."""
    facts = bench.completed()
    bench.committer.run(lambda c: seal(c, bench.store.ledger_id, NOW))
    ledger.prune("1d", reason="old")
    assert () == bench.verify().broken
    with pytest.raises(sa.exc.DBAPIError, match=r"runward: "):
        bench.execute(forgery)
    forge(bench, forgery)

    assert facts.run.id in {fault.run_id for fault in bench.verify().broken}


def forge(bench: Bench, statement: str) -> None:
    """Change rows as somebody would who owns the database."""
    with bench.store.engine.execution_options(write=True).begin() as connection:
        if bench.store.dialect == "postgresql":
            for table in ("tombstone", "seal_leaf", "event", "run"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in connection.exec_driver_sql(named).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql(statement)


def test_a_tombstone_of_a_run_that_is_there_is_named(bench: Bench) -> None:
    """It would let anybody delete the run's events."""
    facts = bench.completed()
    bench.tombstone(facts.run.id, facts.run.key, facts.run.event_seq)

    assert facts.run.id in {fault.run_id for fault in bench.verify().broken}


def test_nothing_is_deleted_without_a_tombstone(bench: Bench) -> None:
    """Not even a run whose other rows are gone."""
    facts = bench.submit()
    for table in ("payload", "attempt", "remote", "watch"):
        bench.execute(f"DELETE FROM {table}")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        bench.execute("DELETE FROM event")
    with pytest.raises(sa.exc.DBAPIError):
        bench.execute(f"DELETE FROM run WHERE id = {facts.run.id}")


def test_a_batch_spares_what_has_moved(bench: Bench) -> None:
    """Chosen by one transaction, pinned by another, and not deleted by the third."""
    first, second = bench.completed(), bench.completed()
    old = Old(before=bench.now.replace(year=2027), states=frozenset({State.completed}))
    bench.operate(second)
    versions = {run.run.id: run.run.version for run in (first, second)}
    made = bench.committer.run(
        lambda c: bury(
            c, bench.store.ledger_id, old, versions, actor="ann", reason="", now=bench.now
        )
    )

    assert 1 == made.runs
    assert [second.run.id] == [
        row for row in (first.run.id, second.run.id) if rows_of(bench, row)["run"]
    ]
    assert_whole(bench)


@SQLITE
@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_any_subset_can_go(bench: Bench, choice: list[tuple[bool, bool]]) -> None:
    """Sealed before or not, whichever run is pruned: verify holds."""
    made = [(bench.completed(), chosen, sealed) for chosen, sealed in choice]
    if any(sealed for _, _, sealed in made):
        bench.committer.run(lambda c: seal(c, bench.store.ledger_id, bench.now))
    old = Old(before=bench.now.replace(year=2027), states=frozenset({State.completed}))
    which: dict[int, int | None] = {facts.run.id: None for facts, chosen, _ in made if chosen}
    before = bench.verify()
    bench.committer.run(
        lambda c: bury(c, bench.store.ledger_id, old, which, actor="a", reason="", now=bench.now)
    )
    after = bench.verify()

    assert () == after.broken
    assert (len(which), -len(which)) == (after.pruned - before.pruned, after.runs - before.runs)


def test_pages_go_on_where_they_ended(
    bench: Bench, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several pages, several batches; what is said of the progress adds up."""
    from ledger.service import retention

    monkeypatch.setattr(retention, "PAGE", 3)
    monkeypatch.setattr(retention, "FIRST_BATCH", 2)
    runs = [bench.completed() for _ in range(8)]
    ledger.pin(runs[3].run.id)
    told: list[int] = []
    done = ledger.prune("1d", told=told.append)

    assert (7, 7) == (done.runs, told[-1])
    assert told == sorted(told)
    assert len(told) > 1
    assert_whole(bench)


def test_a_delivery_that_was_parked_goes_with_its_run(bench: Bench, ledger: Ledger) -> None:
    """Its bytes came before anybody knew whose they were, and name no run."""
    run = bench.completed().run.id
    for key, owner in (("wh-1", run), ("wh-2", None)):
        bench.execute(
            "INSERT INTO delivery (webhook_id, type, profile, secret, via, received_at, state, "
            "run_id, tries, duplicates, object_id, event_id, sent_at) VALUES (:key, 't', 'p', 's', "
            "'http', '2026-03-01', 'matched', :run, 0, 0, 'o', 'e', '2026-03-01')",
            key=key,
            run=owner,
        )
        bench.execute(
            "INSERT INTO evidence (source, key, received_at, digest, body) "
            "VALUES ('webhook', :key, '2026-03-01', :body, :body)",
            key=key,
            body=b"{}",
        )
    assert 1 == ledger.prune("1d").runs

    assert "wh-2" == bench.scalar("SELECT key FROM evidence")


# Erasing.


def contents_everywhere(bench: Bench) -> Facts:
    """A run whose every place for contents holds the canary."""
    facts = bench.sending(
        request=f'{{"input":"{CANARY}"}}'.encode(), tags={"subject": CANARY, "team": "x"}
    )
    error = {"code": "server_error", "message": f"about {CANARY}"}
    body = response("failed", remote_id=f"resp_{facts.run.id}", error=error, output=[
        function_call("call_1", arguments=f'{{"x": "{CANARY}"}}')
    ])  # fmt: skip
    facts = bench.take(facts, seen(body))
    bench.operate(facts)
    bench.execute(
        "INSERT INTO evidence (source, key, run_id, received_at, salt, digest, body) "
        "VALUES ('webhook', :key, :run, '2026-03-01 12:00:00', :digest, :digest, :body)",
        key=f"wh-{facts.run.id}",
        run=facts.run.id,
        digest=b"d" * 32,
        body=CANARY.encode(),
    )
    bench.execute("UPDATE run SET evidence_seen = 1000000")
    return bench.facts(facts.run.id)


def test_an_erased_run_keeps_its_shape_and_loses_its_contents(bench: Bench, ledger: Ledger) -> None:
    """No row holds them; the history says who and why; the chain verifies, and says how many."""
    facts = contents_everywhere(bench)
    run = facts.run.id
    ledger.note(run, f"a remark about {CANARY}")
    before = bench.scalar("SELECT count(*) FROM payload")
    done = ledger.erase([run], reason="asked for")

    assert ((run,), before, ()) == (done.runs, done.payloads, done.refused)
    assert not held(bench)
    (event,) = [e for e in ledger.events(run) if e["kind"] == "erased"]
    assert ({"payloads": before, "reason": "asked for"}, "ann") == (event["detail"], event["actor"])
    checked = bench.verify()
    assert ((), before) == (checked.broken, checked.erased)
    assert {"subject": "", "team": ""} == ledger.get(run).tags
    shown = ledger.show(run)
    assert ("failed", ledger.get(run).erased_at) == (
        shown["status"],
        datetime.fromisoformat(shown["erased_at"]),
    )
    assert_whole(bench)


def test_an_erased_result_is_not_an_empty_one(bench: Bench, ledger: Ledger) -> None:
    """Whoever asks for it hears that there was one."""
    facts = bench.sending()
    said = [{"type": "message", "content": [{"type": "output_text", "text": CANARY}]}]
    run = bench.take(facts, seen(response("completed", remote_id="resp_1", output=said))).run.id
    assert CANARY == ledger.result(run)
    ledger.erase([run])

    with pytest.raises(NotFound, match=r"the result of run \d+ was erased \d{4}-"):
        ledger.result(run)


def held(bench: Bench) -> list[str]:
    """The tables that still hold the canary."""
    found = []
    for table in sa.inspect(bench.store.engine).get_table_names():
        with bench.store.reading() as connection:
            rows = connection.exec_driver_sql(f'SELECT * FROM "{table}"').all()
        if CANARY in str([[bytes(v) if isinstance(v, memoryview) else v for v in r] for r in rows]):
            found.append(table)
    return found


def test_the_canary_is_in_every_place_before(bench: Bench) -> None:
    """So that the test above means something."""
    contents_everywhere(bench)

    assert {"payload", "run", "attempt", "evidence"} <= set(held(bench))


def failed_with(bench: Bench, message: str, key: str) -> int:
    """A run that failed and said so."""
    error = {"code": "server_error", "message": message}
    facts = bench.sending(key=key)
    return bench.take(facts, seen(response("failed", remote_id=key, error=error))).run.id


def messages(bench: Bench) -> list[str | None]:
    """What the fingerprints say."""
    with bench.store.reading() as connection:
        statement = "SELECT message FROM fingerprint ORDER BY message"
        return [row[0] for row in connection.exec_driver_sql(statement)]


def test_what_failures_have_in_common_is_blanked_with_the_last(
    bench: Bench, ledger: Ledger, tmp_path: Path
) -> None:
    """While another run said the same it stays; and it is there again when one says so again."""
    first, second = (failed_with(bench, f"about {CANARY}", key) for key in ("a", "b"))
    ledger.erase([first])
    assert [mask(f"about {CANARY}")] == messages(bench)
    assert [True, False] == ['"failure":null' in "".join(ledger.export(f"key:{k}")) for k in "ab"]
    ledger.erase([second])

    assert [None] == messages(bench)
    assert not held(bench)
    assert "a" == ledger.get(first).key
    shown = ledger.errors(since="9000d")["groups"]
    assert [(2, "server_error", None)] == [(g["attempts"], g["code"], g["message"]) for g in shown]
    failed_with(bench, f"about {CANARY}", "c")
    assert [mask(f"about {CANARY}")] == messages(bench)


def test_erasing_again_destroys_what_came_since(bench: Bench, ledger: Ledger) -> None:
    """And is nothing where nothing did; why it was erased the first time stays."""
    run = bench.completed().run.id
    ledger.erase([run], reason="first")
    assert 0 == ledger.erase([run], reason="again").payloads
    ledger.note(run, CANARY)
    assert 1 == ledger.erase([run], reason="second").payloads

    assert not held(bench)
    reasons = [e["detail"]["reason"] for e in ledger.events(run) if e["kind"] == "erased"]
    assert ["first", "second"] == reasons
    assert () == bench.verify().broken


def test_what_is_needed_is_not_erased(bench: Bench, ledger: Ledger) -> None:
    """Without a verdict, with a tail, pinned: listed with the reason, and the rest goes on."""
    open_run, tail, pinned = bench.submit(), bench.completed(), bench.completed()
    free = bench.completed()
    bench.execute("UPDATE remote SET settled = :no WHERE run_id = :run", no=False, run=tail.run.id)
    ledger.pin(pinned.run.id)
    ids = [facts.run.id for facts in (open_run, tail, pinned, free)]
    done = ledger.erase(ids)

    assert (free.run.id,) == done.runs
    assert ids[:3] == [run for run, _ in done.refused]
    assert "pinned" in dict(done.refused)[pinned.run.id]
    with pytest.raises(InvalidInput):
        ledger.erase()
    with pytest.raises(NotFound):
        ledger.erase(["nobody"])


def test_a_tag_names_all_its_runs(bench: Bench, ledger: Ledger) -> None:
    """And only those."""
    mine = [bench.completed(tags={"subject": "u1"}).run.id for _ in range(2)]
    bench.completed(tags={"subject": "u10"})
    plan = ledger.erase(tag=("subject", "u1"), dry_run=True)

    assert tuple(mine) == plan.runs == ledger.erase(tag=("subject", "u1")).runs
    assert () == ledger.erase(tag=("subject", "u1")).runs


def test_an_erased_run_is_not_driven_again(bench: Bench, ledger: Ledger) -> None:
    """A restart has no request to send, and a look would fetch what was erased."""
    facts = contents_everywhere(bench)
    ledger.erase([facts.run.id])
    with pytest.raises(NotAllowed, match="erased"):
        ledger.restart(facts.run.id)
    with pytest.raises(NotAllowed, match="erased"):
        ledger.recheck(facts.run.id)
    assert not ledger.plan_restart(facts.run.id).allowed


GUARDED = (
    "UPDATE event SET detail = NULL",
    "UPDATE event SET actor = 'bob'",
    "UPDATE attempt SET error_message = NULL",
    "UPDATE attempt SET outcome = 'completed'",
)


@pytest.mark.parametrize("statement", GUARDED)
def test_only_an_erased_run_may_be_blanked(bench: Bench, statement: str) -> None:
    """The database refuses it otherwise; and of an erased one, anything but blanking."""
    contents_everywhere(bench)
    with pytest.raises(sa.exc.DBAPIError, match="runward: "):
        bench.execute(statement)
    bench.execute("UPDATE run SET erased_at = created_at")
    if "NULL" in statement:
        bench.execute(statement)
        statement = statement.replace("NULL", "'{}'")
    with pytest.raises(sa.exc.DBAPIError, match="runward: "):
        bench.execute(statement)


@SQLITE
@pytest.mark.parametrize("rewrite", [False, True])
def test_nothing_is_left_on_the_disk(bench: Bench, ledger: Ledger, rewrite: bool) -> None:
    """Neither the file nor the write-ahead log holds the contents any more."""
    assert bench.store.path is not None
    for _ in range(20):
        bench.completed()
    facts = [contents_everywhere(bench) for _ in range(3)]
    for _ in range(20):
        bench.completed()
    assert on_disk(bench.store.path)
    done = ledger.erase([one.run.id for one in facts], rewrite=rewrite)

    assert (True, "") == (done.cleaned, done.note)
    assert not on_disk(bench.store.path)


def on_disk(path: Path) -> list[str]:
    """The files that hold the canary, with where."""
    files = sorted(path.parent.glob(path.name + "*"))
    return [file.name for file in files if file.is_file() and CANARY.encode() in file.read_bytes()]


DYING = """
import os, signal, sys
from ledger import Ledger
from ledger.service import retention

where, url, archive = sys.argv[1:]
retention.FIRST_BATCH = 2

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "inside":
    from ledger.store import pruning
    delete = pruning._delete
    pruning._delete = lambda *given: (delete(*given), die())
with Ledger.open(url) as ledger:
    ledger.prune("1d", archive=archive, told=die)
"""


@pytest.mark.parametrize("where", ["between", "inside"])
def test_a_killed_prune_is_completed_by_the_next(
    bench: Bench, ledger: Ledger, tmp_path: Path, where: str
) -> None:
    """Each batch happened or it did not; nothing is half there, nor twice in the archive."""
    runs = [bench.completed().run.id for _ in range(6)]
    archive = tmp_path / "archive.ndjson"
    done = subprocess.run(
        [sys.executable, "-c", DYING, where, bench.store.url, str(archive)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert -signal.SIGKILL == done.returncode
    assert_whole(bench)
    left = bench.scalar("SELECT count(*) FROM run")
    assert {"between": 4, "inside": 6}[where] == left
    again = ledger.prune("1d", archive=archive)

    assert (left, 6) == (again.runs, again.archived)
    exported = [json.loads(line) for line in archive.read_text().splitlines()]
    assert runs == sorted(line["run"] for line in exported if line["type"] == "run")
    assert 6 == bench.verify().pruned
    assert_whole(bench)


def test_the_asynchronous_ledger_lets_go_too(bench: Bench, tmp_path: Path) -> None:
    """The same calls, awaited."""
    for key in ("a", "b", "c"):
        bench.completed(key=key)

    async def work() -> tuple[int, int, int, bool]:
        async with await AsyncLedger.open(bench.store.url, actor="ann") as ledger:
            await ledger.pin("a")
            await ledger.pin("b")
            await ledger.unpin("b")
            erased = await ledger.erase(["b"])
            packed = await ledger.bundle("a", tmp_path / "a.zip")
            exported = await ledger.export_to(tmp_path / "all.ndjson")
            pruned = await ledger.prune("1d")
            again = await ledger.import_from(tmp_path / "all.ndjson", dry_run=True)
            assert 1 == again.skipped
            return len(erased.runs), exported.runs, pruned.runs, packed.events > 0

    assert (1, 3, 2, True) == asyncio.run(work())
    assert_whole(bench)
