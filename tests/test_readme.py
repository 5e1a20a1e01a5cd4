"""The README is run: every marked block, against the simulator, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.clock import utcnow
from ledger.simulator import Simulator

ROOT = Path(__file__).parents[1]
IGNORED = "ignore::DeprecationWarning"
README = (ROOT / "README.md").read_text()
# Forked, where each would import everything anew; test_the_shell_line_gives_it_too does that.
FORKING = Path(__file__).parent / "forking.py"
RUNWARD = f'runward() {{ "{sys.executable}" -IS "{FORKING}" call "$FORKING" "$@"; }}\n'
PLAIN = f'runward() {{ "{sys.executable}" -m ledger "$@"; }}\n'


def block(name: str, page: str = "README.md") -> str:
    """The code block that follows a test mark."""
    text = (ROOT / page).read_text() if page != "README.md" else README
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", text, flags=re.S)
    assert found is not None, name
    return found.group(1)


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where to ask for a `runward` that has imported everything."""
    path = str(tmp_path_factory.mktemp("forking") / "socket")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": IGNORED}
    command = [sys.executable, str(FORKING), "serve", path]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        yield path
        process.terminate()


@pytest.fixture
def shell(tmp_path: Path, forking: str) -> Iterator[dict[str, str]]:
    """The environment of somebody who follows the README."""
    with Simulator.running(seed=5, speed=10) as sim:
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": IGNORED,
            "FORKING": forking,
            "OPENAI_BASE_URL": sim.url,
            "OPENAI_API_KEY": "sk-simulated",
        }


def run(
    command: list[str], shell: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run something as that person would; fails loudly with what it printed."""
    done = subprocess.run(
        command, env=shell, cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ["known", "ours"])
def test_the_two_programs_give_one_answer(name: str, shell: dict[str, str], tmp_path: Path) -> None:
    """The code that people know and our four lines print the same."""
    done = run([sys.executable, "-c", block(name)], shell, tmp_path)

    assert "4" == done.stdout.strip()


def test_the_shell_line_gives_it_too(shell: dict[str, str], tmp_path: Path) -> None:
    """`submit --wait` prints the answer."""
    done = run(["bash", "-ec", PLAIN + block("shell")], shell, tmp_path)

    assert "4" == done.stdout.strip()


def test_the_costs_are_shown(shell: dict[str, str], tmp_path: Path) -> None:
    """Of the run that the lines before submit: its group, and what each policy would have cost."""
    done = run(["bash", "-ec", RUNWARD + block("cost")], shell, tmp_path)
    lines = [line.split() for line in done.stdout.splitlines()]

    assert ["risk", "1", "1"] in [words[:3] for words in lines]
    assert {"backoff", "learned", "webhooks", "spent"} <= {words[0] for words in lines if words}


def test_a_bad_night_is_reported(shell: dict[str, str], tmp_path: Path) -> None:
    """The failed run is in the report, and has one of its own."""
    done = run(["bash", "-ec", RUNWARD + block("postmortem")], shell, tmp_path)

    assert "1 run ended in the window, 1 of them failed" in done.stdout
    assert "# Report on run 1" in done.stdout


def test_the_next_looks_are_shown(shell: dict[str, str], tmp_path: Path) -> None:
    """At the run that goes on, by what the one that ended taught: too little yet."""
    done = run(["bash", "-ec", RUNWARD + block("pacing")], shell, tmp_path)

    assert 10 == done.stdout.count("  backoff")
    assert "too few runs" in done.stdout
    assert {"today", "simulated"} <= {line.split()[0] for line in done.stdout.splitlines() if line}


def test_the_handler_is_told(shell: dict[str, str], tmp_path: Path) -> None:
    """By the wait that drives."""
    done = run([sys.executable, "-c", block("handler")], shell, tmp_path)

    assert "run.failed bad:2 server_error" == done.stdout.strip()


def test_the_endpoint_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are known, and its values are good."""
    from ledger.service.outbound import endpoints
    from ledger.settings import load_settings

    (tmp_path / "runward.toml").write_text(block("outbound"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRM_WEBHOOK_SECRET", "whsec_" + "QUJD" * 8)
    (to,) = endpoints(load_settings())

    assert ("crm", {"run.completed", "run.failed"}) == (to.name, set(to.types))


def test_the_tour_can_be_followed(shell: dict[str, str], tmp_path: Path) -> None:
    """Every command of the tour works, in order."""
    done = run(["bash", "-ec", RUNWARD + block("tour")], shell, tmp_path)

    assert "21" in done.stdout.splitlines()
    assert "server_error" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_service_can_be_tried(shell: dict[str, str], tmp_path: Path) -> None:
    """Started, asked, followed and ended, on a port that is free here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    script = block("service").replace("8787", port)
    done = program(script, {**shell, "PORT": port}, tmp_path)

    assert '"output_text":"21"' in done.stdout
    assert 'event: end\ndata: {"status":"completed"}' in done.stdout
    assert "runward_runs_submitted_total" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_webhooks_can_be_tried(shell: dict[str, str], tmp_path: Path) -> None:
    """An upstream that tells, a receiver, and what came of it."""
    script = block("webhooks")
    for port in ("8787", "8789"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = str(free.getsockname()[1])
        script = script.replace(port, chosen)
        if port == "8787":
            script = f"export PORT={chosen}\n{script}"
    done = program(script, shell, tmp_path)

    assert any(line.endswith("21") for line in done.stdout.splitlines())
    assert "notified" in done.stdout
    assert "matched" in done.stdout


def program(script: str, shell: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that has `runward` in the background: a program, not a function, because those
    that a shell has in the background are not what it kills; nor is one that is forked."""
    command = folder / "runward"
    served = f'case "$1" in sim|serve|up) exec "{sys.executable}" -m ledger "$@";; esac\n'
    forked = f'exec "{sys.executable}" -IS "{FORKING}" call "$FORKING" "$@"\n'
    command.write_text(f"#!/bin/sh\n{served}{forked}")
    command.chmod(0o700)
    path = f"{folder}:{shell['PATH']}"
    ended = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    return run(["bash", "-ec", ended + script], {**shell, "PATH": path}, folder)


def test_every_query_is_one() -> None:
    """Those of the grammar's own block, and each that a command or an address has, here and in
    docs."""
    from ledger.core.query import FIELDS, parse_query

    pages = [README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    lines = [line.split("   ")[0] for line in block("queries").splitlines()]
    queries = [*lines, *re.findall(r"-q '([^']*)'", "\n".join(pages))]
    named = {term.name for query in queries for term in parse_query(query, now=utcnow())}

    assert 12 < len(queries)
    assert {"status", "since", "dur", "attempts", "calls", "attention", "words", "key"} <= named
    fields = README.split("| Field | Takes |")[1].split("\n\n")[0]
    assert set(FIELDS) == set(re.findall(r"`([a-z_]+)`[,| ]", fields)) & set(FIELDS)


def test_every_make_target_exists() -> None:
    """The README names no target that the Makefile has not."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))

    assert set() == set(re.findall(r"`?make ([a-z]+)", README)) - targets - {"are"}


def test_every_command_exists() -> None:
    """The README names no command that runward has not."""
    from ledger.commands.app import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.S))
    named = set(re.findall(r"runward (?:-d \S+ )?([a-z][a-z-]*)", blocks))

    assert set() == named - known


def test_old_runs_are_let_go_as_the_page_says(shell: dict[str, str], tmp_path: Path) -> None:
    """docs/retention.md: pin, prune and erase, in this order, on one ledger."""
    page = "docs/retention.md"
    steps = "".join(block(name, page) for name in ("pin", "prune", "erase"))
    done = run(["bash", "-ec", RUNWARD + steps], shell, tmp_path)

    assert "kept_pinned" in done.stdout
    assert "1 pruned" in done.stdout
    assert '"why": "run 1 is pinned"' in done.stdout
    assert (tmp_path / "old.ndjson").is_file()


def test_a_ledger_grows_as_the_page_says(shell: dict[str, str], tmp_path: Path) -> None:
    """docs/moving.md: into another database, and the run is there with its history."""
    new = f"NEW=sqlite:///{tmp_path}/large.db\n"
    done = run(["bash", "-ec", RUNWARD + new + block("grow", "docs/moving.md")], shell, tmp_path)

    assert 2 == done.stdout.count("1 runs, ")
    assert "nothing was written" in done.stderr


def test_a_bundle_is_checked_as_the_page_says(shell: dict[str, str], tmp_path: Path) -> None:
    """docs/moving.md: packed, unpacked, and everything fits."""
    python = f'python() {{ "{sys.executable}" "$@"; }}\n'
    steps = RUNWARD + python + block("bundle", "docs/moving.md")
    done = run(["bash", "-ec", steps], shell, tmp_path)

    assert "everything fits" in done.stdout
