"""What the code promises about itself: sizes, start-up, pages made from the program."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger.core import diagram, error_table
from ledger.store import schema_page

CHECKOUT = Path(__file__).parents[1]
MODULES = sorted((CHECKOUT / "ledger").rglob("*.py"))
MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
HEAVY = (
    "openai", "sqlalchemy", "sqlmodel", "alembic", "fastapi", "starlette", "uvicorn",
    "prometheus_client", "aiohttp", "pydantic", "structlog",
)  # fmt: skip


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods and inner ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_is_long() -> None:
    long = {
        str(path.relative_to(CHECKOUT)): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    }
    assert not long


def test_no_function_is_long() -> None:
    long = {
        f"{path.relative_to(CHECKOUT)}:{node.name}": lines
        for path in MODULES
        for node in functions(path)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long


@pytest.mark.parametrize(
    "program",
    [
        "import ledger.commands",
        "import sys; sys.argv[1:] = ['--help']; from ledger.commands import main; main()",
    ],
    ids=["import", "help"],
)
def test_starting_loads_nothing_heavy(program: str) -> None:
    """`runward --help` answers at once: databases and providers load inside commands."""
    watched = (
        "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{watched}\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "ledger" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("lifecycle.md", diagram.document),
        ("errors.md", error_table.document),
        ("schema.md", schema_page.document),
    ],
)
def test_pages_are_as_the_program_makes_them(name: str, document: Callable[[], str]) -> None:
    """`make docs` writes them."""
    assert (CHECKOUT / "docs" / name).read_text(encoding="utf-8") == document()
