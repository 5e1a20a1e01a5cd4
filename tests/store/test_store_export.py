"""Runs written out: every row, line by line, and a file that survives being cut off."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import NOW, Bench, function_call, response, seen

from ledger import InvalidInput, Ledger
from ledger.core.export_format import PARTS
from ledger.core.hashing import payload_digest
from ledger.store.seals import seal


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """A ledger on the bench's database."""
    with Ledger.open(bench.store.url, actor="ann") as opened:
        yield opened


def several(bench: Bench) -> list[int]:
    """Runs of many shapes: completed, failed, with a tool call, with evidence, still queued."""
    done = bench.completed(tags={"team": "a"})
    failed = bench.sending(request=b'{"input":"\xff\x00"}')
    error = {"code": "server_error", "message": "ünsagbar"}
    failed = bench.take(failed, seen(response("failed", remote_id="resp_f", error=error)))
    asks = bench.sending()
    calls = response("completed", remote_id="resp_c", output=[function_call("call_1")])
    bench.take(asks, seen(calls))
    bench.execute(
        "INSERT INTO evidence (source, key, run_id, received_at, salt, digest, body) "
        "VALUES ('webhook', 'wh-1', :run, '2026-03-01 12:00:00', :body, :digest, :body)",
        run=done.run.id,
        body=b"{}",
        digest=payload_digest(b"{}", b"{}"),
    )
    bench.execute("UPDATE run SET evidence_seen = 1000 WHERE id = :run", run=done.run.id)
    open_run = bench.submit()
    bench.committer.run(lambda c: seal(c, bench.store.ledger_id, NOW))
    return [done.run.id, failed.run.id, asks.run.id, open_run.run.id]


def parsed(lines: Any) -> list[dict[str, Any]]:
    """The lines as objects."""
    return [json.loads(text) for text in lines]


def test_every_row_of_a_run_is_a_line(bench: Bench, ledger: Ledger) -> None:
    """Header, groups in order, manifest; the counts are those of the tables."""
    several(bench)
    lines = list(ledger.export(now=NOW))
    first, *rows, last = parsed(lines)

    assert ("header", "runward-export", 1) == (first["type"], first["format"], first["version"])
    assert "manifest" == last["type"]
    found = Counter(row["type"] for row in rows)
    names = ("run", *PARTS, "tombstone")
    tables = {name: bench.scalar(f"SELECT count(*) FROM {name}") for name in names}
    assert tables == {name: found[name] for name in tables} == last["counts"]
    assert found["end"] == found["run"] == last["runs"] == last["sealed"] == 4
    body = "".join(text + "\n" for text in lines[:-1])
    assert hashlib.sha256(body.encode()).hexdigest() == last["sha256"]
    assert lines == list(ledger.export(now=NOW))
    assert [row["run"] for row in rows] == sorted(row["run"] for row in rows)


def test_bytes_travel_as_text_where_they_are_text(bench: Bench, ledger: Ledger) -> None:
    """And as base64 where not; an erased payload has neither."""
    runs = several(bench)
    ledger.erase([runs[0]])
    rows = [row for row in parsed(ledger.export()) if row["type"] == "payload"]

    assert any("base64" in row for row in rows)
    assert any("text" in row for row in rows)
    gone = [row for row in rows if row["run"] == runs[0] and "text" not in row]
    assert gone
    assert all(row["salt"] is None and row["digest"] for row in gone)


def test_a_query_narrows_and_is_kept(bench: Bench, ledger: Ledger) -> None:
    """In the header; a bad one is refused before anything is written."""
    runs = several(bench)
    rows = parsed(ledger.export("status:failed"))

    assert "status:failed" == rows[0]["query"]
    assert [runs[1]] == [row["run"] for row in rows if row["type"] == "run"]
    with pytest.raises(InvalidInput):
        ledger.export("nonsense:1")


def test_a_file_is_continued_at_any_byte(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """Wherever it was cut off, the whole is as if nothing had happened."""
    several(bench)
    path = tmp_path / "runs.ndjson"
    done = ledger.export_to(path)
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1
    assert whole.splitlines()[0].decode()

    for cut in {header, header + 1, len(whole) // 3, len(whole) // 2, len(whole) - 2, *range(
        header, len(whole), 997
    )}:  # fmt: skip
        path.write_bytes(whole[:cut])
        again = ledger.export_to(path, resume=True)
        assert whole == path.read_bytes(), cut
        assert done.sha256 == again.sha256
    assert 4 == done.runs == done.added


def test_two_do_not_write_one_file(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """A prune or an export that seems to hang is still at work: the other one is told so."""
    bench.completed()
    path = tmp_path / "all.ndjson"
    seen_by: list[str] = []

    def meanwhile(_: int) -> None:
        with pytest.raises(InvalidInput, match="being written by another process") as told:
            ledger.export_to(path, resume=True)
        seen_by.append(str(told.value))

    assert 1 == ledger.export_to(path, told=meanwhile).runs
    assert 1 == len(seen_by)


def test_what_cannot_be_continued_is_refused(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """A finished file, another ledger's, another query, none at all, none of ours; and a new
    export overwrites nothing."""
    several(bench)
    path = tmp_path / "runs.ndjson"
    ledger.export_to(path, "status:failed")
    whole = path.read_bytes()
    with pytest.raises(InvalidInput, match="finished"):
        ledger.export_to(path, resume=True)
    with pytest.raises(InvalidInput, match="there already"):
        ledger.export_to(path)
    path.write_bytes(whole[:-30])
    with pytest.raises(InvalidInput, match="query"):
        ledger.export_to(path, "status:completed", resume=True)
    for bad in (b"", b"x\n", b"{}\n", b"[1]\n", b"\xff\n", b'{"type":"header"}\n',
                whole.replace(b'"version":1', b'"version":2', 1),
                whole.replace(bench.store.ledger_id.encode(), b"0" * 32, 1)):  # fmt: skip
        path.write_bytes(bad)
        with pytest.raises(InvalidInput):
            ledger.export_to(path, resume=True)
    for place in (tmp_path, tmp_path / "none" / "x", Path("a\x00b")):
        with pytest.raises(InvalidInput):
            ledger.export_to(place)


def test_what_is_pruned_is_archived_first(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """Each run is in the file before its rows go; an interrupted one is continued."""
    several(bench)
    path = tmp_path / "archive.ndjson"
    before = {row["run"]: row["head"] for row in parsed(ledger.export()) if row["type"] == "end"}
    done = ledger.prune("1d", archive=path, reason="old")
    rows = parsed(path.read_text().splitlines())

    assert 2 == done.runs == done.archived == rows[-1]["runs"]
    heads = {row["run"]: row["head"] for row in rows if row["type"] == "end"}
    assert heads.items() <= before.items()
    assert () == bench.verify().broken
    with pytest.raises(InvalidInput, match="finished"):
        ledger.prune("1d", archive=path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidInput, match="archive"):
        ledger.export_to(path, resume=True)


def test_an_interrupted_archive_goes_on(
    bench: Bench, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the file and not deleted yet is not written twice."""
    from ledger.service import retention

    for _ in range(5):
        bench.completed()
    path = tmp_path / "archive.ndjson"
    monkeypatch.setattr(retention, "FIRST_BATCH", 2)

    def stop(runs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.prune("1d", archive=path, told=stop)
    assert 3 == bench.scalar("SELECT count(*) FROM run")
    done = ledger.prune("1d", archive=path)

    assert (3, 5) == (done.runs, done.archived)
    rows = parsed(path.read_text().splitlines())
    assert list(range(1, 6)) == sorted(row["run"] for row in rows if row["type"] == "run")
