"""`runward pin`, `prune`, `erase`, `export` and `import`, as people use them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear

from ledger.simulator import Simulator


def test_old_runs_are_pinned_and_pruned(
    runward: CommandLine, sim: Simulator, tmp_path: Path
) -> None:
    """A dry run counts; without a terminal it wants --yes; what is gone says so."""
    first, second = runward.done("sim-ok", "--key", "a"), runward.done("sim-ok", "--key", "b")
    assert 0 == runward("pin", second, "--reason", "the auditor's").code
    dry = runward("prune", "--older-than", "0s", "--dry-run", "-o", "json")
    assert (0, 1, [int(first)], 1) == (
        dry.code,
        dry.json["runs"],
        dry.json["sample"],
        dry.json["kept_pinned"],
    )
    asked = runward("prune", "--older-than", "0s")
    assert 2 == asked.code
    assert_clear(asked)
    file = tmp_path / "old.ndjson"
    done = runward("prune", "--older-than", "0s", "--yes", "--archive", str(file), "--reason",
                   "policy 7", "-o", "json")  # fmt: skip
    assert (0, 1, 1) == (done.code, done.json["runs"], done.json["archived"])
    for command in (["show", "a"], ["events", "a"], ["result", first], ["restart", "a"]):
        gone = runward(*command)
        assert (3, True) == (gone.code, "policy 7" in gone.err), gone
        assert_clear(gone)
    taken = runward("submit", "--model", "sim-ok", "--input", "What is 2+2?", "--key", "a")
    assert (1, True) == (taken.code, "pruned" in taken.err)
    checked = runward("verify", "-o", "json")
    assert (0, 1, []) == (checked.code, checked.json["pruned"], checked.json["broken"])
    assert 0 == runward("pin", "b", "--off").code
    assert 0 == runward("prune", "--older-than", "0s", "--yes").code
    assert [] == runward("list", "-o", "json").json


@pytest.mark.parametrize(
    "arguments",
    [
        ["prune"],
        ["prune", "--older-than", "old"],
        ["prune", "--older-than", "-5d", "--yes"],
        ["prune", "--older-than", "1d", "--state", "queued"],
        ["prune", "--older-than", "1d", "-q", "nonsense:1"],
        ["prune", "--older-than", "0s", "--yes", "--archive", "/nowhere/at/all"],
        ["erase"],
        ["erase", "--tag", "novalue"],
        ["erase", "--tag", "a b=c"],
        ["export", "-q", "nonsense:1"],
        ["export", "-o", "/nowhere/at/all"],
        ["export", "--resume", "/nowhere/at/all"],
        ["export", "--run", "1"],
        ["import"],
        ["import", "/nowhere/at/all"],
        ["import", "--history", "/nowhere/at/all"],
        ["import", "--adopt", "x", "--history", "y"],
        ["import", "--adopt", "x", "--dry-run"],
        ["import", "--history", "x", "--take-over"],
    ],
)
def test_a_mistake_is_a_clear_error(
    runward: CommandLine, sim: Simulator, arguments: list[str]
) -> None:
    """Exit 2, one line, no traceback; and nothing is changed."""
    said = runward(*arguments)

    assert 2 == said.code, said
    assert "Traceback" not in said.err


def test_contents_are_erased(runward: CommandLine, sim: Simulator) -> None:
    """By tag, after asking; what may not be erased yet ends with 1, and the rest is done."""
    for key in ("a", "b"):
        runward.done("sim-ok", "--key", key, "--tag", "subject=u1")
    open_run = runward.submit("sim-stuck-queued", "--tag", "subject=u1")
    asked = runward("erase", "--tag", "subject=u1")
    assert 2 == asked.code
    dry = runward("erase", "--tag", "subject=u1", "--dry-run", "-o", "json")
    assert [True, True, False] == [row["erased"] for row in dry.json]
    assert "4" == runward("result", "a").out.strip()
    done = runward("erase", "--tag", "subject=u1", "--yes", "--reason", "request 12")
    assert (1, True) == (done.code, f"run {open_run}" in done.err)
    gone = runward("result", "a")
    assert (3, "", True) == (gone.code, gone.out, "was erased" in gone.err)
    assert "erased_at" in runward("show", "a").out
    assert 1 == runward("recheck", "a").code
    checked = runward("verify", "-o", "json")
    assert (0, True) == (checked.code, checked.json["erased_payloads"] > 0)
    shown = runward("show", "a", "-o", "json").json
    assert (None, {"subject": ""}) == (shown["request"], shown["tags"])


def test_runs_move_to_another_database(
    runward: CommandLine, sim: Simulator, tmp_path: Path
) -> None:
    """Exported, imported, and there again: nothing new. A file that was changed is refused."""
    runward.done("sim-ok", "--key", "a")
    runward.done("sim-fail-server_error", "--key", "b", "--restart", "none")
    file, other = tmp_path / "runs.ndjson", f"sqlite:///{tmp_path / 'other.db'}"
    assert 0 == runward("export", "-o", str(file)).code
    streamed = runward("export", "-q", "key:a")
    assert ["header", "run"] == [json.loads(line)["type"] for line in streamed.lines[:2]]
    dry = runward("import", str(file), "--dry-run", "-o", "json", url=other)
    assert (0, 2) == (dry.code, dry.json["runs"])
    done = runward("import", str(file), "-o", "json", url=other)
    assert (0, 2, 0) == (done.code, done.json["runs"], done.json["refused"])
    again = runward("import", str(file), "-o", "json", url=other)
    assert (0, 0, 2) == (again.code, again.json["runs"], again.json["skipped"])
    assert "4" == runward("result", "a", url=other).out.strip()
    assert 0 == runward("verify", url=other).code
    file.write_text(file.read_text().replace('"actor":"cli:', '"actor":"clj:', 1))
    third = f"sqlite:///{tmp_path / 'third.db'}"
    broken = runward("import", str(file), url=third)
    assert (9, True, "") == (broken.code, "nothing was taken" in broken.err, broken.out)
    some = runward("import", str(file), "--changed", url=third)
    assert (9, True) == (some.code, "(key 'a')" in some.out), some
    assert ["b"] == [run["key"] for run in runward("list", "-o", "json", url=third).json]


def test_one_run_is_bundled(runward: CommandLine, sim: Simulator, tmp_path: Path) -> None:
    """A zip, checked by what is in it."""
    runward.done("sim-ok", "--key", "a")
    runward("anchor")
    file = tmp_path / "a.zip"
    said = runward("export", "--run", "a", "-o", str(file))
    assert 0 == said.code, said
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "a")
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "a" / "verify.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, True) == (done.returncode, "everything fits" in done.stdout)
    assert 2 == runward("export", "--run", "a", "-o", str(file)).code
    assert 3 == runward("export", "--run", "b", "-o", str(tmp_path / "b.zip")).code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
@pytest.mark.parametrize("command", ["export", "list"])
def test_a_full_disk_is_a_clear_error(runward: CommandLine, sim: Simulator, command: str) -> None:
    """However little was to be written, and whoever writes it at last."""
    runward.done("sim-ok", "--key", "a")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ledger", "-d", runward.url, command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    said = "runward: the output cannot be written: No space left on device\n"
    assert (1, said) == (done.returncode, done.stderr)


def test_lists_are_taken_in(runward: CommandLine, sim: Simulator, tmp_path: Path) -> None:
    """Old objects as history, ids to adopt; refused lines are shown, and end with 9."""
    number = runward.done("sim-ok")
    shown = runward("show", number, "-o", "json").json
    old = {"object": "response", "id": "resp_old", "status": "completed", "created_at": 1_700_000}
    history = tmp_path / "history"
    history.write_text(json.dumps(old) + "\n" + json.dumps({**old, "status": "queued"}) + "\n")
    said = runward("import", "--history", str(history), "-o", "json")
    assert (9, ["taken", "refused"]) == (said.code, [row["outcome"] for row in said.json])
    assert "runward adopt resp_old" in said.json[1]["why"]
    assert "completed" == runward("show", "resp_old", "-o", "json").json["status"]
    ids = tmp_path / "ids"
    ids.write_text(json.dumps({"response": shown["upstream"]["id"]}) + "\n")
    known = runward("import", "--adopt", str(ids), "-o", "json")
    assert (0, "skipped") == (known.code, known.json[0]["outcome"])
