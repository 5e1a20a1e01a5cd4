"""What deploy/ promises about the program: units, images, alerts and the commands they name."""

from __future__ import annotations

import fnmatch
import functools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import Metric
from support import SQLITE

from ledger import Ledger
from ledger.commands.app import app
from ledger.core.alphabet import Attention, Receipt
from ledger.core.lifecycle import FINAL
from ledger.errors import upstream
from ledger.service.metrics import Measure
from ledger.service.supervision import ENDING_SECONDS
from ledger.service.workers import make_reconciler
from ledger.settings import Settings
from ledger.web.exposition import registry_of

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
UNIT = DEPLOY / "systemd" / "runward.service"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]


@functools.cache
def commands() -> dict[str, Any]:
    """The commands that there are, by name; groups hold further ones."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def assert_command(words: list[str]) -> None:
    """`runward WORDS…` names a command, and its options are its own."""
    found = commands()[words[0]]
    rest = words[1:]
    if hasattr(found, "commands"):
        found, rest = found.commands[rest[0]], rest[1:]
    known = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)} <= known | {"-o"}, (
        words
    )


def assert_setting(variable: str) -> None:
    """A variable of ours is one that the settings read."""
    assert variable.removeprefix("RUNWARD_").lower() in Settings.model_fields, variable


# systemd.


def unit() -> dict[str, list[str]]:
    """The unit's lines, by key."""
    lines = [line.strip() for line in UNIT.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#;["]
    assert all(sep for _, sep, _ in pairs)
    found: dict[str, list[str]] = {}
    for key, _, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def test_the_unit_fits_the_program() -> None:
    """The command, the settings and the key are those of the program, and a drain has its time."""
    lines = unit()
    program, *words = shlex.split(lines["ExecStart"][0])
    assert "runward" == Path(program).name
    assert_command(words)
    variable, _, url = lines["Environment"][0].partition("=")
    assert_setting(variable)
    folder = lines["StateDirectory"][0]
    assert url.startswith(f"sqlite:////var/lib/{folder}/")
    name, _, source = lines["LoadCredential"][0].partition(":")
    assert Settings().profile().key_variable == name
    assert Path(source).is_absolute()

    assert ("notify", "main") == (lines["Type"][0], lines["NotifyAccess"][0])
    assert Settings().shutdown_grace_seconds + ENDING_SECONDS <= int(lines["TimeoutStopSec"][0])
    assert int(lines["WatchdogSec"][0]) >= 10
    # pid would hide the boot id, and with it every other life of this machine.
    assert "ProcSubset" not in lines


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Every key and every value of it, by systemd's own judgement."""
    judge = shutil.which("systemd-analyze")
    if judge is None:
        pytest.skip("systemd is not installed")
    copy = tmp_path / UNIT.name
    # It also wants to see the program, which is not installed there.
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.M))
    done = subprocess.run(
        [judge, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (0, "") == (done.returncode, done.stdout + done.stderr)


# The image.


def instructions() -> list[tuple[str, str]]:
    """The Containerfile, by instruction."""
    text = (DEPLOY / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.split("\n")]


def copied() -> list[str]:
    """What is copied from the checkout."""
    words = [rest.split() for word, rest in instructions() if word == "COPY"]
    return [name for each in words if not each[0].startswith("--from") for name in each[:-1]]


def test_what_the_image_copies_is_there() -> None:
    """In the checkout, and not held back by .containerignore, which holds back all else."""
    ignored = (CHECKOUT / ".containerignore").read_text().splitlines()
    assert "*" in ignored
    assert copied()
    for name in copied():
        assert (CHECKOUT / name).exists(), name
        assert f"!{name}" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert set(copied()) == kept
    assert any(fnmatch.fnmatch("ledger/__pycache__", line) for line in ignored)


def test_the_image_runs_what_there_is() -> None:
    """Extras, commands, options and variables are those of the program."""
    found = instructions()
    (installs,) = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    extras = re.search(r"\[([a-z,]+)\]", installs)
    assert extras is not None
    assert {"web", "postgres", "otel", "sqs"} == set(extras[1].split(","))
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert "--constraint /wheels/constraints.txt" in installs

    by = dict(found)
    assert ["runward"] == json.loads(by["ENTRYPOINT"])
    assert_command(json.loads(by["CMD"]))
    check = json.loads(by["HEALTHCHECK"].partition(" CMD ")[2])
    assert "runward" == check[0]
    assert_command(check[1:])
    variable, _, url = by["ENV"].partition("=")
    assert_setting(variable)
    assert url.startswith(f"sqlite:///{by['VOLUME']}/")
    assert Settings().port == int(by["EXPOSE"])
    user = by["USER"].partition(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    assert f"--uid {user}" in installs


@pytest.mark.packaging
def test_the_wheel_is_built_from_what_is_copied(tmp_path: Path) -> None:
    """And nothing else: with the migrations in it."""
    for name in copied():
        source, to = CHECKOUT / name, tmp_path / "src" / name
        to.parent.mkdir(exist_ok=True)
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, to, ignore=skipped) if source.is_dir() else shutil.copy(source, to)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path / "src",
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("runward-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("ledger/migrations/versions/0001") for name in names)


# Alerts.


@pytest.fixture
def families(database_url: str) -> list[Metric]:
    """All that /metrics exposes where a reconciler runs."""
    with Ledger.open(database_url) as ledger:
        ledger.writer.run(
            lambda c: c.exec_driver_sql(
                "INSERT INTO receipt (hour, profile, result, requests) "
                "VALUES ('2026-03-01 12:00:00', '', 'forged', 1)"
            )
        ).result()
        reconciler = make_reconciler(ledger, role="daemon")
        return list(registry_of(Measure(ledger.store).read(), reconciler).collect())


def samples_of(family: Metric) -> set[str]:
    """The names under which a family is asked for."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{family.name}{ending}" for ending in endings.get(family.type, ("",))}


@SQLITE
def test_alerts_ask_for_what_is_exposed(families: list[Metric]) -> None:
    """Each name, each label and each value of a label."""
    labels = {
        name: set(getattr(family, "_labelnames", ()))
        | {label for sample in family.samples for label in sample.labels}
        for family in families
        for name in samples_of(family)
    }
    values = {
        "why": set(map(str, Attention)),
        "outcome": {*map(str, FINAL), *vars(upstream)},
        "result": set(map(str, Receipt)),
        "role": {"daemon"},
    }
    asked = [
        (name, inside)
        for alert in ALERTS
        for name, inside in re.findall(r"\b(runward_\w+)(?:\{(.*?)\})?", alert["expr"])
    ]

    assert len(asked) > 15
    assert set() == {name for name, _ in asked} - set(labels)
    for name, inside in asked:
        for label, operator, value in re.findall(r'(\w+)(=~|=)"(.*?)"', inside):
            assert label in labels[name], (name, label)
            for word in value.split("|"):
                pattern = word if operator == "=~" else re.escape(word)
                assert any(re.fullmatch(pattern, one) for one in values[label]), (label, word)
    by = {label for alert in ALERTS for label in re.findall(r"by \((\w+)\)", alert["expr"])}
    assert by <= {label for names in labels.values() for label in names}


def test_alerts_are_whole() -> None:
    """Each has a name of its own, a severity, what is wrong and what to do about it."""
    assert len(ALERTS) == len({alert["alert"] for alert in ALERTS})
    for alert in ALERTS:
        assert {"page", "ticket"} >= {alert["labels"]["severity"]}
        assert {"summary", "action"} == set(alert["annotations"])
        assert alert["expr"].count("(") == alert["expr"].count(")")


def test_promtool_takes_the_rules() -> None:
    """By Prometheus' own judgement, where it is installed."""
    judge = shutil.which("promtool")
    if judge is None:
        pytest.skip("Prometheus is not installed")
    rules = str(DEPLOY / "prometheus" / "rules.yml")
    subprocess.run([judge, "check", "rules", rules], check=True, capture_output=True)


# Words.


def test_what_the_pages_tell_people_to_run_exists() -> None:
    """Every command in the page and in the alerts; every variable of ours."""
    page = (DEPLOY / "README.md").read_text()
    told = [alert["annotations"]["action"] for alert in ALERTS]
    shown = re.findall(r"(?:^|`|\s|/bin/|\")runward ([a-z-]+(?:[ \t]+[^\s`\"]+)*)", page, re.M)
    coded = [line.split("#")[0].split() for line in shown if line.split()[0] in commands()]
    assert len(coded) >= 10
    for words in coded:
        assert_command(words)
    for action in told:
        for words in re.findall(r"\brunward ((?:[a-z-]+ ?){1,2})", action):
            assert words.split()[0] in commands(), action
    for variable in re.findall(r"\bRUNWARD_[A-Z_]+", page):
        assert_setting(variable)
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (DEPLOY / link).exists(), link
