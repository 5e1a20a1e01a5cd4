"""Which of its two databases a long test runs on by default."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONG = {HERE / "service", HERE / "web", HERE / "commands"}
BOTH = bool(os.environ.get("RUNWARD_TEST_BOTH"))


def pytest_report_header() -> str:
    """Says what is left out, and how it is run."""
    how = "each on both databases" if BOTH else "each on one database; `make thorough` runs both"
    return f"tests of service, web and commands: {how}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The store's own tests run on both databases always. Where a case takes seconds, its name
    decides on which one it runs by default: half of the cases on either."""
    left_out = [] if BOTH else [item for item in items if _on_the_other(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _on_the_other(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    dialect = parameters.get("dialect")
    if not LONG & set(item.path.parents) or dialect is None or _only_one(item):
        return False
    case = f"{item.path.name}:{item.name.replace(dialect, '')}"
    return bool(dialect != ("sqlite", "postgresql")[zlib.crc32(case.encode()) % 2])


def _only_one(item: pytest.Item) -> bool:
    """Whether the test names its database itself."""
    return any("dialect" in str(mark.args[0]) for mark in item.iter_markers("parametrize"))
