"""`runward anchor` and `runward verify`, as people use them."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import CommandLine, assert_clear

from ledger.simulator import Simulator
from ledger.store import guards
from ledger.store.engine import open_engine


def rewrite(url: str) -> None:
    """Take all seals away, as an attacker with the database would, who puts the triggers back."""
    engine = open_engine(url)
    with engine.execution_options(write=True).begin() as connection:
        for trigger in guards.statements(engine.dialect.name):
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
            else:
                connection.exec_driver_sql(f"DROP FUNCTION {trigger} CASCADE")
        for statement in UNSEALED:
            connection.exec_driver_sql(statement)
        guards.install(connection)
    engine.dispose()


UNSEALED = ("DELETE FROM seal_leaf", "DELETE FROM seal", "UPDATE run SET sealed_seq = 0")


def test_an_anchor_is_written_and_held_against_the_ledger(
    runward: CommandLine, sim: Simulator, tmp_path: Path
) -> None:
    """Printed, or to a file; verify takes several, and names what no longer fits."""
    runward.done()
    file, again = tmp_path / "one.json", tmp_path / "two.json"
    printed = runward("anchor", "-o", "json")
    written = runward("anchor", "--output", str(file))

    assert (0, printed.json) == (written.code, json.loads(file.read_text()))
    assert "" == written.out
    runward.done()
    again.write_text(runward("anchor", "-o", "json").out)
    fine = runward("verify", "--anchor", str(file), "--anchor", str(again), "-o", "json")
    assert (0, [], 2) == (fine.code, fine.json["broken"], fine.json["seals"])
    rewrite(runward.url)
    bad = runward("verify", "--anchor", str(file), "-o", "json")
    assert (9, [(None, 1)]) == (
        bad.code,
        [(row["run_id"], row["seal"]) for row in bad.json["broken"]],
    )
    assert "seal 1" in bad.err


def test_a_bad_file_is_a_clear_error(runward: CommandLine, tmp_path: Path) -> None:
    """Exit 2 and one line, whatever is in the file, and where there is none."""
    for name, body in {"a": b"", "b": b"\xff", "c": b"[1]", "d": b"{" * 70_000}.items():
        (tmp_path / name).write_bytes(body)
        said = runward("verify", "--anchor", str(tmp_path / name))
        assert 2 == said.code
        assert_clear(said)
    for said in (
        runward("verify", "--anchor", str(tmp_path / "none")),
        runward("verify", "--anchor", str(tmp_path)),
    ):
        assert 2 == said.code
        assert_clear(said)


def test_an_empty_ledger_has_no_anchor(runward: CommandLine, sim: Simulator) -> None:
    """There is nothing to seal; and a place that cannot be written is named."""
    assert 3 == runward("anchor").code
    runward.submit()
    assert 2 == runward("anchor", "--output", "/nowhere/at/all.json").code


def test_an_anchor_of_another_ledger_is_refused(
    runward: CommandLine, sim: Simulator, tmp_path: Path
) -> None:
    """Not a finding about this ledger, but the wrong file."""
    runward.submit()
    file = tmp_path / "one.json"
    runward("anchor", "--output", str(file))
    other = runward("verify", "--anchor", str(file), url=f"sqlite:///{tmp_path / 'other.db'}")

    assert 2 == other.code
    assert_clear(other)


def test_submit_says_what_forgetting_means(runward: CommandLine, sim: Simulator) -> None:
    """On stderr; and a restart together with it is refused."""
    said = runward("submit", "--model", "sim-ok", "--input", "Hi", "--forget-request")
    assert 0 == said.code
    assert "cannot be restarted" in said.err
    refused = runward(
        "submit", "--model", "sim-ok", "--input", "Hi", "--forget-request", "--restart", "expired=1"
    )
    assert 2 == refused.code
    assert_clear(refused)
