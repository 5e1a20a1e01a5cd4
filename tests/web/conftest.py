"""The service over a fresh ledger, beside a simulator where runs have to move."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "service"))

from service_rig import KEY, MakeRig, Rig, rigs
from web_rig import NOWHERE, MakeWeb, Process, Web

from ledger import Ledger


@pytest.fixture(autouse=True)
def credential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key for an upstream that is not there, and no configuration file."""
    monkeypatch.setenv("OPENAI_BASE_URL", NOWHERE)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_web(database_url: str) -> Iterator[MakeWeb]:
    """Makes services over the database of a test, with options of Service."""
    with ExitStack() as stack:

        def make(ledger: Ledger | None = None, **options: Any) -> Web:
            opened = ledger or stack.enter_context(Ledger.open(database_url))
            return stack.enter_context(Web(opened, **options))

        yield make


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    """A service that only this machine reaches, without tokens."""
    return make_web()


@pytest.fixture
def make_rig(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRig]:
    """Makes a ledger beside a simulator."""
    with rigs(monkeypatch) as make:
        yield functools.partial(make, database_url)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A rig without tools."""
    return make_rig()


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `runward` as a process, and leaves none behind."""
    with ExitStack() as stack:

        def begin(*arguments: str, url: str = database_url, **environment: str) -> Process:
            process = Process(url, tmp_path, *arguments, **environment)
            stack.callback(process.end)
            return process

        yield begin
