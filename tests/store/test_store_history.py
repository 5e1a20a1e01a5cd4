"""Objects that were over before this ledger knew of them, and ids that somebody has kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import SQLITE, Bench, function_call

from ledger import InvalidInput, Ledger
from ledger.store.following import begin, end_of_log, page_after
from ledger.store.invariants import INVARIANTS, broken

CREATED, ENDED = 1_700_000_000, 1_700_000_060


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """A ledger on the bench's database, without any credential."""
    with Ledger.open(bench.store.url, actor="ann") as opened:
        yield opened


def old(status: str = "completed", remote_id: str = "resp_1", **fields: Any) -> dict[str, Any]:
    """A response that upstream printed once."""
    given = {"object": "response", "id": remote_id, "status": status, "model": "gpt-5",
             "created_at": CREATED, "output": [{"type": "message", "content": [
                 {"type": "output_text", "text": "4"}]}],
             "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}}  # fmt: skip
    return given | fields


def written(path: Path, *lines: Any) -> Path:
    """A file with a line for each."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def test_old_objects_become_final_runs(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """With the times, the usage, the error and the result that the object shows."""
    error = {"code": "server_error", "message": "sorry"}
    thread_run = {"object": "thread.run", "id": "run_1", "thread_id": "thread_1",
                  "status": "expired", "created_at": CREATED, "expires_at": ENDED}  # fmt: skip
    path = written(
        tmp_path / "old",
        old(completed_at=ENDED),
        old("failed", "resp_2", error=error, output=[]),
        old("incomplete", "resp_3", incomplete_details={"reason": "max_output_tokens"}),
        old("cancelled", "resp_4", output=[]),
        old("completed", "resp_5", output=[function_call("call_1")]),
        thread_run,
    )
    done = list(ledger.import_history(path))

    assert ["taken"] * 6 == [one.outcome for one in done]
    first = ledger.get("resp_1")
    began, ended = datetime.fromtimestamp(CREATED, UTC), datetime.fromtimestamp(ENDED, UTC)
    assert ("completed", began, ended) == (first.state, first.created_at, first.finished_at)
    assert ("4", 4) == (ledger.result("resp_1"), ledger.show("resp_1")["usage"]["total_tokens"])
    assert "gpt-5" == first.model
    assert "server_error" == ledger.get("resp_2").error_code
    assert ["failed", "incomplete", "cancelled", "completed", "expired"] == [
        str(ledger.get(name).state) for name in ("resp_2", "resp_3", "resp_4", "resp_5", "run_1")
    ]
    assert 0 == bench.scalar("SELECT count(*) FROM watch")
    assert ["imported", "imported"] == [e["kind"] for e in ledger.events("resp_1")]
    assert () == bench.verify().broken
    for invariant in INVARIANTS:
        assert [] == bench.store.read(lambda c, i=invariant: broken(c, i)), invariant.text


def test_again_is_nothing_new(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """Nor is what a run of this ledger has already; a dry run writes nothing."""
    bench.completed()
    path = written(tmp_path / "old", old(remote_id="resp_a"), old(remote_id="resp_a"))
    dry = [one.outcome for one in ledger.import_history(path, dry_run=True)]
    assert (["taken", "taken"], 1) == (dry, bench.scalar("SELECT count(*) FROM run"))
    first = [(one.outcome, one.run) for one in ledger.import_history(path)]
    again = [(one.outcome, one.run) for one in ledger.import_history(path)]

    assert [("taken", 2), ("skipped", 2)] == first
    assert [("skipped", 2), ("skipped", 2)] == again


def test_nobody_is_told_of_old_ends(bench: Bench, ledger: Ledger, tmp_path: Path) -> None:
    """A webhook endpoint must not hear of a thousand completions of last year."""
    bench.committer.run(lambda c: begin(c, "crm"))
    place = bench.store.read(end_of_log)
    list(ledger.import_history(written(tmp_path / "old", old())))

    assert () == bench.store.read(lambda c: page_after(c, place)).notices


REFUSED = (
    "", "x", "[]", "null", "[" * 100_000, old("in_progress"), old("queued"), old(None),
    old("dreaming"), old(id=None), old(id="a/b"), old(id="x" * 2_000), old(created_at=None),
    old(created_at="yesterday"), old(object="thread"), {"object": "response"}, old(object=7),
)  # fmt: skip


@SQLITE
def test_what_is_not_over_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """Line by line, with the number; the rest goes on."""
    path = written(tmp_path / "old", *REFUSED, old(remote_id="resp_ok"))
    done = list(ledger.import_history(path))

    *refused, last = done
    assert len(REFUSED) - 1 == len(refused)
    assert {"refused"} == {one.outcome for one in refused}
    assert all(one.why for one in refused)
    assert ("taken", len(REFUSED) + 1) == (last.outcome, last.line)
    advice = next(one.why for one in refused if one.why and "in_progress" in one.why)
    assert "runward adopt resp_1" in advice
    for place in (tmp_path, tmp_path / "none", Path("a\x00b")):
        with pytest.raises(InvalidInput):
            list(ledger.import_history(place))
        with pytest.raises(InvalidInput):
            list(ledger.adopt_from(place))


def test_ids_are_adopted_line_by_line(
    bench: Bench, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Responses and thread runs, with a key or without; what is known is skipped."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-list-0123456789abcdef")
    path = written(
        tmp_path / "ids",
        {"response": "resp_1", "key": "mine"},
        {"thread": "thread_1", "run": "run_1"},
        {"response": "resp_1"},
        {"run": "run_2"},
        {"response": "resp_9", "thread": "thread_1"},
        {"response": 7},
        {"respones": "resp_3"},
        "nonsense",
        {"response": "resp_4", "key": "mine"},
        {"response": "resp_5", "key": ""},
    )
    with Ledger.open(bench.store.url, actor="ann") as opened:
        done = list(opened.adopt_from(path))

        outcomes = [one.outcome for one in done]
        assert ["taken", "taken", "skipped", *["refused"] * 7] == outcomes
        assert ("mine", "queued") == (opened.get("resp_1").key, opened.get("run_1").state)
    assert 2 == bench.scalar("SELECT count(*) FROM watch")
