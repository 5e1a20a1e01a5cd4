"""Runs of one ledger taken into another, on the other kind of database, and driven there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from choosing import examples
from databases import migrated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import NOW, SQLITE, Bench, flagged, function_call, later, response, seen

from ledger import InvalidInput, Ledger, NotFound
from ledger.clock import wait_until
from ledger.core.hashing import payload_digest
from ledger.errors import CheckFailed
from ledger.store.evidence import Fact, Filing
from ledger.store.exporting import FAILURE_FIELDS
from ledger.store.following import begin, page_after
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.records import Rejected
from ledger.store.store import Store


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """A ledger on the bench's database."""
    with Ledger.open(bench.store.url, actor="ann") as opened:
        yield opened


@pytest.fixture
def other_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database of the other kind."""
    kind = "sqlite" if dialect == "postgresql" else "postgresql"
    with migrated(kind, request, tmp_path / "other.db") as url:
        yield url


@pytest.fixture
def other(other_url: str) -> Iterator[Bench]:
    """Another ledger, which has a run of its own."""
    store = Store.open(other_url)
    # What is copied from a template has its identity too.
    made = Bench(store)
    made.execute("UPDATE ledger SET id = 'ffffffffffffffffffffffffffffffff'")
    made.close()
    store.close()
    store = Store.open(other_url)
    made = Bench(store)
    done = response("completed", remote_id="resp_theirs", output=[{"type": "message"}])
    made.take(made.sending(key="theirs"), seen(done))
    yield made
    made.close()
    store.close()


@pytest.fixture
def target(other: Bench) -> Iterator[Ledger]:
    """That ledger, opened."""
    with Ledger.open(other.store.url, actor="bob") as opened:
        yield opened


def several(bench: Bench) -> list[int]:
    """Final runs of many shapes."""
    done = bench.completed(tags={"team": "a"}, key="done")
    failed = bench.sending(request=b'{"input":"\xff\x00"}', key="failed")
    error = {"code": "server_error", "message": "x"}
    failed = bench.take(failed, seen(response("failed", remote_id="resp_f", error=error)))
    bench.operate(failed, flagged(failed))
    for source, seen_it in (("webhook", 1), ("life", 0)):
        bench.execute(
            "INSERT INTO evidence (source, key, run_id, received_at, salt, digest, body) "
            "VALUES (:source, 'wh-1', :run, '2026-03-01 12:00:00', :body, :digest, :body)",
            source=source,
            run=done.run.id,
            body=b"{}",
            digest=payload_digest(b"{}", b"{}"),
        )
        if seen_it:
            bench.execute("UPDATE run SET evidence_seen = (SELECT max(id) FROM evidence)")
    return [done.run.id, failed.run.id]


def assert_whole(bench: Bench) -> None:
    """The chain, the seals and doctor's invariants hold."""
    assert () == bench.verify().broken
    for invariant in INVARIANTS:
        assert [] == bench.store.read(lambda c, i=invariant: broken(c, i)), invariant.text


def exported(ledger: Ledger, tmp_path: Path, query: str = "") -> Path:
    """A file with the runs."""
    path = tmp_path / f"export-{len(list(tmp_path.iterdir()))}.ndjson"
    ledger.export_to(path, query)
    return path


SAME = ("key", "status", "tags", "attempts", "error_code", "error_message", "usage", "created_at",
        "finished_at", "request", "result", "attempts_detail", "tool_calls",
        "needs_attention")  # fmt: skip


def test_runs_come_over_whole(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Under new numbers, with the history they had and one event more, which says from where."""
    several(bench)
    path = exported(ledger, tmp_path)
    done = target.import_from(path)

    assert (2, 0, True) == (done.runs, done.skipped, done.whole), done
    for key in ("done", "failed"):
        here, there = target.show(key), ledger.show(key)
        assert [there[name] for name in SAME] == [here[name] for name in SAME]
        events, before = list(target.events(key)), list(ledger.events(key))
        assert [e["hash"] for e in before] == [e["hash"] for e in events[:-1]]
        last = events[-1]
        assert ("imported", "bob") == (last["kind"], last["actor"])
        assert bench.store.ledger_id == last["detail"]["ledger"]
        assert there["id"] == last["detail"]["run"]
        run = target.get(key)
        assert (bench.store.ledger_id, there["id"]) == (run.origin_ledger, run.origin_run)
    assert 1 == len(other.facts(target.get("done").id).evidence)
    # Found as runs are found, and their failures are known for what they are.
    found = [[run.key for run in target.runs(query)] for query in ("tag.team:a", "imported:true")]
    assert [["done"], ["done", "failed"]] == [sorted(keys) for keys in found]
    mine, theirs = [one.errors(since=NOW, until=later(9_000))["groups"] for one in (ledger, target)]
    assert ["server_error"] == [group["code"] for group in theirs]
    assert mine == theirs
    assert_whole(other)
    target.anchor()
    assert_whole(other)


def test_a_delivery_that_came_here_too_proves_itself(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Nobody knew here whose it was. An export whose delivery is missing is refused."""
    bench.announced(bench.completed(key="told"))
    path = exported(ledger, tmp_path)
    fact = Fact("webhook", "wh-1", None, b"{}")
    other.committer.run(lambda c: Filing(other.store.engine.dialect).add(c, [fact], NOW))
    assert 1 == target.import_from(path).runs

    assert ["webhook", "parked"] == [
        other.scalar(f"SELECT source FROM evidence ORDER BY id LIMIT 1 OFFSET {n}") for n in (0, 1)
    ]
    assert_whole(other)
    erased = target.erase(["told"])
    assert 1 == len(erased.runs)
    assert 0 == other.scalar("SELECT count(*) FROM evidence WHERE body IS NOT NULL")


def test_an_export_without_its_delivery_is_refused(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path
) -> None:
    """The event names it."""
    bench.announced(bench.completed())
    path = exported(ledger, tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith('{"type":"evidence"')))
    done = target.import_from(path, changed=True)

    assert (0, 1) == (done.runs, done.refusals)
    assert done.refused[0].why.endswith("the evidence that it names is missing")


def test_importing_again_skips_what_is_there(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path
) -> None:
    """Also where something happened here since; what differs is refused."""
    several(bench)
    path = exported(ledger, tmp_path)
    target.import_from(path)
    target.note("done", "since")
    again = target.import_from(path)
    assert (0, 2, True) == (again.runs, again.skipped, again.whole)
    ledger.note("done", "over there too")
    forked = target.import_from(exported(ledger, tmp_path))

    assert (0, 1, 1) == (forked.runs, forked.skipped, forked.refusals)
    assert "another history" in forked.refused[0].why


def test_an_export_of_the_import_comes_back_to_nothing_new(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path
) -> None:
    """The ledger that a run began in knows it already, in an earlier state."""
    several(bench)
    target.import_from(exported(ledger, tmp_path))
    back = ledger.import_from(exported(target, tmp_path, "key:done"))

    assert (0, 0, 1) == (back.runs, back.skipped, back.refusals)


def test_a_taken_key_and_a_pruned_run_are_refused(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Listed with what has the key; the rest goes on. A dry run says the same, and writes
    nothing."""
    several(bench)
    bench.completed(key="theirs")
    path = exported(ledger, tmp_path)
    before = other.scalar("SELECT count(*) FROM event")
    dry = target.import_from(path, dry_run=True)
    assert before == other.scalar("SELECT count(*) FROM event")
    done = target.import_from(path)

    assert (2, 1) == (dry.runs, dry.refusals) == (done.runs, done.refusals)
    assert "'theirs' is taken by run 1" in done.refused[0].why
    assert dry.dry
    target.prune("1d", query="key:done", reason="old")
    again = target.import_from(path)
    assert (0, 1, 2) == (again.runs, again.skipped, again.refusals)
    assert any("pruned" in refused.why for refused in again.refused)
    assert_whole(other)
    archived = ledger.export_to(tmp_path / "mine.ndjson")
    own = ledger.import_from(archived.path)
    assert (0, 3) == (own.runs, own.skipped)


def test_what_still_moves_is_taken_over_or_refused(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Two ledgers must not drive one run; taken over, it is watched and goes on here."""
    queued = bench.submit(key="queued")
    thread = bench.sending(
        provider="responses", serial_key="thread_1", key="thread", request=b'{"model":"m"}'
    )
    bench.take(thread, seen(response("in_progress", remote_id="resp_t")))
    asks = bench.sending(key="asks")
    calls = response("completed", remote_id="resp_c", output=[function_call("call_1")])
    bench.take(asks, seen(calls))
    path = exported(ledger, tmp_path)
    refused = target.import_from(path)

    assert (0, 3) == (refused.runs, refused.refusals)
    assert "--take-over" in refused.refused[0].why
    done = target.import_from(path, take_over=True)
    assert (3, 0) == (done.runs, done.refusals), done
    ids = {key: target.get(key).id for key in ("queued", "thread", "asks")}
    watched = other.scalar("SELECT count(*) FROM watch")
    assert (3, ids["thread"]) == (watched, other.scalar("SELECT run_id FROM lane"))
    assert_whole(other)
    other.now = other.now.replace(year=2027)
    assert {*ids.values()} == {facts.run.id for facts in other.claim()}
    facts = other.facts(ids["thread"])
    ended = other.take(
        facts, seen(response("completed", remote_id="resp_t", output=[{"type": "message"}]))
    )
    assert "completed" == ended.run.state
    assert_whole(other)
    assert queued.run.state == target.get("queued").state


def test_nobody_is_told_of_what_happened_elsewhere(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """A follower of this ledger's log hears nothing of an imported history."""
    other.committer.run(lambda c: begin(c, "crm"))
    place = other.store.read(lambda c: page_after(c, page_after_nothing(c))).end
    several(bench)
    target.import_from(exported(ledger, tmp_path))
    other.completed(key="new")

    def told() -> set[str]:
        page = other.store.read(lambda c: page_after(c, place))
        return {notice.key for _, notice in page.notices}

    # On a server that others use too, the log is held back while a transaction of theirs runs.
    assert wait_until(lambda: "new" in told(), seconds=20)
    assert told() <= {"new", "theirs"}


def page_after_nothing(connection: Any) -> Any:
    """The end of the log."""
    from ledger.store.following import end_of_log

    return end_of_log(connection)


def rewritten(path: Path, change: Any) -> Path:
    """A copy of an export with its lines changed."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    made = path.with_name(path.name + ".changed")
    kept = [line for line in (change(line) for line in lines) if line is not None]
    made.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return made


def event_actor(line: dict[str, Any]) -> dict[str, Any]:
    """The first event of run 1, by somebody else."""
    mine = line["type"] == "event" and (line["run"], line["seq"]) == (1, 1)
    return line | {"actor": "mallory"} if mine else line


def payload_text(line: dict[str, Any]) -> dict[str, Any]:
    """Another request for run 1."""
    mine = line["type"] == "payload" and (line["run"], line["n"]) == (1, 1)
    return line | {"text": "{}"} if mine else line


def dropped(kind: str) -> Any:
    """Without the last line of this kind of run 1."""

    def change(line: dict[str, Any]) -> dict[str, Any] | None:
        mine = line["type"] == kind and line["run"] == 1
        return None if mine and line.get("seq", line.get("n", 1)) == 1 else line

    return change


def with_field(kind: str, /, **fields: Any) -> Any:
    """Other values in the lines of run 1."""

    def change(line: dict[str, Any]) -> dict[str, Any]:
        return line | fields if line["type"] == kind and line["run"] == 1 else line

    return change


BREAKS = {
    "actor": event_actor,
    "request": payload_text,
    "no event": dropped("event"),
    "no payload": dropped("payload"),
    "no attempt": dropped("attempt"),
    "no end": dropped("end"),
    "state": with_field("run", state="failed"),
    "head": with_field("run", head_hash="00" * 32),
    "unknown field": with_field("run", surprise=1),
    "too large": with_field("run", calls=2**70),
    "negative": with_field("run", calls=-1),
    "NUL": with_field("run", model="a\x00b"),
    "half a character": with_field("run", model="\ud800"),
    "key": with_field("run", key=" "),
    "provider": with_field("run", provider="nobody"),
    "policy": with_field("run", policy={}),
    "policy number": with_field("run", policy=[]),
    "tags": with_field("run", tags={"a b": "c"}),
    "time": with_field("run", created_at="yesterday"),
    "naive time": with_field("run", created_at="2026-03-01T12:00:00"),
    "account": with_field("run", account={}),
    "marker": with_field("remote", marker="other:1:1:1"),
    "digest": with_field("payload", digest="zz"),
    "reference": with_field("run", result=99),
    "bytes gone": with_field("payload", text=None, salt=None),
    "type": with_field("event", kind="nonsense"),
    "fingerprint": with_field(
        "attempt",
        fingerprint="v1:0000000000000000",
        failure=dict.fromkeys(FAILURE_FIELDS) | {"provider": "responses"},
    ),
    "evidence": with_field("evidence", text="{ }"),
    "evidence gone": with_field("evidence", text=None, salt=None),
    "finished": with_field("run", finished_at=None, state="completed"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_run_is_refused_and_named(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path, how: str
) -> None:
    """And the other one comes over; that the file was changed is said too."""
    several(bench)
    path = rewritten(exported(ledger, tmp_path), BREAKS[how])
    done = target.import_from(path, changed=True)

    assert (1, 1) == (done.runs, len({refused.what for refused in done.refused} - LINES)), done
    assert done.refused[0].what.startswith("run 1 ")
    assert how != "actor" or "event 1 was changed" == done.refused[0].why
    assert "changed" in done.problems[0]
    assert 2 == other.scalar("SELECT count(*) FROM run")
    assert_whole(other)


def forged(line: dict[str, Any]) -> dict[str, Any]:
    """Another model, which no chain covers."""
    return line | {"model": "better"} if line["type"] == "run" else line


def miscounted(line: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the right hash and a wrong count."""
    return line | {"runs": 3} if line["type"] == "manifest" else line


@pytest.mark.parametrize("change", [forged, miscounted])
@pytest.mark.parametrize("dry", [False, True])
def test_a_file_that_was_changed_is_refused_whole(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path, change: Any,
    dry: bool,
) -> None:  # fmt: skip
    """Before a row is written, also where every chain holds; unless one says to take it."""
    several(bench)
    lines = exported(ledger, tmp_path).read_bytes().splitlines(keepends=True)
    path = tmp_path / "changed.ndjson"
    made = [(json.loads(one), one) for one in lines]
    path.write_bytes(
        b"".join(
            one if change(fields) == fields else json.dumps(change(fields)).encode() + b"\n"
            for fields, one in made
        )
    )
    with pytest.raises(CheckFailed, match=r"changed after it was written.*nothing was taken"):
        target.import_from(path, dry_run=dry)

    assert 1 == other.scalar("SELECT count(*) FROM run")
    done = target.import_from(path, changed=True, dry_run=dry)
    assert (2, 1, False) == (done.runs, len(done.problems), done.whole)


def test_an_archive_gives_back_the_newest_copy(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune died between writing down and deleting, and somebody noted the run before the next
    one: the file has it twice."""
    done = bench.completed(key="twice")
    path = tmp_path / "archive.ndjson"

    def die(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ledger.service.retention.Retention._bury", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.prune("1d", archive=path)
    ledger.note(done.run.id, "a late word")
    ledger.prune("1d", archive=path)
    assert 2 == path.read_text().count('{"type":"end"')
    taken = target.import_from(path)

    assert (1, 0, 0, True) == (taken.runs, taken.skipped, taken.refusals, taken.whole), taken
    kinds = [event["kind"] for event in target.events("twice")]
    assert ["noted", "imported"] == kinds[-2:]
    assert () == target.verify().broken


def test_what_would_fill_memory_is_refused_unread(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is mostly brackets, and a line longer than any; long texts are fine."""
    monkeypatch.setattr("ledger.service.export_reading.PLAIN_BYTES", 100_000)
    monkeypatch.setattr("ledger.service.export_reading.NESTED_BYTES_MAX", 50_000)
    bench.completed(request=json.dumps({"input": '"[{\\' * 200_000}).encode())
    lines = exported(ledger, tmp_path).read_text().splitlines(keepends=True)
    nested = '{"type":"payload","run":9,"text":[' + "{}," * 40_000 + "0]}\n"
    many = '{"type":"payload","run":9,"text":[' + '"",' * 40_000 + "0]}\n"
    path = tmp_path / "nested.ndjson"
    for bad in (nested, many):
        path.write_text(
            "".join([lines[0], '{"type":"run","run":9,"key":"bad"}\n', bad, *lines[1:]])
        )
        done = target.import_from(path, changed=True, dry_run=True)
        assert 1 == done.runs
        assert "run 9 (key 'bad')" == done.refused[0].what
        assert done.refused[0].why.startswith("it nests more than 50000 bytes")
    monkeypatch.setattr("ledger.service.export_reading.LINE_BYTES_MAX", 100_000)
    with pytest.raises(InvalidInput, match="line 3 is longer than 100000 bytes"):
        target.import_from(path, changed=True)


LINES = {f"line {n}" for n in range(100)}


def test_a_file_that_was_cut_off_is_said_to_be(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path
) -> None:
    """What is whole in it comes over."""
    several(bench)
    path = exported(ledger, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b'{"type":"end","run":2')])
    done = target.import_from(path)

    assert (1, 1) == (done.runs, done.refusals)
    assert "cut off" in done.problems[0]
    path.write_bytes(whole)
    assert (1, 1, True) == (
        (again := target.import_from(path)).runs,
        again.skipped,
        again.whole,
    )


def test_a_run_without_end_is_not_kept_in_memory(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused after so many lines, and what follows it is read."""
    monkeypatch.setattr("ledger.service.export_reading.RUN_LINES_MAX", 60)
    several(bench)
    lines = exported(ledger, tmp_path).read_text().splitlines(keepends=True)
    path = tmp_path / "endless.ndjson"
    path.write_text("".join([*lines[:2], '{"type":"event","run":1}\n' * 100, *lines[1:]]))
    done = target.import_from(path, changed=True)

    assert (2, "it is larger than") == (done.runs, done.refused[0].why[:17])


def test_what_is_no_export_is_refused(target: Ledger, tmp_path: Path) -> None:
    """Clearly, and before anything is written."""
    for body in (b"", b"x", b"\xff\xfe", b"[" * 100_000, b"null\n", b"{}\n"):
        path = tmp_path / "bad"
        path.write_bytes(body)
        with pytest.raises(InvalidInput):
            target.import_from(path)
    for place in (tmp_path, tmp_path / "none", Path("a\x00b")):
        with pytest.raises(InvalidInput):
            target.import_from(place)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@SQLITE
@settings(
    max_examples=examples(50, all_of_them=150),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(data=st.data())
def test_garbage_never_ends_in_a_traceback(
    bench: Bench, ledger: Ledger, target: Ledger, tmp_path: Path, data: st.DataObject
) -> None:
    """Any field of any line replaced by anything, lines cut, doubled and swapped."""
    path = tmp_path / "good.ndjson"
    if not path.exists():
        several(bench)
        ledger.export_to(path)
    lines = path.read_bytes().splitlines()
    at = data.draw(st.integers(1, len(lines) - 1))
    what = data.draw(st.sampled_from(["field", "bytes", "swap", "double", "raw"]))
    if what == "field":
        fields = json.loads(lines[at])
        fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(VALUES)
        lines[at] = json.dumps(fields).encode()
    elif what == "bytes":
        cut = data.draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:cut]
    elif what == "swap":
        lines[at], lines[-at] = lines[-at], lines[at]
    elif what == "double":
        lines.insert(at, lines[at])
    else:
        lines[at] = data.draw(st.binary(max_size=40))
    bad = tmp_path / "bad.ndjson"
    bad.write_bytes(b"".join(line + b"\n" for line in lines))
    try:
        target.import_from(bad, changed=data.draw(st.booleans()))
    except (CheckFailed, InvalidInput):
        return
    assert () == target.verify().broken


def test_erased_and_adopted_runs_come_over(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Digests without bytes verify here as there."""
    run = several(bench)[0]
    ledger.erase([run], reason="asked")
    done = target.import_from(exported(ledger, tmp_path))

    assert (2, True) == (done.runs, done.whole), done
    assert target.get("done").erased_at is not None
    assert bench.verify().erased == other.verify().erased
    assert_whole(other)


def test_what_was_pruned_comes_over_too(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Its key stays taken, who pruned it and why is known, and a seal here covers it."""
    several(bench)
    gone = bench.completed(key="gone", tags={"team": "a"})
    ledger.prune("1d", query="key:gone", reason="policy 7")
    path = exported(ledger, tmp_path)
    assert "tombstone" not in "".join(ledger.export("key:done")).replace('"tombstone":0', "")
    dry = target.import_from(path, dry_run=True)
    assert (2, 1, True) == (dry.runs, dry.tombstones, dry.whole)
    done = target.import_from(path)
    assert (2, 1, 0, True) == (done.runs, done.tombstones, done.skipped, done.whole)
    again = target.import_from(path)

    assert (0, 0, 3, True) == (again.runs, again.tombstones, again.skipped, again.whole)
    with pytest.raises(NotFound, match=r"pruned .* by ann: policy 7"):
        target.show("gone")
    assert isinstance(other.commit(other.submission(key="gone")), Rejected)
    assert (1, 1) == (other.verify().pruned, other.scalar("SELECT count(*) FROM seal"))
    assert_whole(other)
    fresh = other.completed(key="fresh")
    assert gone.run.event_seq > 0
    assert 0 == other.scalar("SELECT count(*) FROM tombstone WHERE run_id = :run", run=fresh.run.id)
    assert_whole(other)


STONES = {
    "who": {"actor": "mallory"},
    "a count": {"counts": {"events": 1}},
    "a text for a count": {"counts": {"events": "many"}},
    "no state of its own": {"state": "queued"},
    "no time": {"pruned_at": None},
    "more": {"surprise": 1},
    "no salt": {"salt": "zz"},
    "no number": {"run": "one"},
}


@pytest.mark.parametrize("how", STONES)
def test_a_forged_tombstone_is_refused(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path, how: str
) -> None:
    """What it says is what was sealed, or it is not taken."""
    bench.completed(key="gone")
    ledger.prune("1d")

    def forge(line: dict[str, Any]) -> dict[str, Any]:
        return line | STONES[how] if line["type"] == "tombstone" else line

    path = rewritten(exported(ledger, tmp_path), forge)
    done = target.import_from(path, changed=True)

    assert (0, 1) == (done.tombstones, done.refusals)
    assert 0 == other.scalar("SELECT count(*) FROM tombstone")


def test_a_tombstone_of_a_taken_key_is_refused(
    bench: Bench, ledger: Ledger, other: Bench, target: Ledger, tmp_path: Path
) -> None:
    """Unless it is of that very run, which was pruned there after it had come here."""
    bench.completed(key="moved")
    bench.completed(key="theirs")
    target.import_from(exported(ledger, tmp_path))
    ledger.prune("1d")
    done = target.import_from(exported(ledger, tmp_path))

    assert (0, 1, 1) == (done.tombstones, done.skipped, done.refusals)
    assert "another run" in done.refused[0].why
    assert 0 == other.scalar("SELECT count(*) FROM tombstone")


def test_an_interrupted_export_goes_on_among_tombstones(
    bench: Bench, ledger: Ledger, tmp_path: Path
) -> None:
    """At any line, and the file is the same in the end."""
    bench.completed(key="stays", tags={"team": "b"})
    for key in "abc":
        bench.completed(key=key, tags={"team": "a"})
    ledger.prune("1d", query="tag.team:a")
    whole = exported(ledger, tmp_path).read_text().splitlines(keepends=True)
    for lines in range(1, len(whole)):
        cut = tmp_path / f"{lines}.ndjson"
        cut.write_text("".join(whole[:lines]) + whole[lines][:9])
        ledger.export_to(cut, resume=True)
        assert whole == cut.read_text().splitlines(keepends=True)
