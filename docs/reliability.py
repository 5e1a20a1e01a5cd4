"""docs/reliability.md, drawn from docs/reliability.toml and the markers of the tests."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
KINDS = ("problem", "failure")
Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
Cover = Mapping[tuple[str, int], Sequence[str]]
"""The tests of each row, by kind and number."""

INTRODUCTION = """# Reliability

Made from `docs/reliability.toml` and the markers of the tests by `make docs`; a test compares them,
and fails where a row has no test. To run the tests of one row, name them: `.venv/bin/python -m
pytest tests/…::name`.
"""
PROBLEMS = """## Hard problems

What every system of this kind has to solve.
"""
FAILURES = """## Failures that others have published

Each was reported of a comparable system in public, or read in its source. The tests show that it
does not happen here.
"""
PLANNED = """## Not built yet

Rows that are about something which this program does not have, and therefore no tests.
"""
PROOFS = """## What was run

The tests above are small. The same promises are checked over long random histories, and with real
processes that are killed; anyone can repeat it.
"""


def rows() -> Rows:
    """The data file."""
    return tomllib.loads((HERE / "reliability.toml").read_text(encoding="utf-8"))


# Markers, without importing a test.


def cover(tests: Path = TESTS) -> dict[tuple[str, int], list[str]]:
    """Which tests each row has. Raises ValueError for a marker that cannot be read."""
    found: dict[tuple[str, int], list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        place = path.relative_to(tests.parent).as_posix()
        for name, row in _marked(ast.parse(path.read_text(encoding="utf-8")), place):
            found.setdefault(row, []).append(f"{place}::{name}")
    return found


def _marked(module: ast.Module, place: str) -> Iterator[tuple[str, tuple[str, int]]]:
    shared = [mark for node in module.body for mark in _module_marks(node, place)]
    for node in module.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        own = [mark for item in node.decorator_list for mark in _marks(item, place)]
        test = node.name.startswith("test_")
        if own and not test:
            raise ValueError(f"{place}: {node.name} has a marker and is no test")
        for mark in sorted({*own, *shared}) if test else ():
            yield node.name, mark


def _module_marks(node: ast.stmt, place: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
        for part in node.value.elts if isinstance(node.value, ast.List) else [node.value]:
            yield from _marks(part, place)


def _marks(node: ast.expr, place: str) -> Iterator[tuple[str, int]]:
    name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
    kind = name.removeprefix("pytest.mark.")
    if kind == name or kind not in KINDS:
        return
    numbers = [ast.literal_eval(item) for item in node.args] if isinstance(node, ast.Call) else []
    if not numbers or not all(type(number) is int for number in numbers):
        raise ValueError(f"{place}: @{ast.unparse(node)} names no row")
    yield from ((kind, number) for number in numbers)


# What is wrong.


def wrong(data: Rows, found: Cover) -> list[str]:
    """Rows without a test, tests of what is not built, and markers that name no row."""
    known = {(kind, row["number"]): row for kind in KINDS for row in data[kind]}
    said = [
        f"{kind} {number} is not a row" for kind, number in found if (kind, number) not in known
    ]
    for (kind, number), row in known.items():
        tests = found.get((kind, number), [])
        if "planned" in row and tests:
            said.append(f"{kind} {number} is planned, and has tests")
        elif "planned" not in row and not tests:
            said.append(f"{kind} {number} has no test: {row['title']}")
    return said


# Drawing.


def document() -> str:
    """The whole page."""
    data, found = rows(), cover()
    built = {kind: [row for row in data[kind] if "planned" not in row] for kind in KINDS}
    planned = [(kind, row) for kind in KINDS for row in data[kind] if "planned" in row]
    parts = [
        INTRODUCTION,
        PROBLEMS,
        *_table(("#", "Problem", "What happens here", "Tests"), _problems(built, found)),
        FAILURES,
        *_table(("#", "Failure", "Seen in", "What happens here", "Tests"), _failures(built, found)),
        PLANNED,
        *_table(("Row", "What", "Until then", "Comes with"), map(_planned, planned)),
        PROOFS,
        *_table(("What", "Command", "Result"), map(_proof, data["proof"])),
    ]
    return "\n".join(parts)


def _problems(built: Rows, found: Cover) -> Iterator[list[str]]:
    for row in built["problem"]:
        tests = found.get(("problem", row["number"]), [])
        yield [str(row["number"]), row["title"], row["here"], _tests(tests)]


def _failures(built: Rows, found: Cover) -> Iterator[list[str]]:
    for row in built["failure"]:
        tests = found.get(("failure", row["number"]), [])
        seen = ", ".join(row["seen"])
        yield [str(row["number"]), row["title"], seen, row["here"], _tests(tests)]


def _planned(item: tuple[str, Row]) -> list[str]:
    kind, row = item
    return [f"{kind} {row['number']}", row["title"], row["here"], row["planned"]]


def _proof(row: Row) -> list[str]:
    return [row["what"], f"`{row['command']}`", row["result"] or "not recorded yet"]


def _tests(tests: Sequence[str]) -> str:
    return "<br>".join(f"`{test}`" for test in tests)


def _table(head: Sequence[str], lines: Iterator[Any] | map[Any]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for line in lines:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
    yield ""
