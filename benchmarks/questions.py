"""What people ask of a large ledger, and each time the same as plain SQL through the raw driver.

Both give what they found, so that a quick wrong answer is no answer.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from benchmarks.common import Goal
from ledger.service.ledger import Ledger
from ledger.store.engine import sqlite_path

ROUNDS: Final = 5
MANY_ROUNDS: Final = 51
LIMIT: Final = 100
DAY: Final = timedelta(days=1)
PARTS: Final = ("attempt", "remote", "tool_call", "payload", "event", "evidence")
GROUPED: Final = ("state", "provider", "model", "error_code", "account_id", "kind")
TAGGED: Final = (
    "EXISTS (SELECT 1 FROM tag WHERE tag.run_id = run.id AND tag.name = '{}' AND tag.value = '{}')"
)
SEARCH: Final = TAGGED.format("team", "search")
CREATED: Final = "created_at >= '{day}' AND created_at < '{end}'"
FINISHED: Final = "finished_at >= '{day}' AND finished_at < '{end}'"
SAID: Final = "lower(error_message) LIKE '%{}%'"
PAGES: Final = {
    "failures of one day": (
        "status:failed since:{day} until:{end}",
        f"state = 'failed' AND {CREATED}",
    ),
    "ended in one day": ("finished_since:{day} finished_until:{end}", FINISHED),
    "failures of a team": ("status:failed tag.team:search", f"state = 'failed' AND {SEARCH}"),
    "a prefix and a minus": (
        "model:gpt-5* -tag.kind:nightly",
        f"model LIKE 'gpt-5%' AND NOT {TAGGED.format('kind', 'nightly')}",
    ),
    "what took long": ("dur:>5m", "took_seconds > 300"),
    "tries and calls": ("attempts:>=2 calls:>10", "attempts >= 2 AND calls > 10"),
    "flagged, where none is": ("attention:true", "needs_attention IS NOT NULL"),
    "a word": ("simulator", SAID.format("simulator")),
    "a word never said": ("zeppelin", SAID.format("zeppelin")),
    "frequent, seldom together": (
        "status:failed model:o3-deep-research",
        "state = 'failed' AND model = 'o3-deep-research'",
    ),
    "frequent, never together": (
        "status:failed model:gpt-5.1 tag.team:search",
        f"state = 'failed' AND model = 'gpt-5.1' AND {SEARCH}",
    ),
}
"""Queries, and what they are in SQL."""
FACETS: Final = {
    "all runs": ("", "1 = 1"),
    "one day": ("since:{day} until:{end}", CREATED),
    "failures": ("status:failed", "state = 'failed'"),
    "a team's failures": ("status:failed tag.team:search", f"state = 'failed' AND {SEARCH}"),
}
FOLD: Final = (
    "SELECT coalesce(moved.to_state, 'queued'), count(*) FROM (SELECT run_id, max(CASE WHEN "
    "to_state IS NOT NULL THEN seq END) AS seq FROM event WHERE recorded_at <= '{noon}' "
    "GROUP BY run_id) AS last LEFT JOIN event AS moved "
    "ON moved.run_id = last.run_id AND moved.seq = last.seq GROUP BY 1"
)
"""The newest event of each run that moved it, of all that there were by then."""
FAILED: Final = "fingerprint IS NOT NULL AND ended_at >= '{day}' AND ended_at < '{end}'"
EVENTS: Final = "SELECT * FROM event ORDER BY run_id, seq"
PAYLOADS: Final = "SELECT * FROM payload ORDER BY run_id, n"
WITHIN: Final = f"SELECT id FROM run WHERE {CREATED}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One ledger, and the times that are asked about: its last day and the noon of it."""

    ledger: Ledger
    raw: Any
    """A connection of the driver."""
    runs: int
    first: int
    day: datetime
    end: datetime

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """Rows, as the driver gives them."""
        cursor = self.raw.cursor()
        cursor.execute(self.filled(statement, **values))
        rows = cursor.fetchall()
        cursor.close()
        return list(rows)

    def filled(self, text: str, **values: Any) -> str:
        """A text with its times."""
        times = {"day": self.day, "noon": self.noon, "end": self.end}
        given = {name: at.strftime("%Y-%m-%dT%H:%M:%S") for name, at in times.items()}
        if "SELECT" in text:
            # As SQLite has them; the server takes both.
            given = {name: at.replace("T", " ") + ".000000" for name, at in given.items()}
        return text.format(**given, **values)

    def read(self, statement: str) -> float:
        """Seconds that reading all rows takes, a thousand at a time."""
        began = time.perf_counter()
        with self._stream() as cursor:
            cursor.execute(self.filled(statement))
            while cursor.fetchmany(1_000):
                pass
        return time.perf_counter() - began

    @contextlib.contextmanager
    def _stream(self) -> Iterator[Any]:
        """A cursor that does not fetch everything at once."""
        if isinstance(self.raw, sqlite3.Connection):
            with contextlib.closing(self.raw.cursor()) as cursor:
                yield cursor
            return
        with self.raw.transaction(), self.raw.cursor("all_rows") as cursor:
            yield cursor

    def created(self, number: int) -> datetime:
        """When the run of this place in the order of beginnings was created."""
        order = "ORDER BY created_at LIMIT 1 OFFSET {number}"
        statement = f"SELECT CAST(created_at AS text) FROM run {order}"
        [(text,)] = self.sql(statement, number=number)
        return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)

    def size(self) -> int:
        """Bytes of the whole database."""
        if isinstance(self.raw, sqlite3.Connection):
            [(pages,)], [(size,)] = self.sql("PRAGMA page_count"), self.sql("PRAGMA page_size")
            return int(pages * size)
        [(size,)] = self.sql("SELECT pg_database_size(current_database())")
        return int(size)

    def close(self) -> None:
        """Let go of the driver's connection."""
        self.raw.close()

    @property
    def noon(self) -> datetime:
        """In the middle of the day."""
        return self.end - DAY / 2

    def run(self, number: int) -> int:
        """One of the runs, another each time."""
        return self.first + number * 7_919 % self.runs


Ask = Callable[[Scene, int], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Asked of the ledger, and as plain SQL; `number` counts the times. `alike` where both say the
    same of what is counted whole."""

    section: str
    goal: Goal
    ask: Ask
    plain: Ask
    alike: Callable[[Any, Any], bool] = lambda one, other: bool(one == other)
    rounds: int = ROUNDS
    plain_rounds: int = ROUNDS


def scene_of(ledger: Ledger) -> Scene:
    """The ledger as it is loaded. The last day ends at the midnight after the last run."""
    raw = _raw(ledger.store.engine.url)
    cursor = raw.cursor()
    cursor.execute("SELECT count(*), min(id), CAST(max(created_at) AS text) FROM run")
    runs, first, last = cursor.fetchone()
    raw.rollback()
    begin = datetime.fromisoformat(last[:10])
    return Scene(ledger=ledger, raw=raw, runs=runs, first=first, day=begin, end=begin + DAY)


def _raw(url: sa.URL) -> Any:
    if url.get_backend_name() == "sqlite":
        return sqlite3.connect(sqlite_path(url))
    import psycopg

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, options="-c timezone=UTC", autocommit=True)


def questions(runs: int) -> Iterator[Question]:
    """All of them. What takes minutes on a large ledger is asked once there."""
    often = ROUNDS if runs <= 20_000 else 1
    one = Goal("one run", "ms", 10, 5, more_is_better=False)
    yield Question(
        section="run",
        goal=one,
        ask=_one,
        plain=_one_plain,
        rounds=MANY_ROUNDS,
        plain_rounds=MANY_ROUNDS,
    )
    for name, (query, where) in PAGES.items():
        goal = Goal(f"page: {name}", "ms", 50, 20, more_is_better=False)
        ask, plain = partial(_page, query), partial(_page_plain, where)
        yield Question(section="page", goal=goal, ask=ask, plain=plain)
    for name, (query, where) in FACETS.items():
        goal = Goal(f"facets: {name}", "ms", 300, 100, more_is_better=False)
        ask, plain = partial(_facets, query), partial(_facets_plain, where)
        yield Question(section="facets", goal=goal, ask=ask, plain=plain, alike=_counted_alike)
    fleet = Goal("fleet as of noon", "s", 2, 0.5, more_is_better=False)
    yield Question(section="as-of", goal=fleet, ask=_fleet, plain=_fleet_plain, plain_rounds=often)
    errors = Goal("errors of one day", "ms", 300, 100, more_is_better=False)
    yield Question(section="errors", goal=errors, ask=_errors, plain=_errors_plain)
    report = Goal("report on one day", "s", 5, 2, more_is_better=False)
    yield Question(
        section="report", goal=report, ask=_report, plain=_report_plain, rounds=3, plain_rounds=3
    )


def _one(scene: Scene, number: int) -> int:
    shown = scene.ledger.show(scene.run(number))
    return len(shown["attempts_detail"]) + len(shown["remotes"]) + len(shown["tool_calls"])


def _one_plain(scene: Scene, number: int) -> int:
    run = scene.run(number)
    [_] = scene.sql("SELECT * FROM run WHERE id = {run}", run=run)
    rows = {
        name: scene.sql("SELECT * FROM {name} WHERE run_id = {run}", name=name, run=run)
        for name in PARTS
    }
    return sum(len(rows[name]) for name in ("attempt", "remote", "tool_call"))


def _page(query: str, scene: Scene, _: int) -> list[int]:
    return [run.id for run in scene.ledger.runs(scene.filled(query), limit=LIMIT)]


def _page_plain(where: str, scene: Scene, _: int) -> list[int]:
    order = f"ORDER BY created_at DESC, id DESC LIMIT {LIMIT}"
    return [row[0] for row in scene.sql(f"SELECT id, run.* FROM run WHERE {where} {order}")]


def _facets(query: str, scene: Scene, _: int) -> dict[str, Any]:
    return scene.ledger.facets(scene.filled(query))


def _facets_plain(where: str, scene: Scene, _: int) -> dict[str, int]:
    """All counts, without a cap."""
    found = {
        column: scene.sql(f"SELECT {column}, count(*) FROM run WHERE {where} GROUP BY {column}")
        for column in GROUPED
    }
    return dict(found["state"])


def _counted_alike(found: dict[str, Any], plain: dict[str, int]) -> bool:
    counts = {one["value"]: one["runs"] for one in found["facets"]["status"]["values"]}
    return bool(found["capped"]) or counts == plain


def _fleet(scene: Scene, _: int) -> Counter[str]:
    noon = scene.noon.isoformat()
    hour = (scene.noon - timedelta(hours=1)).isoformat()
    return +Counter(scene.ledger.stats(since=hour, until=noon, as_of=noon)["fleet"])


def _fleet_plain(scene: Scene, _: int) -> Counter[str]:
    return Counter(dict(scene.sql(FOLD)))


def _errors(scene: Scene, _: int) -> int:
    found = scene.ledger.errors(since=scene.day.isoformat(), until=scene.end.isoformat())
    return int(found["attempts"])


def _errors_plain(scene: Scene, _: int) -> int:
    grouped = "SELECT fingerprint, count(*), count(DISTINCT run_id), min(ended_at), max(ended_at)"
    rows = scene.sql(f"{grouped} FROM attempt WHERE {FAILED} GROUP BY fingerprint")
    return sum(row[1] for row in rows)


def _report(scene: Scene, _: int) -> int:
    found = scene.ledger.postmortem(since=scene.day.isoformat(), until=scene.end.isoformat())
    assert json.dumps(found)
    return int(found["impact"]["started"])


def _report_plain(scene: Scene, _: int) -> int:
    """The rows of the day alone, read and not looked at."""
    runs = scene.sql(f"SELECT * FROM run WHERE {CREATED}")
    for name in ("attempt", "remote", "tool_call", "event"):
        scene.sql(f"SELECT * FROM {name} WHERE run_id IN ({WITHIN})")
    return len(runs)
