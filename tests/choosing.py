"""What of the long tests runs by default; `make thorough` runs all of them.

The store's own tests run on both databases always, but for those of what is moved, packed and let
go, which ask through a whole ledger. Where a case takes seconds, its name decides on which of the
two it runs: half of the cases on either. Of a test that is marked `sampled(n)` every n-th case
runs, and one that tries many examples says with `examples` how many.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MOVED = ("bundle", "export", "import", "retention")
LONG = {
    HERE / "service",
    HERE / "web",
    HERE / "commands",
    HERE / "fuzzing",
    *(HERE / "store" / f"test_store_{name}.py" for name in MOVED),
}
BOTH = bool(os.environ.get("RUNWARD_TEST_BOTH"))


def examples(some: int, *, all_of_them: int) -> int:
    """How many examples a test tries."""
    return all_of_them if BOTH else some


def pytest_report_header() -> str:
    """Says what is left out, and how it is run."""
    how = "all cases" if BOTH else "long ones on one database each, some sampled: make thorough"
    return f"cases: {how}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for `make thorough`."""
    if BOTH:
        return
    kept = _sampled([item for item in items if not _on_the_other(item)])
    left_out = set(items) - set(kept)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = kept


def _sampled(items: list[pytest.Item]) -> list[pytest.Item]:
    """Every n-th case of a test that says so, the first one always."""
    places: dict[object, itertools.count[int]] = defaultdict(itertools.count)
    kept = []
    for item in items:
        mark = item.get_closest_marker("sampled")
        place = next(places[item.path, item.name.partition("[")[0]])
        if mark is None or place % mark.args[0] == 0:
            kept.append(item)
    return kept


def _on_the_other(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    dialect = parameters.get("dialect")
    if not LONG & {item.path, *item.path.parents} or dialect is None or _only_one(item):
        return False
    case = f"{item.path.name}:{item.name.replace(dialect, '')}"
    return bool(dialect != ("sqlite", "postgresql")[zlib.crc32(case.encode()) % 2])


def _only_one(item: pytest.Item) -> bool:
    """Whether the test names its database itself."""
    return any("dialect" in str(mark.args[0]) for mark in item.iter_markers("parametrize"))
