"""docs/reliability.md says what it can show: a test for every row, and no row for nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def load() -> Any:
    """The generator, which lies beside its page."""
    spec = importlib.util.spec_from_file_location("reliability", DOCS / "reliability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reliability = load()


def test_every_row_has_a_test_and_every_marker_a_row() -> None:
    """Only rows about what is not built have none."""
    assert [] == reliability.wrong(reliability.rows(), reliability.cover())


def test_the_page_is_as_its_rows_and_markers_make_it() -> None:
    """`make docs` writes it."""
    assert (DOCS / "reliability.md").read_text(encoding="utf-8") == reliability.document()


@pytest.mark.parametrize(("kind", "count"), [("problem", 30), ("failure", 34)])
def test_no_row_is_left_out(kind: str, count: int) -> None:
    """They are numbered without a gap, and each says what happens here."""
    rows = reliability.rows()[kind]

    assert list(range(1, count + 1)) == [row["number"] for row in rows]
    assert all(row["title"] and row["here"] for row in rows)


def test_a_row_that_loses_its_test_is_named() -> None:
    """As is a marker without a row, and a test of something that is not built."""
    rows, found = reliability.rows(), reliability.cover()
    rows["problem"][11]["planned"] = "another day"
    del found["failure", 34]
    found["problem", 99] = ["a test"]
    title = rows["failure"][33]["title"]

    assert {
        "problem 99 is not a row",
        "problem 12 is planned, and has tests",
        f"failure 34 has no test: {title}",
    } == set(reliability.wrong(rows, found))


MARKED = """
import pytest
pytestmark = [pytest.mark.chaos, pytest.mark.problem(7)]
@pytest.mark.parametrize("n", [1])
@pytest.mark.failure(1, 2)
def test_one(n): ...
async def test_two(): ...
def help(): ...
"""


def test_markers_are_read_from_the_source(tmp_path: Path) -> None:
    """Those of a module count for all its tests."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(MARKED)
    one, two = "tests/test_x.py::test_one", "tests/test_x.py::test_two"

    assert {("problem", 7): [one, two], ("failure", 1): [one], ("failure", 2): [one]} == (
        reliability.cover(tmp_path / "tests")
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("@pytest.mark.problem\ndef test_x(): ...", "names no row"),
        ("@pytest.mark.failure('1')\ndef test_x(): ...", "names no row"),
        ("@pytest.mark.failure(1)\ndef help(): ...", "is no test"),
    ],
)
def test_a_marker_that_means_nothing_is_an_error(tmp_path: Path, source: str, words: str) -> None:
    """A row is named by its number, on a test."""
    (tmp_path / "test_x.py").write_text(source)

    with pytest.raises(ValueError, match=words):
        reliability.cover(tmp_path)
